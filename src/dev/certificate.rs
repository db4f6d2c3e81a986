//! A throw-away certificate authority, and a certificate of it for this machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::secrets;
use crate::tls::TlsFiles;

/// What the certificate is for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How long it holds.
const LIFETIME: Duration = Duration::days(90);

/// A certificate whose authority nobody else knows. The authority's key is forgotten once it has signed.
#[derive(Debug)]
pub struct ThrowAwayCertificate {
    /// The authority's certificate, PEM.
    pub ca_pem: String,
    folder: PathBuf,
}

impl ThrowAwayCertificate {
    /// Makes an authority and a certificate in a folder, in place of earlier ones.
    pub fn make(folder: &Path) -> anyhow::Result<Self> {
        let now = OffsetDateTime::now_utc();
        let validity = |params: &mut CertificateParams| {
            (params.not_before, params.not_after) = (now - Duration::DAY, now + LIFETIME);
        };
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        validity(&mut ca);
        ca.distinguished_name.push(DnType::CommonName, "print-upload dev, throw-away authority");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_pem = ca.self_signed(&ca_key)?.pem();

        let key = KeyPair::generate()?;
        let mut server = CertificateParams::new(NAMES.map(str::to_owned))?;
        validity(&mut server);
        server.distinguished_name.push(DnType::CommonName, NAMES[0]);
        server.use_authority_key_identifier_extension = true;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server_pem = server.signed_by(&key, &Issuer::new(ca, ca_key))?.pem();

        let made = Self { ca_pem, folder: folder.to_owned() };
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        secrets::write(&made.ca_file(), made.ca_pem.as_bytes())?;
        secrets::write(&folder.join("cert.pem"), server_pem.as_bytes())?;
        secrets::write(&folder.join("key.pem"), key.serialize_pem().as_bytes())?;
        Ok(made)
    }

    /// What a client must trust.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// What a listener shows.
    pub fn files(&self) -> TlsFiles {
        TlsFiles { tls_cert: Some(self.folder.join("cert.pem")), tls_key: Some(self.folder.join("key.pem")) }
    }
}
