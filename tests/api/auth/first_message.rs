//! What is checked before a call is authorized: the credential, before any byte of the body; then the first message,
//! which must be small, uncompressed and complete.

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use print_upload::proto::{
    DeleteUploadSessionRequest, RangeHeader, UploadRangeRequest, upload_range_request::Content, upload_session::State,
};
use prost::Message;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::harness::{App, ErrorExt, Rpc, SIZE, call_raw, frame, header, sample_bytes, user_claims};

const LIMIT: usize = 64 * 1024;

/// A body of these chunks that does not end.
fn endless(chunks: impl IntoIterator<Item = Bytes>) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::iter(chunks.into_iter().collect::<Vec<_>>()).chain(stream::pending())
}

/// A body of these chunks.
fn whole(chunks: impl IntoIterator<Item = Bytes>) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::iter(chunks.into_iter().collect::<Vec<_>>())
}

/// One message in its frame.
fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    frame(0, message.len(), &message)
}

/// Calls with ada's token.
async fn call(app: &App, rpc: Rpc, body: impl Stream<Item = Bytes> + Send + 'static) -> Result<(), Status> {
    let token = format!("Bearer {}", user_claims().signed());
    call_raw(app.address, &rpc.path(), &[("authorization", &token)], body).await
}

fn invalid(reason: &str) -> (Code, String) {
    (Code::InvalidArgument, reason.into())
}

#[tokio::test]
async fn credentials_are_judged_before_a_byte_of_the_body_is_there() {
    let app = App::start().await;
    let bearer = |token: String| vec![("authorization", format!("Bearer {token}"))];
    let cases = [
        (vec![], (Code::Unauthenticated, "TOKEN_MISSING")),
        (bearer(user_claims().with("exp", 1_700_000_000).signed()), (Code::Unauthenticated, "TOKEN_EXPIRED")),
        (
            bearer(user_claims().with("scp", "Printer.Read.All").signed()),
            (Code::PermissionDenied, "PERMISSION_MISSING"),
        ),
        (vec![("upload-token", "nonsense".into())], (Code::Unauthenticated, "UPLOAD_TOKEN_INVALID")),
    ];
    for (metadata, (code, reason)) in cases {
        let metadata: Vec<(&str, &str)> = metadata.iter().map(|(key, value)| (*key, value.as_str())).collect();
        for rpc in Rpc::all() {
            let answer = call_raw(app.address, &rpc.path(), &metadata, endless([])).await;
            assert_eq!(answer.expect_err("refused").code_and_reason(), (code, reason.into()), "{rpc:?}");
        }
    }
}

#[tokio::test]
async fn a_first_message_that_is_too_large_compressed_or_malformed_is_refused_before_it_is_read() {
    let app = App::start().await;
    let prefix = |compressed, length| endless([frame(compressed, length, b"")]);
    for rpc in Rpc::all() {
        let announced = [(LIMIT + 1, "FIRST_MESSAGE_TOO_LARGE"), (u32::MAX as usize, "FIRST_MESSAGE_TOO_LARGE")];
        for (length, reason) in announced {
            let error = call(&app, rpc, prefix(0, length)).await;
            // No user may call the catalog's RPCs, whatever the message.
            let expected = if Rpc::OF_CATALOG.contains(&rpc) { "PERMISSION_MISSING" } else { reason };
            assert_eq!(error.expect_err("refused").reason(), expected, "{rpc:?}, {length} bytes");
        }
    }
    for rpc in Rpc::OF_SESSIONS.into_iter().chain(Rpc::OF_DOCUMENTS) {
        let error = call(&app, rpc, prefix(1, 10)).await.expect_err("compressed");
        assert_eq!(error.code_and_reason(), invalid("FIRST_MESSAGE_COMPRESSED"), "{rpc:?}");
        let error = call(&app, rpc, endless([frame(0, 3, b"\xff\xff\xff")])).await.expect_err("no message");
        assert_eq!(error.code_and_reason(), invalid("FIRST_MESSAGE_MALFORMED"), "{rpc:?}");
        let error = call(&app, rpc, whole([frame(0, 0, b"")])).await.expect_err("an empty message");
        let reason = if rpc == Rpc::UploadRange { "HEADER_MISSING" } else { "INVALID_FIELD" };
        assert_eq!(error.code_and_reason(), invalid(reason), "{rpc:?}");
    }
}

#[tokio::test]
async fn a_call_of_one_message_takes_no_second_one() {
    let app = App::start().await;
    let message = framed(&DeleteUploadSessionRequest { name: "uploadSessions/".into(), ..Default::default() });
    for second in [message.clone(), message.slice(..1)] {
        for rpc in Rpc::all().filter(|rpc| *rpc != Rpc::UploadRange && !Rpc::OF_CATALOG.contains(rpc)) {
            let error =
                call(&app, rpc, endless([message.clone(), second.clone()])).await.expect_err("a second message");
            assert_eq!(error.code_and_reason(), invalid("FIRST_MESSAGE_MALFORMED"), "{rpc:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_before_its_first_message_is_refused() {
    let app = App::start().await;
    let message = framed(&DeleteUploadSessionRequest { name: "uploadSessions/".into(), ..Default::default() });
    for rpc in Rpc::OF_SESSIONS.into_iter().chain(Rpc::OF_DOCUMENTS) {
        for length in [0, 1, 4, 5, message.len() - 1] {
            let error = call(&app, rpc, whole([message.slice(..length)])).await.expect_err("not a message");
            assert_eq!(error.code_and_reason(), invalid("FIRST_MESSAGE_MISSING"), "{rpc:?}, {length} bytes");
        }
    }
}

#[tokio::test]
async fn a_first_message_may_arrive_in_pieces_and_have_64_kib() {
    let app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.create(&document, SIZE).await.expect("a session");
    let largest = |size: usize| {
        let mut request = DeleteUploadSessionRequest { name: session.name.clone(), ..Default::default() };
        request.etag = "x".repeat(size - request.encoded_len() - 4);
        assert_eq!(request.encoded_len(), size);
        framed(&request)
    };
    let error = call(&app, Rpc::DeleteUploadSession, whole([largest(LIMIT)])).await.expect_err("an odd etag");
    assert_eq!(error.code_and_reason(), (Code::Aborted, "ETAG_MISMATCH".into()), "it was read to its end");
    let error = call(&app, Rpc::DeleteUploadSession, whole([largest(LIMIT + 1)])).await.expect_err("a byte more");
    assert_eq!(error.code_and_reason(), invalid("FIRST_MESSAGE_TOO_LARGE"));
    assert_eq!(ada.get(&session.name).await.expect("the session"), session, "nothing has changed");

    let message = framed(&DeleteUploadSessionRequest { name: session.name.clone(), ..Default::default() });
    let bytes = (0..message.len()).map(|position| message.slice(position..=position)).collect::<Vec<_>>();
    call(&app, Rpc::DeleteUploadSession, whole(bytes)).await.expect("deleted");
    assert_eq!(ada.get(&session.name).await.expect("the session").state(), State::Canceled);
}

#[tokio::test]
async fn a_range_begins_with_a_small_header_that_names_a_session_by_its_id() {
    let app = App::start().await;
    let (mut ada, document, bytes) = (app.ada(), app.new_document().await, sample_bytes(SIZE));
    let session = ada.create(&document, SIZE).await.expect("a session");
    let message = |content| UploadRangeRequest { content: Some(content) };
    let named = |name: &str| message(Content::Header(RangeHeader { name: name.into(), ..header(&session, 0..10) }));
    let chunk = || message(Content::Chunk(bytes.slice(0..10)));
    let large = RangeHeader { sha256: vec![0; LIMIT].into(), ..header(&session, 0..10) };
    let cases = [
        (vec![], "FIRST_MESSAGE_MISSING"),
        (vec![chunk()], "HEADER_MISSING"),
        (vec![chunk(), named(&session.name)], "HEADER_MISSING"),
        (vec![UploadRangeRequest { content: None }, named(&session.name), chunk()], "HEADER_MISSING"),
        (vec![named(""), chunk()], "INVALID_FIELD"),
        (vec![named(&format!("{document}/uploadSession")), chunk()], "INVALID_FIELD"),
        (vec![named(&format!("uploadSessions/{}", Uuid::nil().simple())), chunk()], "INVALID_FIELD"),
        (vec![message(Content::Header(large)), chunk()], "FIRST_MESSAGE_TOO_LARGE"),
        (vec![message(Content::Chunk(vec![0; LIMIT].into()))], "FIRST_MESSAGE_TOO_LARGE"),
    ];
    for (case, (messages, reason)) in cases.into_iter().enumerate() {
        let error = ada.send_messages(messages).await.expect_err(reason);
        assert_eq!(error.code_and_reason(), invalid(reason), "case {case}");
    }
    assert_eq!(ada.get(&session.name).await.expect("the session"), session, "nothing has changed");
    ada.send_messages(vec![named(&session.name), chunk()]).await.expect("a range");
}

#[tokio::test]
async fn a_method_that_does_not_exist_is_reported_as_such() {
    let app = App::start().await;
    let token = format!("Bearer {}", user_claims().signed());
    for service in ["UploadSessions", "PrintDocuments", "PrintJobs", "PrintCatalog"] {
        let path = format!("/print.upload.v1.{service}/Undelete");
        let error = call_raw(app.address, &path, &[("authorization", &token)], whole([])).await.expect_err("none");
        assert_eq!(error.code_and_reason(), (Code::Unimplemented, "METHOD_UNKNOWN".into()), "{path}");
    }
}

#[tokio::test]
async fn a_later_message_that_cannot_be_decoded_breaks_the_stream() {
    let app = App::start().await;
    let session = app.ada().create(&app.new_document().await, SIZE).await.expect("a session");
    let head = UploadRangeRequest { content: Some(Content::Header(header(&session, 0..10))) };
    let garbage = frame(0, 3, b"\xFF\xFF\xFF");
    let error = call(&app, Rpc::UploadRange, whole([framed(&head), garbage])).await.expect_err("no message");
    assert_eq!(error.code_and_reason(), invalid("STREAM_BROKEN"));
}
