//! The options of connections, which `serve` and `gateway` share: how many there may be, and how long they may last.

use std::{net::IpAddr, time::Duration};

use clap::Args;
use ipnet::IpNet;

use crate::{config::duration, listen::ConnectionLimits, process::raise_descriptor_limit};

/// How many connections one address may have, as a part of all, if no number is given.
const PART_OF_ONE_ADDRESS: usize = 4;

/// The connections of clients, on the gRPC and the REST listener together.
#[derive(Debug, Clone, Args)]
pub struct ConnectionOptions {
    /// Largest number of connections of clients. At most half of the descriptors that the process may open are used for
    /// them.
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,

    /// Largest number of connections from one address; of IPv6, from one /64 network [default: a quarter of
    /// --max-connections].
    #[arg(long, env = "MAX_CONNECTIONS_PER_ADDRESS", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections_per_address: Option<u32>,

    /// Address or network (10.0.0.0/8) of a proxy or a balancer in front, to which --max-connections-per-address does
    /// not apply. Repeat it, or separate several with commas.
    #[arg(long = "proxy-address", env = "PROXY_ADDRESS", value_delimiter = ',', value_parser = network)]
    pub proxy_addresses: Vec<IpNet>,

    /// How long a connection may have no call. Longer than a balancer in front keeps its idle connections: otherwise it
    /// sends requests on connections that are being closed.
    #[arg(long, env = "IDLE_TIMEOUT", default_value = "2m", value_parser = duration)]
    pub idle_timeout: Duration,

    /// How long a connection may exist, a tenth more or less. Then its client is asked to connect again; the calls in
    /// progress go on.
    #[arg(long, env = "CONNECTION_AGE", default_value = "1h", value_parser = duration)]
    pub connection_age: Duration,

    /// How long the calls in progress on a connection that is too old may take. Then it is cut, unless its client still
    /// reads a download. Longer than --range-timeout.
    #[arg(long, env = "CONNECTION_GRACE", default_value = "15m", value_parser = duration)]
    pub connection_grace: Duration,

    /// How long a client may read nothing, or less than some 128 KiB, of what its connection has to send. Then it is cut.
    #[arg(long, env = "WRITE_TIMEOUT", default_value = "1m", value_parser = duration)]
    pub write_timeout: Duration,
}

impl ConnectionOptions {
    /// How many connections there may be, with the descriptors of this process.
    pub fn limits(&self) -> ConnectionLimits {
        let descriptors = raise_descriptor_limit();
        let wanted = self.max_connections as usize;
        let all = wanted.min(descriptors / 2).max(1);
        if all < wanted {
            tracing::warn!(descriptors, connections = all, "--max-connections is more than half of the descriptors");
        }
        let part = all.div_ceil(PART_OF_ONE_ADDRESS);
        let of_address = self.max_connections_per_address.map_or(part, |given| given as usize);
        ConnectionLimits { all, of_address, proxies: self.proxy_addresses.clone() }
    }
}

/// Parses a network, or an address as the network that has only this one.
fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| address())
        .map_err(|_| "must be an address, or a network such as 10.0.0.0/8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Flags {
        #[command(flatten)]
        connections: ConnectionOptions,
    }

    fn limits(flags: &[&str]) -> ConnectionLimits {
        let flags: Flags = clap::Parser::parse_from([&["serve"], flags].concat());
        flags.connections.limits()
    }

    #[test]
    fn an_address_has_a_quarter_of_the_connections_unless_another_number_is_given() {
        assert_eq!((limits(&["--max-connections=10"]).all, limits(&["--max-connections=10"]).of_address), (10, 3));
        assert_eq!(limits(&["--max-connections=10", "--max-connections-per-address=7"]).of_address, 7);
        assert!(limits(&["--max-connections=4000000000"]).all < 4_000_000_000, "there are not so many descriptors");
    }

    #[test]
    fn proxies_are_addresses_or_networks() {
        assert_eq!(network("10.0.0.0/8").map(|network| network.to_string()), Ok("10.0.0.0/8".into()));
        assert_eq!(network("192.0.2.1").map(|network| network.to_string()), Ok("192.0.2.1/32".into()));
        assert_eq!(network("2001:db8::/32").map(|network| network.to_string()), Ok("2001:db8::/32".into()));
        for text in ["", "proxy.example", "10.0.0.0/33", "10.0.0", "*"] {
            assert!(network(text).is_err(), "{text}");
        }
        assert_eq!(limits(&["--proxy-address=10.0.0.0/8,::1"]).proxies.len(), 2);
    }
}
