//! A loopback port, reserved for one test.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// A port that stays reserved until this is dropped, with or without a listener. Another test would take a port that is
/// free for a moment.
#[derive(Debug)]
pub struct Port {
    pub address: SocketAddr,
    /// Bound and never listening. Our listeners reuse addresses, so they can still bind this port.
    _reserved: TcpSocket,
}

impl Port {
    pub fn reserve() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("reuse");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        Self { address: socket.local_addr().expect("an address"), _reserved: socket }
    }

    pub async fn listen(&self) -> TcpListener {
        TcpListener::bind(self.address).await.expect("its port")
    }
}
