//! Request bodies: JSON that is read completely, and bytes that are streamed to the service.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderName, header},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use print_upload_client::{self as client, MAX_CHUNK_BYTES};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Map, Number, Value};
use tokio::time::timeout;
use tonic::Code;

use super::error::Error;
use crate::proto::Reason;

/// The largest JSON body, in bytes. The service accepts a first message of the same size.
const MAX_JSON_BYTES: usize = 64 * 1024;

/// How long a JSON body may take to be received.
const JSON_TIMEOUT: Duration = Duration::from_secs(10);

/// A 64-bit float represents every integer up to this one exactly.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// What some programs write at the beginning of a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A JSON body.
pub struct Json<T>(pub T);

/// A JSON body, or `None` if the body is empty.
pub struct OptionalJson<T>(pub Option<T>);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let OptionalJson(value) = OptionalJson::from_request(request, state).await?;
        value.map(Self).ok_or_else(|| Error::invalid(Reason::BodyNotJson, "the request needs a JSON body"))
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        require_unencoded(request.headers())?;
        let is_json = is_json(request.headers());
        let bytes = read(request.into_body()).await?;
        // RFC 8259, section 8.1, allows a reader to ignore it.
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        if !is_json {
            let message = "the request's Content-Type must be application/json";
            return Err(Error::invalid(Reason::ContentTypeNotJson, message));
        }
        if std::str::from_utf8(bytes).is_err() {
            return Err(Error::invalid(Reason::BodyNotJson, "the body is not text in UTF-8"));
        }
        // serde would accept an array as well.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(Error::invalid(Reason::BodyNotJson, "the body is not a JSON object"));
        }
        let value = serde_json::from_slice(bytes).map_err(|error| {
            let reason = if error.is_data() { Reason::InvalidField } else { Reason::BodyNotJson };
            Error::invalid(reason, format!("the body is not the JSON this call takes: {error}"))
        })?;
        Ok(Self(Some(value)))
    }
}

/// Fails if the body is compressed or encoded in another way: its bytes would be taken as they are. Chunks are no
/// encoding of the bytes.
pub fn require_unencoded(headers: &HeaderMap) -> Result<(), Error> {
    let has_only = |name: HeaderName, harmless: &str| {
        let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("unreadable"));
        let mut codings = values.flat_map(|value| value.split(',')).map(str::trim);
        codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(harmless))
    };
    let is_plain = has_only(header::CONTENT_ENCODING, "identity") && has_only(header::TRANSFER_ENCODING, "chunked");
    if is_plain { Ok(()) } else { Err(Error::encoded_body()) }
}

async fn read(body: Body) -> Result<Bytes, Error> {
    let message = format!("the body did not arrive within {} s", JSON_TIMEOUT.as_secs());
    let read = timeout(JSON_TIMEOUT, to_bytes(body, MAX_JSON_BYTES)).await;
    let read = read.map_err(|_| Error::new(Code::DeadlineExceeded, Reason::BodyTimeout, message))?;
    // A body that breaks off fails as well, but then no client reads the response.
    let message = format!("a JSON body may have at most {MAX_JSON_BYTES} bytes");
    read.map_err(|_| Error::invalid(Reason::BodyTooLarge, message))
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// A member that is an object, for serde's `deserialize_with`.
pub fn object<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let members = Map::<String, Value>::deserialize(deserializer)?;
    T::deserialize(Value::Object(members)).map_err(D::Error::custom)
}

/// A whole number, for serde's `deserialize_with`: in JSON, 11 and 11.0 are the same.
pub fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = Number::deserialize(deserializer)?;
    let whole = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= MAX_SAFE_INTEGER);
    let integer = number.as_i64().or(whole.map(|whole| whole as i64));
    integer.ok_or_else(|| D::Error::custom(format!("{number} is not an integer that can be a size")))
}

/// Splits the bytes of a body into chunks that the service accepts. If the body breaks off, the stream ends early. The
/// service then receives fewer bytes than the range has, and commits none.
pub fn chunks(body: Body) -> impl Stream<Item = Bytes> + Send + 'static {
    tokio_stream::StreamExt::map_while(body.into_data_stream(), Result::ok)
        .flat_map(|bytes| stream::iter(client::chunks(bytes, MAX_CHUNK_BYTES)))
}
