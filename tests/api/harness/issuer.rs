//! One token issuer for all tests of this process, with its key set served over HTTP.

use std::{net::TcpListener, sync::OnceLock, thread};

use print_upload::dev::issuer::TokenIssuer;
use tokio_util::sync::CancellationToken;
use uuid::{Uuid, uuid};

/// The tenant that tests happen in.
pub const TENANT: Uuid = uuid!("aaaaaaaa-0000-4000-8000-000000000001");
/// Another tenant, with the same printer, share and job ids.
pub const FOREIGN_TENANT: Uuid = uuid!("bbbbbbbb-0000-4000-8000-000000000002");

/// The issuer. It outlives every test, on a thread of its own.
pub fn issuer() -> &'static TokenIssuer {
    static ISSUER: OnceLock<TokenIssuer> = OnceLock::new();
    ISSUER.get_or_init(|| {
        let keys = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let issuer = TokenIssuer::open(keys.path(), listener.local_addr().expect("an address")).expect("an issuer");
        let serving = issuer.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                listener.set_nonblocking(true).expect("a listener");
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                serving.serve(listener, CancellationToken::new()).await
            })
        });
        issuer
    })
}
