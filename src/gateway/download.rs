//! `GET …/documents/{document}/$value`: the document's bytes, all of them or one range.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tonic::{Code, Status, Streaming};

use super::{answer::message_and_id, call::GraphCall, content_range::number, error::Error, json::last_segment, status};
use crate::{
    proto::{
        DownloadPrintDocumentRequest, DownloadPrintDocumentResponse, GetPrintDocumentRequest, PrintDocument,
        download_print_document_response::Content,
    },
    text::is_invisible,
};

/// Which bytes a `Range` header asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    /// From the first offset to before the second.
    Part(u64, u64),
    /// The document does not have any of these bytes.
    Unsatisfiable,
}

/// Sends the bytes. An uploaded document never changes, so its id serves as the etag.
pub async fn get(GraphCall { mut client, path }: GraphCall, headers: HeaderMap) -> Result<Response, Error> {
    let mut wanted = Wanted::All;
    if let Some(range) = headers.get(header::RANGE).and_then(|range| range.to_str().ok()) {
        // A range like `bytes=-4` depends on the document's size.
        let request = GetPrintDocumentRequest { name: path.document() };
        let (document, _) = message_and_id(client.documents.get_print_document(request).await)?;
        let is_same = headers.get(header::IF_RANGE).is_none_or(|tag| *tag == etag(&document));
        if is_same && document.upload_time.is_some() {
            wanted = wanted_of(range, size_of(&document));
        }
        if wanted == Wanted::Unsatisfiable {
            return Err(Error::out_of_range(size_of(&document)));
        }
    }
    let offset = if let Wanted::Part(start, _) = wanted { start } else { 0 };
    let request = DownloadPrintDocumentRequest { name: path.document(), offset: offset as i64 };
    let (mut messages, id) = message_and_id(client.documents.download_print_document(request).await)?;
    let document = first(&mut messages).await?;
    let size = size_of(&document);
    let (start, end) = if let Wanted::Part(start, end) = wanted { (start, end.min(size)) } else { (0, size) };

    let mut response = (id, Body::from_stream(limited(bytes(messages), end - start))).into_response();
    let headers = response.headers_mut();
    for (name, value) in describe(&document) {
        headers.insert(name, value);
    }
    headers.insert(header::CONTENT_LENGTH, (end - start).into());
    if wanted != Wanted::All {
        let range = HeaderValue::from_str(&format!("bytes {start}-{}/{size}", end - 1));
        headers.extend(range.ok().map(|range| (header::CONTENT_RANGE, range)));
        *response.status_mut() = status::PART;
    }
    Ok(response)
}

/// The uploader chose the document's type and name. The headers keep browsers from displaying it as content of this
/// site.
fn describe(document: &PrintDocument) -> Vec<(HeaderName, HeaderValue)> {
    let content_type = HeaderValue::from_str(&document.content_type);
    let disposition = HeaderValue::from_str(&disposition(&document.document_name));
    [
        (header::CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static("application/octet-stream"))),
        (header::CONTENT_DISPOSITION, disposition.unwrap_or(HeaderValue::from_static("attachment"))),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (header::ETAG, etag(document)),
    ]
    .into()
}

/// RFC 6266: a name in ASCII for clients that understand no other, and the name itself. Characters that would rearrange
/// the name where it is displayed are replaced in both.
fn disposition(name: &str) -> String {
    let name: String = name.chars().map(|c| if is_invisible(c) { '_' } else { c }).collect();
    // A `%` could be taken for an encoding, a quote or a backslash for the end of the name.
    let is_plain = |c: &char| (c.is_ascii_graphic() || *c == ' ') && !"\"\\%/".contains(*c);
    let ascii: String = name.chars().map(|c| if is_plain(&c) { c } else { '_' }).collect();
    let encoded: String = name.bytes().map(percent_encoded).collect();
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}")
}

/// RFC 8187: letters, digits and a few other characters stay as they are.
fn percent_encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

fn etag(document: &PrintDocument) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}\"", last_segment(&document.name))).unwrap_or(HeaderValue::from_static("\"\""))
}

fn size_of(document: &PrintDocument) -> u64 {
    u64::try_from(document.size_bytes).unwrap_or_default()
}

/// One range of RFC 9110, section 14.1.2. A malformed range and a list of ranges are ignored, as that section allows.
fn wanted_of(range: &str, size: u64) -> Wanted {
    let Some((unit, range)) = range.split_once('=') else { return Wanted::All };
    let Some((first, last)) = range.trim().split_once('-') else { return Wanted::All };
    let part = match (number::<u64>(first), number::<u64>(last)) {
        _ if !unit.trim().eq_ignore_ascii_case("bytes") => return Wanted::All,
        (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(size)),
        (Some(first), None) if last.is_empty() => (first, size),
        (None, Some(suffix)) if first.is_empty() => (size - suffix.min(size), size),
        _ => return Wanted::All,
    };
    if part.0 < part.1 { Wanted::Part(part.0, part.1) } else { Wanted::Unsatisfiable }
}

async fn first(messages: &mut Streaming<DownloadPrintDocumentResponse>) -> Result<PrintDocument, Error> {
    match messages.message().await?.and_then(|message| message.content) {
        Some(Content::Document(document)) => Ok(document),
        _ => Err(Status::internal("a download without its document").into()),
    }
}

fn bytes(messages: Streaming<DownloadPrintDocumentResponse>) -> impl Stream<Item = Result<Bytes, Status>> {
    messages.map(|message| match message?.content {
        Some(Content::Chunk(chunk)) => Ok(chunk),
        _ => Err(Status::new(Code::Internal, "a download with two documents")),
    })
}

/// The first `limit` bytes; the rest is never requested. If the stream fails or ends earlier, the connection is closed,
/// so that the client never takes a part for the whole.
fn limited(
    bytes: impl Stream<Item = Result<Bytes, Status>> + Unpin,
    limit: u64,
) -> impl Stream<Item = Result<Bytes, Status>> {
    stream::try_unfold((bytes, limit), async |(mut bytes, left)| {
        if left == 0 {
            return Ok(None);
        }
        let Some(mut chunk) = bytes.try_next().await? else { return Err(Status::data_loss("a download ended early")) };
        chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - chunk.len() as u64;
        Ok(Some((chunk, (bytes, left))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_in_ascii_and_as_it_is() {
        let cases = [
            ("hello.txt", "hello.txt", "hello.txt"),
            ("Plakat für мир.pdf", "Plakat f_r ___.pdf", "Plakat%20f%C3%BCr%20%D0%BC%D0%B8%D1%80.pdf"),
            ("a\"b\\c%41/d;e.pdf", "a_b_c_41_d;e.pdf", "a%22b%5Cc%2541%2Fd%3Be.pdf"),
            ("a\u{202e}fdp.exe", "a_fdp.exe", "a_fdp.exe"),
            ("a\u{200f}\u{2066}b\u{2028}c", "a__b_c", "a__b_c"),
        ];
        for (name, ascii, encoded) in cases {
            let expected = format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}");
            assert_eq!(disposition(name), expected, "{name:?}");
        }
    }

    #[test]
    fn ranges_of_a_document_of_ten_bytes() {
        let cases = [
            ("bytes=0-9", Wanted::Part(0, 10)),
            ("bytes=3-3", Wanted::Part(3, 4)),
            ("bytes=3-", Wanted::Part(3, 10)),
            ("bytes=3-99", Wanted::Part(3, 10)),
            ("bytes=-4", Wanted::Part(6, 10)),
            ("bytes=-99", Wanted::Part(0, 10)),
            ("bytes=10-", Wanted::Unsatisfiable),
            ("bytes=10-20", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=5-4", Wanted::All),
            ("bytes=0-1,3-4", Wanted::All),
            ("bytes=", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("items=0-1", Wanted::All),
            ("0-1", Wanted::All),
        ];
        for (range, expected) in cases {
            assert_eq!(wanted_of(range, 10), expected, "{range}");
        }
    }
}
