//! TLS on a listener: a certificate and its key from PEM files. A change of the files is noticed within a second.

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use clap::Args;
use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

/// How often the files are read.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

/// The files of a listener's certificate. Without them the listener has no TLS.
#[derive(Debug, Clone, Default, Args)]
pub struct TlsFiles {
    /// Certificate chain of the gRPC and the REST listener, PEM, the server's own certificate first. Read again when it
    /// changes.
    #[arg(long, env = "TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, PEM. Read again when it changes.
    #[arg(long, env = "TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// A certificate that is reloaded when its files change.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<Followed>);

#[derive(Debug)]
struct Followed {
    cert: PathBuf,
    key: PathBuf,
    /// Never locked across an await.
    current: RwLock<Loaded>,
}

#[derive(Debug, Clone)]
struct Loaded {
    /// The contents of the files, to notice a change: a renewal may keep their modification times.
    pem: (Vec<u8>, Vec<u8>),
    key: Arc<CertifiedKey>,
}

impl TlsFiles {
    /// Reads the certificate, if there is one.
    pub fn load(&self) -> anyhow::Result<Option<Certificate>> {
        let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) else { return Ok(None) };
        let pem = read(cert, key).with_context(|| format!("--tls-cert {}, --tls-key", cert.display()))?;
        let loaded = Loaded::parse(pem).with_context(|| format!("--tls-cert {}", cert.display()))?;
        let followed = Followed { cert: cert.clone(), key: key.clone(), current: RwLock::new(loaded) };
        Ok(Some(Certificate(Arc::new(followed))))
    }
}

impl Certificate {
    /// Accepts TLS 1.2 and 1.3, and offers these application protocols.
    pub fn acceptor(&self, protocols: &[&str]) -> anyhow::Result<TlsAcceptor> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.0) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads the files again whenever they have changed, and never returns. While they cannot be used, the old
    /// certificate stays: a renewal changes certificate and key one after the other.
    pub async fn follow(&self) {
        let mut is_failing = false;
        loop {
            sleep(RELOAD_INTERVAL).await;
            let certificate = self.clone();
            let reloaded = tokio::task::spawn_blocking(move || certificate.reload())
                .await
                .unwrap_or_else(|error| Err(error.into()));
            match &reloaded {
                Ok(true) => tracing::info!("the TLS certificate was read again"),
                Err(error) if !is_failing => {
                    tracing::warn!(error = format!("{error:#}"), "the old TLS certificate stays in use");
                }
                _ => {}
            }
            is_failing = reloaded.is_err();
        }
    }

    fn reload(&self) -> anyhow::Result<bool> {
        let Followed { cert, key, current } = &*self.0;
        let pem = read(cert, key)?;
        if pem == current.read().pem {
            return Ok(false);
        }
        let loaded = Loaded::parse(pem)?;
        *current.write() = loaded;
        Ok(true)
    }
}

impl Loaded {
    fn parse(pem: (Vec<u8>, Vec<u8>)) -> anyhow::Result<Self> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(&pem.0).collect::<Result<_, _>>().context("the certificate")?;
        ensure!(!chain.is_empty(), "the file holds no certificate");
        let key = PrivateKeyDer::from_pem_slice(&pem.1).context("the private key")?;
        // Also fails when the key does not belong to the certificate.
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?;
        Ok(Self { pem, key: Arc::new(key) })
    }
}

impl ResolvesServerCert for Followed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().key))
    }
}

fn read(cert: &PathBuf, key: &PathBuf) -> io::Result<(Vec<u8>, Vec<u8>)> {
    Ok((fs::read(cert)?, fs::read(key)?))
}
