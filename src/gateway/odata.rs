//! The parts of OData that clients of print jobs use: the context of a response, `$select` and `$expand`.

use axum::{extract::FromRequestParts, http::request::Parts};
use serde_json::Value;
use url::form_urlencoded;

use super::error::Error;
use crate::proto::Reason;

/// Where the types of responses are described: at Microsoft, because they are Microsoft's types.
const METADATA: &str = "https://graph.microsoft.com";

/// The context of a response: `{metadata}#{what}`.
pub fn context(version: &str, what: &str) -> String {
    format!("{METADATA}/{version}/$metadata#{what}")
}

/// The OData query options of a request.
#[derive(Debug, Default)]
pub struct QueryOptions {
    select: Option<Vec<String>>,
    /// Whether a job is returned with its documents.
    pub expand_documents: bool,
}

impl QueryOptions {
    fn parse(query: &str) -> Result<Self, Error> {
        let mut options = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let names = || value.split(',').map(|name| name.trim().to_owned());
            match key.as_ref() {
                "$select" if names().any(|name| name == "*") => options.select = None,
                "$select" => options.select = Some(names().collect()),
                "$expand" if names().all(|name| name == "documents") => options.expand_documents = true,
                key if key.starts_with('$') => {
                    let message = "only the query options $select and $expand=documents are supported";
                    return Err(Error::invalid(Reason::QueryNotSupported, message));
                }
                // Not an OData option.
                _ => {}
            }
        }
        Ok(options)
    }

    /// Removes all members of an entity that are not selected, not expanded and not annotations.
    pub fn select(&self, mut entity: Value) -> Value {
        if let (Some(selected), Some(members)) = (&self.select, entity.as_object_mut()) {
            let is_expanded = |name: &str| self.expand_documents && name == "documents";
            members.retain(|name, _| {
                name.contains('@') || is_expanded(name) || selected.iter().any(|wanted| wanted == name)
            });
        }
        entity
    }
}

impl<S: Sync> FromRequestParts<S> for QueryOptions {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}
