//! The options that `serve` and `gateway` share: pages in browsers, connections, and how the program stops.

use std::{sync::Arc, time::Duration};

use axum::http::HeaderValue;
use clap::Args;
use url::Url;

use crate::{
    config::duration,
    connection_options::ConnectionOptions,
    listen::{Connections, Lifetimes},
};

/// How the listeners treat their clients.
#[derive(Debug, Clone, Args)]
pub struct HttpOptions {
    /// Origin of web pages that may call REST from a browser (CORS), https://host or https://host:port. Repeat it, or
    /// separate several with commas. Without it no page may.
    #[arg(long = "cors-origin", env = "CORS_ORIGIN", value_delimiter = ',', value_parser = origin)]
    pub cors_origins: Vec<HeaderValue>,

    /// The connections of clients.
    #[command(flatten)]
    pub connections: ConnectionOptions,

    /// How long the listeners stay open after the program was asked to stop and reports that it is not ready: as long
    /// as a balancer needs to notice.
    #[arg(long, env = "SHUTDOWN_DELAY", default_value = "5s", value_parser = duration_or_zero)]
    pub shutdown_delay: Duration,

    /// How long calls in flight may take to end when the program stops.
    #[arg(long, env = "DRAIN_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub drain_timeout: Duration,
}

impl HttpOptions {
    /// The limits of the listeners' connections. `answer` is how long a caller may take nothing of an answer.
    pub fn connections_with(&self, answer: Duration) -> Arc<Connections> {
        let options = &self.connections;
        let lifetimes = Lifetimes {
            idle: options.idle_timeout,
            age: options.connection_age,
            grace: options.connection_grace,
            write: options.write_timeout,
            answer,
            drain: self.drain_timeout,
        };
        Connections::new(options.limits(), lifetimes)
    }
}

fn duration_or_zero(text: &str) -> Result<Duration, String> {
    if humantime::parse_duration(text).is_ok_and(|duration| duration.is_zero()) {
        return Ok(Duration::ZERO);
    }
    duration(text)
}

/// Parses an origin, and writes it as browsers do: lower case, without the default port.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let problem = "must be http(s)://host[:port], without a path; * is not supported";
    let url = Url::parse(text).map_err(|_| problem)?;
    let is_origin = matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.username().is_empty();
    if !is_origin || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(problem.into());
    }
    HeaderValue::from_str(&url.origin().ascii_serialization()).map_err(|_| problem.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        for (text, expected) in [
            ("https://app.example", "https://app.example"),
            ("HTTPS://App.Example:443/", "https://app.example"),
            ("http://localhost:8000", "http://localhost:8000"),
            ("https://drücker.example", "https://xn--drcker-4ya.example"),
        ] {
            assert_eq!(origin(text).expect("an origin"), expected);
        }
        for text in ["*", "null", "", "app.example", "https://app.example/page", "https://*.example/?a", "file:///"] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn idle_connections_are_kept_for_longer_than_balancers_keep_them() {
        #[derive(Debug, clap::Parser)]
        struct Flags {
            #[command(flatten)]
            http: HttpOptions,
        }
        let Flags { http } = clap::Parser::parse_from(["serve"]);
        assert!(http.connections.idle_timeout > Duration::from_secs(60), "{http:?}");
        assert!(!http.shutdown_delay.is_zero());
    }

    #[test]
    fn the_delay_may_be_zero() {
        assert_eq!(duration_or_zero("0s"), Ok(Duration::ZERO));
        assert_eq!(duration_or_zero("5s"), Ok(Duration::from_secs(5)));
        assert!(duration_or_zero("5").is_err() && duration_or_zero("").is_err());
    }
}
