//! Bodies that are compressed, and JSON in other encodings than UTF-8. Nothing that is encoded may become a document.

use axum::http::Method;
use bytes::Bytes;
use print_upload_client::proto::GetUploadSessionRequest;
use prost::Message;
use tonic::Code;

use crate::harness::{App, ErrorExt, Socket, call_raw, frame, refused, sample_bytes};

const PROPERTIES: &str = r#"{"properties": {"documentName": "a", "contentType": "a/b", "size": 1}}"#;

/// An empty text, compressed by gzip.
const GZIP: [u8; 20] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[tokio::test]
async fn an_encoded_body_is_refused_by_every_call_that_takes_one() {
    let app = App::start().await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    let url = ada.begin(&document, GZIP.len()).await;
    let create = format!("/v1.0/print/{document}/microsoft.graph.createUploadSession");
    for encoding in ["gzip", "GZIP", "deflate", "br", "zstd", "compress", "identity, gzip", "gzip,", "x-unknown"] {
        for (method, path) in [(Method::POST, "/print/printers/p/jobs"), (Method::POST, &create), (Method::PUT, &url)] {
            let headers = [
                ("content-encoding", encoding),
                ("content-type", "application/json"),
                ("content-range", "bytes 0-19/20"),
            ];
            let answer = ada.send(method, path, &headers, GZIP.to_vec()).await;
            assert_eq!(answer.refusal(), (415, "invalidRequest".into(), "CONTENT_ENCODING_NOT_SUPPORTED".into()));
            assert_eq!(answer.header("accept-encoding"), "identity", "{encoding}");
        }
    }
    assert_eq!(ada.get(&url).await.missing(), ["0-19"], "nothing was stored");
}

#[tokio::test]
async fn identity_is_no_encoding() {
    let app = App::start().await;
    let (ada, document, bytes) = (app.rest(&app.ada()), app.new_document().await, sample_bytes(10));
    let url = ada.begin(&document, 10).await;
    for (range, encoding) in [("bytes 0-3/10", "identity"), ("bytes 4-6/10", "Identity,"), ("bytes 7-9/10", "")] {
        let headers = [("content-encoding", encoding), ("content-range", range)];
        let start: usize = range[6..7].parse().expect("a digit");
        let length = if start == 0 { 4 } else { 3 };
        let answer = ada.send(Method::PUT, &url, &headers, bytes.slice(start..start + length)).await;
        assert!(answer.status < 300, "{encoding:?}: {answer:?}");
    }
    assert!(ada.get(&format!("/print/{document}/$value")).await.body == bytes);
}

#[tokio::test]
async fn a_connection_is_used_on_after_a_compressed_slice() {
    let app = App::start().await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    let url = ada.begin(&document, 1_000_000).await;
    let head = "Content-Encoding: gzip\r\n";
    let mut socket = Socket::put_with(app.rest_address, &url, 0..1_000_000, 1_000_000, head).await;
    socket.write(&[7; 1_000_000]).await;
    let head = socket.read_head().await;
    assert!(head.starts_with("HTTP/1.1 415 "), "{head}");
    assert!(!head.contains("connection: close"), "{head}");

    socket.write(b"GET /nothing HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").await;

    let rest = String::from_utf8(socket.read_to_end().await).expect("text");
    assert!(rest.contains("HTTP/1.1 404 Not Found\r\n"), "{rest}");
}

#[tokio::test]
async fn a_transfer_coding_other_than_chunked_is_refused() {
    let app = App::start().await;
    let path = "/print/printers/p/jobs";
    let head = "Transfer-Encoding: gzip, chunked\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let mut socket = Socket::post(app.rest_address, path, app.ada().access_token(), head).await;
    socket.write(b"2\r\n{}\r\n0\r\n\r\n").await;
    let head = socket.read_head().await;
    assert!(head.starts_with("HTTP/1.1 415 "), "{head}");
}

#[tokio::test]
async fn json_may_begin_with_a_byte_order_mark() {
    let app = App::start().await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    let path = format!("/print/{document}/createUploadSession");
    let post = async |body: Vec<u8>| ada.send(Method::POST, &path, &[("content-type", "application/json")], body).await;
    assert_eq!(post([b"\xEF\xBB\xBF", PROPERTIES.as_bytes()].concat()).await.status, 200);
    let twice = [b"\xEF\xBB\xBF\xEF\xBB\xBF", PROPERTIES.as_bytes()].concat();
    assert_eq!(post(twice).await.reason(), refused(400, "BODY_NOT_JSON"));
    let utf_16 = |mark: &[u8], bytes: fn(u16) -> [u8; 2]| {
        [mark.to_vec(), PROPERTIES.encode_utf16().flat_map(bytes).collect()].concat()
    };
    for body in [utf_16(b"\xFF\xFE", u16::to_le_bytes), utf_16(b"\xFE\xFF", u16::to_be_bytes)] {
        let answer = post(body).await;
        assert_eq!(answer.reason(), refused(400, "BODY_NOT_JSON"));
        assert_eq!(answer.json()["error"]["message"], "the body is not text in UTF-8");
    }
    let mark_alone = ada.send(Method::POST, "/print/printers/p/jobs", &[], "\u{feff}").await;
    assert_eq!(mark_alone.status, 201, "an empty body");
}

#[tokio::test]
async fn grpc_that_announces_compression_is_refused_with_a_reason() {
    let app = App::start().await;
    let session = app.ada().create(&app.new_document().await, 10).await.expect("a session");
    let message = GetUploadSessionRequest { name: session.name }.encode_to_vec();
    let authorization = format!("Bearer {}", app.ada().access_token());
    for (encoding, flag, is_accepted) in
        [("identity", 0, true), ("gzip", 0, false), ("gzip", 1, false), ("zstd", 0, false), ("identity", 1, false)]
    {
        let metadata = [("authorization", authorization.as_str()), ("grpc-encoding", encoding)];
        let body = futures_util::stream::iter([frame(flag, message.len(), &message)]);
        let path = "/print.upload.v1.UploadSessions/GetUploadSession";
        match call_raw(app.address, path, &metadata, body).await {
            Ok(()) => assert!(is_accepted, "{encoding} {flag}"),
            Err(status) => {
                assert!(!is_accepted, "{encoding} {flag}: {status:?}");
                let expected = (Code::InvalidArgument, "FIRST_MESSAGE_COMPRESSED".to_owned());
                assert_eq!(status.code_and_reason(), expected);
                assert_eq!(status.metadata().get("grpc-accept-encoding").expect("a list"), "identity");
            }
        }
    }
}

#[tokio::test]
async fn an_empty_slice_of_a_compressed_body_is_refused_as_well() {
    let app = App::start().await;
    let (ada, document) = (app.rest(&app.ada()), app.new_document().await);
    let url = ada.begin(&document, 1).await;
    let headers = [("content-encoding", "gzip"), ("content-length", "0"), ("content-range", "bytes 0-0/1")];
    let answer = ada.send(Method::PUT, &url, &headers, Bytes::new()).await;
    assert_eq!(answer.reason(), refused(415, "CONTENT_ENCODING_NOT_SUPPORTED"));
}
