//! The credential of a call: an access token, a file that holds one, or an upload URL.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};
use url::Url;

use crate::UPLOAD_TOKEN;

/// The credential that every call presents.
#[derive(Debug, Clone)]
pub enum Credential {
    /// Nothing.
    None,
    /// An access token, in `authorization`.
    AccessToken(MetadataValue<Ascii>),
    /// A file that holds an access token, as workload identity mounts it. It is read for every call: a token in memory
    /// could expire while the file has a renewed one.
    TokenFile(PathBuf),
    /// The `tempauthtoken` of an upload URL, in `upload-token`.
    UploadToken(MetadataValue<Ascii>),
}

impl Credential {
    /// Presents an access token.
    pub fn access_token(token: &str) -> anyhow::Result<Self> {
        Ok(Self::AccessToken(bearer(token)?))
    }

    /// Presents the access token in a file, which must exist. A pipe, or anything else that is no regular file, can be
    /// read only once: its token is kept.
    pub fn token_file(file: &Path) -> anyhow::Result<Self> {
        let token = token_in(file)?;
        let is_readable_again = file.is_file();
        Ok(if is_readable_again { Self::TokenFile(file.to_owned()) } else { Self::AccessToken(token) })
    }

    /// Presents the token in an upload URL.
    pub fn of_upload_url(upload_url: &str) -> anyhow::Result<Self> {
        let url = Url::parse(upload_url).context("the upload URL is no URL")?;
        let token = url.query_pairs().find_map(|(name, token)| (name == "tempauthtoken").then_some(token));
        let token = token.context("the upload URL has no tempauthtoken")?;
        Ok(Self::UploadToken(secret(
            token.parse().context("the upload token has characters that a header must not have")?,
        )))
    }
}

/// Marks metadata as sensitive, so that debug output does not contain it.
fn secret(mut metadata: MetadataValue<Ascii>) -> MetadataValue<Ascii> {
    metadata.set_sensitive(true);
    metadata
}

fn bearer(token: &str) -> anyhow::Result<MetadataValue<Ascii>> {
    Ok(secret(
        format!("Bearer {token}").parse().context("the access token has characters that a header must not have")?,
    ))
}

fn token_in(file: &Path) -> anyhow::Result<MetadataValue<Ascii>> {
    let name = || format!("the token file {}", file.display());
    let token = fs::read_to_string(file).with_context(name)?;
    // Some editors write a byte order mark at the beginning.
    let token = token.strip_prefix('\u{feff}').unwrap_or(&token).trim();
    anyhow::ensure!(!token.is_empty(), "{} is empty", name());
    bearer(token).with_context(name)
}

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        match self {
            Self::None => None,
            Self::AccessToken(token) => request.metadata_mut().insert("authorization", token.clone()),
            Self::TokenFile(file) => {
                let token = token_in(file).map_err(|error| Status::unauthenticated(format!("{error:#}")))?;
                request.metadata_mut().insert("authorization", token)
            }
            Self::UploadToken(token) => request.metadata_mut().insert(UPLOAD_TOKEN, token.clone()),
        };
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presented(credential: &mut Credential) -> Result<String, String> {
        let request = credential.call(Request::new(())).map_err(|status| status.message().to_owned())?;
        let token = request.metadata().get("authorization").expect("a token");
        assert!(token.is_sensitive());
        Ok(token.to_str().expect("text").to_owned())
    }

    #[test]
    fn a_token_file_is_read_again_for_every_call() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        assert!(Credential::token_file(&file).is_err(), "there is none");
        fs::write(&file, "first\n").expect("a file");
        let mut credential = Credential::token_file(&file).expect("a token file");
        assert_eq!(presented(&mut credential), Ok("Bearer first".into()));

        fs::write(&file, "\u{feff}second\r\n").expect("a file");
        assert_eq!(presented(&mut credential), Ok("Bearer second".into()));

        fs::remove_file(&file).expect("it was there");
        assert!(presented(&mut credential).expect_err("no token").contains(&file.display().to_string()));
        fs::write(&file, " \n").expect("a file");
        assert!(presented(&mut credential).expect_err("no token").ends_with("is empty"));
    }

    #[test]
    fn a_pipe_is_read_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success());
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::write(pipe, "once\n")
        });
        let mut credential = Credential::token_file(&pipe).expect("a token");
        writer.join().expect("no panic").expect("written");
        for _ in 0..2 {
            assert_eq!(presented(&mut credential), Ok("Bearer once".into()));
        }
    }

    #[test]
    fn only_the_token_of_an_upload_url_is_presented() {
        let url = "https://host/uploadSessions/1?a=b&tempauthtoken=a-token&c=d#e";
        let Credential::UploadToken(token) = Credential::of_upload_url(url).expect("a token") else {
            panic!("no token")
        };
        assert_eq!(token.to_str().expect("text"), "a-token");
    }

    #[test]
    fn debug_output_contains_no_token() {
        for credential in [
            Credential::access_token("a-secret").expect("a token"),
            Credential::of_upload_url("https://host/uploadSessions/1?tempauthtoken=a-secret").expect("a token"),
        ] {
            assert!(!format!("{credential:?}").contains("a-secret"));
        }
    }
}
