//! A throw-away certificate authority, and a certificate of it for this machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use print_upload::tls::TlsFiles;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::private_file;

/// The hosts that every certificate is for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const CA: &str = "ca.pem";
const CERT: &str = "cert.pem";
const KEY: &str = "key.pem";

/// How long a certificate is valid.
const LIFETIME: Duration = Duration::days(90);

/// For how long a restart uses the same certificate again.
const KEEP: std::time::Duration = std::time::Duration::from_secs(45 * 24 * 60 * 60);

/// A certificate for this machine, and its authority. The authority's key is not kept: it signs nothing else.
#[derive(Debug)]
pub struct ThrowAwayCertificate {
    /// The authority's certificate, PEM.
    pub ca_pem: String,
    folder: PathBuf,
}

impl ThrowAwayCertificate {
    /// Makes an authority and a certificate for this machine in a folder. Overwrites earlier ones.
    pub fn make(folder: &Path) -> anyhow::Result<Self> {
        Self::make_for(folder, &[])
    }

    /// The certificate for a host, in a folder below `parent`. If an earlier start has made one that is not old, that
    /// one is used again, so that clients still trust it after a restart.
    pub fn keep_or_make(parent: &Path, host: &str) -> anyhow::Result<Self> {
        let folder = parent.join(host);
        // The last file that is written: when it is there, all of them are.
        let made = fs::metadata(folder.join(KEY)).and_then(|metadata| metadata.modified());
        let is_young = made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age < KEEP));
        if !is_young {
            return Self::make_for(&folder, &[host]);
        }
        let ca_file = folder.join(CA);
        let ca_pem = fs::read_to_string(&ca_file).with_context(|| ca_file.display().to_string())?;
        Ok(Self { ca_pem, folder })
    }

    fn make_for(folder: &Path, hosts: &[&str]) -> anyhow::Result<Self> {
        let now = OffsetDateTime::now_utc();
        let validity = |params: &mut CertificateParams| {
            (params.not_before, params.not_after) = (now - Duration::DAY, now + LIFETIME);
        };
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        validity(&mut ca);
        ca.distinguished_name.push(DnType::CommonName, "print-upload-dev, throw-away authority");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_pem = ca.self_signed(&ca_key)?.pem();

        let key = KeyPair::generate()?;
        let mut server =
            CertificateParams::new(hosts.iter().chain(&NAMES).map(|&name| name.to_owned()).collect::<Vec<_>>())?;
        validity(&mut server);
        server.distinguished_name.push(DnType::CommonName, hosts.first().copied().unwrap_or(NAMES[0]));
        server.use_authority_key_identifier_extension = true;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server_pem = server.signed_by(&key, &Issuer::new(ca, ca_key))?.pem();

        let made = Self { ca_pem, folder: folder.to_owned() };
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        private_file::write(&made.ca_file(), made.ca_pem.as_bytes())?;
        private_file::write(&folder.join(CERT), server_pem.as_bytes())?;
        private_file::write(&folder.join(KEY), key.serialize_pem().as_bytes())?;
        Ok(made)
    }

    /// The authority that a client must trust, PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join(CA)
    }

    /// The files that a listener is configured with.
    pub fn files(&self) -> TlsFiles {
        TlsFiles { tls_cert: Some(self.folder.join(CERT)), tls_key: Some(self.folder.join(KEY)) }
    }
}
