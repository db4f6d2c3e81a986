//! Graph paths, and the resource names of the service that they correspond to.

use axum::{
    extract::{FromRequestParts, Path, Request},
    http::{Uri, request::Parts},
};
use serde::Deserialize;

use super::error::Error;

/// `/print/{queues}/{queue}/jobs/{job}/documents/{document}`, or the first part of it.
pub struct GraphPath {
    /// The version of Graph that the client uses: `v1.0` or `beta`.
    pub version: &'static str,
    segments: Segments,
}

#[derive(Deserialize)]
struct Segments {
    queues: String,
    queue: String,
    job: Option<String>,
    document: Option<String>,
}

/// The actions of OData among the paths. Each has a second name, qualified by its namespace.
const ACTIONS: [&str; 4] = ["createUploadSession", "renewUploadUrl", "start", "cancel"];

/// Before the name of an action: its namespace.
pub const QUALIFIER: &str = "microsoft.graph.";

/// The path of an action by its qualified name (OData URL conventions, section 4.3). `None` if it is no action's path.
pub fn qualified_action(path: &str) -> Option<String> {
    let (resource, action) = path.rsplit_once('/')?;
    ACTIONS.contains(&action).then(|| format!("{resource}/{QUALIFIER}{action}"))
}

/// Decodes the characters of a path that mean the same when they are percent-encoded: those that RFC 3986 does not
/// reserve, and `$`, which begins names of OData. OData decodes a segment after the path was split: a `%2F` stays.
pub fn decode_names(mut request: Request) -> Request {
    let Some(decoded) = decoded(request.uri().path()) else { return request };
    let decoded = match request.uri().query() {
        Some(query) => format!("{decoded}?{query}"),
        None => decoded,
    };
    let mut parts = request.uri().clone().into_parts();
    if let Ok(path_and_query) = decoded.parse() {
        parts.path_and_query = Some(path_and_query);
        // Cannot fail: only the path was changed.
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// `None` if there is nothing to decode, or a `%` that encodes nothing: it could become a part of another encoding.
fn decoded(path: &str) -> Option<String> {
    let (first, pieces) = path.split_once('%')?;
    let mut decoded = first.to_owned();
    for piece in pieces.split('%') {
        let digits = piece.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        let character = char::from(u8::from_str_radix(digits, 16).ok()?);
        if character.is_ascii_alphanumeric() || "-._~$".contains(character) {
            decoded.push(character);
            decoded.push_str(&piece[2..]);
        } else {
            decoded.extend(["%", piece]);
        }
    }
    Some(decoded)
}

impl GraphPath {
    /// `printers/{printer}` or `shares/{share}`.
    pub fn queue(&self) -> String {
        format!("{}/{}", self.segments.queues, self.segments.queue)
    }

    /// `{queue}/jobs/{job}`.
    pub fn job(&self) -> String {
        format!("{}/jobs/{}", self.queue(), self.segments.job.as_deref().unwrap_or_default())
    }

    /// `{job}/documents/{document}`.
    pub fn document(&self) -> String {
        format!("{}/documents/{}", self.job(), self.segments.document.as_deref().unwrap_or_default())
    }

    /// `{document}/uploadSession`.
    pub fn upload_session(&self) -> String {
        format!("{}/uploadSession", self.document())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for GraphPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let version = if parts.uri.path().starts_with("/beta/") { "beta" } else { "v1.0" };
        let segments: Path<Segments> =
            Path::from_request_parts(parts, state).await.map_err(|_| Error::no_such_path())?;
        if !matches!(segments.queues.as_str(), "printers" | "shares") {
            return Err(Error::no_such_path());
        }
        Ok(Self { version, segments: segments.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_the_same_in_both_forms_is_decoded() {
        for (path, expected) in [
            ("/a/%24value", "/a/$value"),
            ("/%70rint/%2e%2E/%7e%5F%2d", "/print/../~_-"),
            ("/a%2Fb%2f/%25%32%34/%00/%C3%BC", "/a%2Fb%2f/%2524/%00/%C3%BC"),
        ] {
            assert_eq!(decoded(path).as_deref(), Some(expected));
        }
        for path in ["/a", "/%24/%", "/%2", "/%zz", "/%+1", "/%%32%34", "/%é"] {
            assert_eq!(decoded(path), None, "{path}");
        }
    }

    #[test]
    fn an_action_has_a_qualified_name() {
        let path = "/print/{queues}/{queue}/jobs/{job}";
        assert_eq!(qualified_action(&format!("{path}/start")), Some(format!("{path}/microsoft.graph.start")));
        assert_eq!(qualified_action(path), None);
    }
}
