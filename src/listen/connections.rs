//! The connections of a program's listeners: how many there may be, in all and from one address, and how long they and
//! their calls may last.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use metrics::counter;
use parking_lot::Mutex;

use crate::telemetry::meters;

/// Who has an address of IPv6 has the whole network of this prefix, in bits.
const IPV6_PREFIX: u32 = 64;

/// How long connections and calls of a listener without options of its own may last.
const DEFAULT_LIFETIMES: Lifetimes = Lifetimes {
    idle: Duration::from_secs(2 * 60),
    age: Duration::from_secs(60 * 60),
    grace: Duration::from_secs(15 * 60),
    write: Duration::from_secs(60),
    answer: Duration::from_secs(60 * 60),
    drain: Duration::from_secs(5),
};

/// How many connections there may be.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// In all, on all listeners.
    pub all: usize,
    /// From one address; of IPv6, from one /64 network.
    pub of_address: usize,
    /// The networks of proxies, to which only `all` applies.
    pub proxies: Vec<IpNet>,
}

/// How long connections and calls may last.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// How long a connection may have no call.
    pub idle: Duration,
    /// How long a connection may exist before its client is asked to connect again.
    pub age: Duration,
    /// How long the calls in progress may take to end after that.
    pub grace: Duration,
    /// How long a client may take nothing of what a connection sends.
    pub write: Duration,
    /// How long a caller may take nothing of one answer, while its connection is in use.
    pub answer: Duration,
    /// How long the calls in progress may take to end when the listeners stop.
    pub drain: Duration,
}

/// The connections of a program's listeners, and their limits.
#[derive(Debug)]
pub struct Connections {
    limits: ConnectionLimits,
    pub(super) lifetimes: Lifetimes,
    /// Never locked across an await.
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    of_address: HashMap<IpAddr, usize>,
}

/// One connection, counted until this is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    connections: Arc<Connections>,
    /// `None` for a proxy.
    address: Option<IpAddr>,
}

impl Lifetimes {
    /// For a listener without options of its own.
    pub const fn with(idle: Duration, drain: Duration) -> Self {
        Self { idle, drain, ..DEFAULT_LIFETIMES }
    }
}

impl Connections {
    pub fn new(limits: ConnectionLimits, lifetimes: Lifetimes) -> Arc<Self> {
        Arc::new(Self { limits, lifetimes, open: Mutex::default() })
    }

    /// At most `all` connections, from any address.
    pub fn up_to(all: usize, lifetimes: Lifetimes) -> Arc<Self> {
        Self::new(ConnectionLimits { all, of_address: all, proxies: Vec::new() }, lifetimes)
    }

    /// How many connections are open.
    pub fn count(&self) -> usize {
        self.open.lock().all
    }

    /// Takes a permit for a new connection. `None` if there are too many already: that is counted as a refusal.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<ConnectionPermit> {
        let address = self.limited_address(peer);
        let mut open = self.open.lock();
        let of_address = address.and_then(|address| open.of_address.get(&address)).copied().unwrap_or_default();
        if open.all >= self.limits.all || of_address >= self.limits.of_address {
            let is_full = open.all >= self.limits.all;
            let limit = if is_full { meters::LIMIT_OF_CONNECTIONS } else { meters::LIMIT_OF_ADDRESS };
            counter!(meters::REFUSALS, "limit" => limit).increment(1);
            return None;
        }
        open.all += 1;
        if let Some(address) = address {
            *open.of_address.entry(address).or_default() += 1;
        }
        Some(ConnectionPermit { connections: Arc::clone(self), address })
    }

    /// The address, or the beginning of a network, whose connections are counted. `None` for a proxy.
    fn limited_address(&self, peer: IpAddr) -> Option<IpAddr> {
        let peer = peer.to_canonical();
        if self.limits.proxies.iter().any(|proxies| proxies.contains(&peer)) {
            return None;
        }
        Some(match peer {
            IpAddr::V4(_) => peer,
            IpAddr::V6(address) => {
                let network = u128::MAX << (Ipv6Addr::BITS - IPV6_PREFIX);
                Ipv6Addr::from_bits(address.to_bits() & network).into()
            }
        })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.all -= 1;
        let Some(address) = self.address else { return };
        if let Some(count) = open.of_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.of_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(proxies: &[&str]) -> Arc<Connections> {
        let proxies = proxies.iter().map(|network| network.parse().expect("a network")).collect();
        let limits = ConnectionLimits { all: 5, of_address: 2, proxies };
        Connections::new(limits, DEFAULT_LIFETIMES)
    }

    fn take(connections: &Arc<Connections>, peer: &str) -> Option<ConnectionPermit> {
        connections.take(peer.parse().expect("an address"))
    }

    #[test]
    fn one_address_has_some_of_the_connections_and_a_proxy_all_of_them() {
        let connections = connections(&["10.1.0.0/16"]);
        let first = [(); 2].map(|()| take(&connections, "192.0.2.1").expect("there are two"));
        assert!(take(&connections, "192.0.2.1").is_none());
        assert!(take(&connections, "::ffff:192.0.2.1").is_none(), "the same address");
        let proxied = [(); 3].map(|()| take(&connections, "10.1.2.3").expect("a proxy"));
        assert!(take(&connections, "10.1.2.3").is_none(), "there are five in all");
        assert_eq!(connections.count(), 5);
        drop((first, proxied));
        assert_eq!(connections.count(), 0);
        assert!(connections.open.lock().of_address.is_empty());
        assert!(take(&connections, "192.0.2.1").is_some());
    }

    #[test]
    fn of_ipv6_a_network_is_counted() {
        let connections = connections(&["2001:db8:9::/48"]);
        let _first = ["2001:db8::1", "2001:db8::ffff:1"].map(|peer| take(&connections, peer).expect("there are two"));
        assert!(take(&connections, "2001:db8::2").is_none());
        assert!(take(&connections, "2001:db8:0:1::2").is_some(), "another network");
        let _proxied = [(); 3].map(|()| take(&connections, "2001:db8:9::1").expect("a proxy"));
    }
}
