//! What a command is about: a session, or a document and so its session.

use anyhow::Context;
use clap::Args;
use secrecy::ExposeSecret;
use url::Url;

use super::{Failure, UploadUrl};
use crate::name::{DocumentName, SessionName};

/// What a command is about.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// uploadSessions/{id} or printers/{printer}/jobs/{job}/documents/{document}: a session, or a document's session.
    #[arg(value_name = "SESSION|DOCUMENT", value_parser = session_name, required_unless_present = "url")]
    target: Option<String>,
}

impl Target {
    /// The session's name, which may be the one in an upload URL.
    pub(super) fn session(&self, upload_url: &UploadUrl) -> Result<String, Failure> {
        match (&self.target, &upload_url.url) {
            (Some(target), _) => Ok(target.clone()),
            (None, Some(url)) => Ok(session_in(url.expose_secret())?),
            (None, None) => Err(Failure::usage("say which session")),
        }
    }
}

/// A document's name.
pub(super) fn document_name(text: &str) -> Result<String, String> {
    let text = text.strip_suffix("/uploadSession").unwrap_or(text);
    DocumentName::parse(text).map(|name| name.to_string()).map_err(|error| error.to_string())
}

/// The session that an upload URL leads to.
pub(super) fn session_in(upload_url: &str) -> anyhow::Result<String> {
    let name = || {
        let url = Url::parse(upload_url).ok()?;
        let (_, id) = url.path().rsplit_once("/uploadSessions/")?;
        let name = format!("uploadSessions/{id}");
        SessionName::parse(&name).ok().map(|_| name)
    };
    name().context("the upload URL leads to no upload session")
}

fn session_name(text: &str) -> Result<String, String> {
    if SessionName::parse(text).is_ok() {
        return Ok(text.to_owned());
    }
    match DocumentName::parse(text) {
        Ok(_) => Ok(format!("{text}/uploadSession")),
        Err(_) => Err("must be uploadSessions/{id} or printers/{printer}/jobs/{job}/documents/{document}".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0190a1b2-0000-7000-8000-000000000001";

    #[test]
    fn a_session_is_named_by_itself_or_by_its_document() {
        let (session, document) = (format!("uploadSessions/{ID}"), format!("printers/p/jobs/1/documents/{ID}"));
        assert_eq!(session_name(&session), Ok(session.clone()));
        assert_eq!(session_name(&document), Ok(format!("{document}/uploadSession")));
        assert_eq!(session_name(&format!("{document}/uploadSession")), Ok(format!("{document}/uploadSession")));
        assert!(session_name("printers/p/jobs/1").is_err());
        assert_eq!(document_name(&format!("{document}/uploadSession")), Ok(document));
    }

    #[test]
    fn an_upload_url_names_its_session() {
        let url = format!("https://host/base/uploadSessions/{ID}?tempauthtoken=secret");
        assert_eq!(session_in(&url).expect("a session"), format!("uploadSessions/{ID}"));
        assert!(session_in("https://host/?tempauthtoken=secret").is_err());
    }
}
