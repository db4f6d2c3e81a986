//! The session that a command is about. It is named by itself, by its document or by its upload URL.

use clap::Args;
use secrecy::ExposeSecret;
use url::Url;

use super::{Failure, Named, UploadUrl};
use crate::name::{DocumentName, SessionName};

/// The session that a command is about.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// The session: uploadSessions/{id}, or its document, printers/{printer}/jobs/{job}/documents/{document}, or the
    /// same with shares/{share}. Not needed with an upload URL.
    #[arg(value_name = "SESSION|DOCUMENT")]
    target: Option<String>,
}

impl Target {
    /// The session's name, which may be the one in an upload URL.
    pub(super) fn session(&self, upload_url: &UploadUrl) -> Result<String, Failure> {
        match (&self.target, upload_url.given()) {
            (Some(target), _) => session_name(target).map_err(|problem| Failure::usage(&problem)),
            (None, Some(url)) => session_in(url.expose_secret()),
            (None, None) => Err(Failure::usage("name a session or a document")),
        }
    }

    pub(super) fn named(&self) -> Named {
        if self.target.is_some() { Named::ByArgument } else { Named::ByUploadUrl }
    }
}

/// A document's name.
pub(super) fn document_name(text: &str) -> Result<String, Failure> {
    let text = text.strip_suffix("/uploadSession").unwrap_or(text);
    let name = DocumentName::parse(text).map_err(|error| Failure::usage(&wrong_name(text, &error.to_string())))?;
    Ok(name.to_string())
}

/// The session that an upload URL names.
pub(super) fn session_in(upload_url: &str) -> Result<String, Failure> {
    let name = || {
        let url = Url::parse(upload_url).ok()?;
        let (_, id) = url.path().rsplit_once("/uploadSessions/")?;
        let name = format!("uploadSessions/{id}");
        SessionName::parse(&name).ok().map(|_| name)
    };
    name().ok_or_else(|| Failure::usage("the upload URL names no upload session"))
}

fn session_name(text: &str) -> Result<String, String> {
    if SessionName::parse(text).is_ok() {
        return Ok(text.to_owned());
    }
    match DocumentName::parse(text) {
        Ok(_) => Ok(format!("{text}/uploadSession")),
        Err(_) => {
            let problem = "must be uploadSessions/{id} or printers/{printer}/jobs/{job}/documents/{document}";
            Err(wrong_name(text, problem))
        }
    }
}

/// The message for a name that is wrong. It does not repeat an upload URL, which is a secret.
fn wrong_name(text: &str, problem: &str) -> String {
    if text.contains("://") || text.contains("tempauthtoken") {
        return "an upload URL is no name: give it as --upload-url, or better in PRINT_UPLOAD_URL".into();
    }
    format!("{text:?}: {problem}")
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
        assert_eq!(document_name(&format!("{document}/uploadSession")).expect("a document"), document);
    }

    #[test]
    fn an_upload_url_names_its_session() {
        let url = format!("https://host/base/uploadSessions/{ID}?tempauthtoken=secret");
        assert_eq!(session_in(&url).expect("a session"), format!("uploadSessions/{ID}"));
        assert!(session_in("https://host/?tempauthtoken=secret").is_err());
        assert!(!session_name(&url).expect_err("no name").contains("secret"));
    }
}
