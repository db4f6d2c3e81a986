//! A loopback port that nobody else gets.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// A port that is kept as long as this lives, whether somebody listens on it or not: a port that is free for a moment would
/// be another test's.
#[derive(Debug)]
pub struct Port {
    pub address: SocketAddr,
    /// Bound, never listening: it does not keep a listener away that may reuse addresses, as each of ours may.
    _kept: TcpSocket,
}

impl Port {
    pub fn reserve() -> Self {
        let kept = TcpSocket::new_v4().expect("a socket");
        kept.set_reuseaddr(true).expect("reuse");
        kept.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        Self { address: kept.local_addr().expect("an address"), _kept: kept }
    }

    pub async fn listen(&self) -> TcpListener {
        TcpListener::bind(self.address).await.expect("its port")
    }
}
