//! The headers of a range: `Content-Range` in both spellings that clients use, and `Content-Length`.

use std::str::FromStr;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use tonic::Code;

use super::{body::require_unencoded, error::Error};
use crate::proto::Reason;

/// Which bytes of the document the body contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// Offset of the first byte.
    pub start: i64,
    /// Offset after the last byte. HTTP gives the offset of the last byte itself.
    pub end: i64,
    /// The document's size.
    pub total: i64,
}

impl ContentRange {
    /// `bytes {first}-{last}/{total}` (RFC 9110, section 14.4), or with `=` instead of the space: Microsoft's own page
    /// has both ("Upload documents using an upload session").
    fn parse(text: &str) -> Option<Self> {
        let (unit, range) = text.trim().split_once([' ', '='])?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (range, total) = range.trim_start().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (start, last) = (number(first)?, number(last)?);
        (start <= last).then_some(Self { start, end: last.checked_add(1)?, total: number(total)? })
    }

    fn of(headers: &HeaderMap) -> Result<Self, Error> {
        require_unencoded(headers)?;
        let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let Some(length) = length.and_then(number::<i64>) else {
            let message = "a range needs the header Content-Length";
            return Err(Error::new(Code::FailedPrecondition, Reason::LengthRequired, message));
        };
        let range = headers.get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
        let Some(range) = range.and_then(Self::parse) else {
            let message = "a range needs the header Content-Range: bytes {first}-{last}/{total}";
            return Err(Error::invalid(Reason::ContentRangeInvalid, message));
        };
        // An empty body is for the service to judge: it may ask for the result of the range that completed the
        // document.
        if length != 0 && range.end - range.start != length {
            let message = format!("Content-Length is {length}, the range has {} bytes", range.end - range.start);
            return Err(Error::invalid(Reason::RangeLengthMismatch, message));
        }
        Ok(range)
    }
}

impl<S: Sync> FromRequestParts<S> for ContentRange {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Self::of(&parts.headers)
    }
}

/// Parses digits and nothing else: `parse` alone would accept a sign.
pub fn number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_name_the_last_byte() {
        let range = Some(ContentRange { start: 0, end: 72797, total: 4_533_322 });
        for text in
            ["bytes 0-72796/4533322", "bytes=0-72796/4533322", "Bytes 0-72796/4533322", " bytes  0-72796/4533322 "]
        {
            assert_eq!(ContentRange::parse(text), range, "{text}");
        }
        assert_eq!(ContentRange::parse("bytes 7-7/8"), Some(ContentRange { start: 7, end: 8, total: 8 }));
    }

    #[test]
    fn a_malformed_range_is_refused() {
        for text in [
            "",
            "bytes",
            "bytes ",
            "bytes 0-1",
            "bytes 0/1",
            "bytes 1-0/2",
            "bytes -1/2",
            "bytes 0-/2",
            "bytes */2",
            "bytes 0-1/*",
            "bytes +0-1/2",
            "bytes 0-1/2/3",
            "bytes 0--1/2",
            "items 0-1/2",
            "0-1/2",
            "bytes 0-9223372036854775807/9223372036854775807",
            "bytes 0-9223372036854775808/9223372036854775809",
        ] {
            assert_eq!(ContentRange::parse(text), None, "{text}");
        }
    }
}
