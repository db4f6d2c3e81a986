//! Logs: one line a request, with the fields that are documented, and never a secret.

use std::{fs, path::Path, process::Stdio};

use axum::http::Method;
use bytes::Bytes;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use print_upload::proto::DownloadPrintDocumentRequest;
use print_upload_client as client;
use serde_json::Value;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::harness::{App, Command, Operator, Port, Program, TENANT, call_raw, eventually, frame, sample_bytes};

/// A program on the data of an app that has a document of ada's.
async fn program(variables: &[(&str, &str)]) -> (App, String, Program) {
    let (mut app, document) = App::stopped().await;
    let program = Program::serve_with(&mut app, variables).await;
    (app, document, program)
}

/// The fields of the request lines with this method or route.
fn answered(output: &str, what: &str) -> Vec<Value> {
    let lines =
        output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).map(|line| line["fields"].clone());
    let about =
        |line: &Value| [&line["rpc.method"], &line["http.route"]].iter().any(|name| name.as_str() == Some(what));
    lines.filter(|line| line["message"] == "answered" && about(line)).collect()
}

/// The values of some fields of a line.
fn only(line: &Value, fields: &[&str]) -> String {
    let text = |field: &&str| line[field].as_str().map_or_else(|| line[field].to_string(), str::to_owned);
    fields.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// Every field of these lines is in docs/operations.md.
fn assert_documented(lines: &[Value]) {
    let documentation = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let documentation = fs::read_to_string(documentation).expect("docs/operations.md");
    for field in lines.iter().flat_map(|line| line.as_object().expect("fields").keys()) {
        assert!(field == "message" || documentation.contains(&format!("`{field}`")), "{field}");
    }
}

const SESSIONS: &str = "print.upload.v1.UploadSessions";

#[tokio::test]
async fn every_call_leaves_one_line_with_who_did_what_and_how_it_went() {
    let (app, document, program) = program(&[]).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..500).await.expect("a range");
    ada.holder_of(&session).get(&session.name).await.expect("the session");
    app.bob().delete(&session.name).await.expect_err("it is not bob's");
    let upstream = client::connect(&[format!("http://{}", app.address)], None).expect("an address");
    let mut health = HealthClient::new(upstream);
    health.check(HealthCheckRequest::default()).await.expect("it serves");
    let watch = health.watch(HealthCheckRequest::default()).await.expect("it serves");
    watch.into_inner().message().await.expect("a message").expect("a status");
    app.bearer("nonsense").delete(&session.name).await.expect_err("nobody");
    app.user(TENANT, "zoe", &["PrintJob.Read"]).delete(&session.name).await.expect_err("she may not");
    let request_id = ada.delete_traced(&session.name).await.expect("deleted");
    program.terminate();
    let (_, output) = program.wait_for_end().await;

    let fields = ["grpc.code", "error.reason", "caller.kind", "upload.id"];
    let lines = |rpc: &str| {
        let lines = answered(&output, &format!("{SESSIONS}/{rpc}"));
        let short = lines.iter().map(|line| only(line, &fields).replace(&session.etag, "{session}"));
        short.collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(lines("CreateUploadSession"), @"OK null user {session}");
    insta::assert_snapshot!(lines("UploadRange"), @"OK null user {session}");
    insta::assert_snapshot!(lines("GetUploadSession"), @"OK null capability {session}");
    insta::assert_snapshot!(lines("DeleteUploadSession"), @r"
    PERMISSION_DENIED NOT_SESSION_OWNER user null
    UNAUTHENTICATED TOKEN_MALFORMED none null
    PERMISSION_DENIED PERMISSION_MISSING user null
    OK null user {session}
    ");
    let deletions = answered(&output, &format!("{SESSIONS}/DeleteUploadSession"));
    assert_eq!(deletions[3]["request.id"], request_id.as_str());
    assert_eq!(deletions[3]["tenant.id"], TENANT.to_string());
    let range = &answered(&output, &format!("{SESSIONS}/UploadRange"))[0];
    assert!(range["request.bytes"].as_u64().is_some_and(|bytes| (500..700).contains(&bytes)), "{range}");
    assert!(range["response.bytes"].as_u64().is_some_and(|bytes| bytes > 5), "{range}");
    assert!(range["duration_ms"].as_f64().is_some_and(|duration| duration > 0.0), "{range}");
    assert_documented(&deletions);
    assert!(!output.contains("grpc.health.v1"), "successful probes leave no line");
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    let mut app = App::start().await;
    let document = app.new_document().await;
    app.stop().await;
    let port = Port::reserve();
    let admin = Port::reserve();
    let mut serve = Command::new("serve").env("RUST_LOG", "trace").arg(format!("--listen={}", port.address)).process();
    serve.arg(format!("--admin-listen={}", admin.address));
    serve.args(app.flags().map(|(flag, value)| format!("--{flag}={value}")));
    // A pipe without a reader. It is full long before the first call.
    let mut serving = serve.stderr(Stdio::piped()).spawn().expect("it starts");
    app.address = port.address;

    eventually("it serves", async || app.ada().create(&document, 1000).await.is_ok()).await;
    let operator = Operator::at(admin.address);
    eventually("lines are lost", async || {
        app.ada().get(&format!("{document}/uploadSession")).await.expect("the session");
        operator.scrape().await.value("print_upload_log_lines_dropped_total") > 0.0
    })
    .await;

    let pid = serving.id().expect("it is running");
    kill(Pid::from_raw(pid.try_into().expect("a process id")), Signal::SIGTERM).expect("the signal is sent");
    assert!(serving.wait().await.expect("it ends").success());
}

#[tokio::test]
async fn a_download_leaves_its_line_when_the_last_byte_has_gone() {
    let mut app = App::start().await;
    let document = app.uploaded_document().await;
    app.stop().await;
    let program = Program::serve(&mut app).await;
    let (_, bytes) = app.ada().download(&document, 0).await.expect("a download");
    program.terminate();
    let (_, output) = program.wait_for_end().await;

    let lines = answered(&output, "print.upload.v1.PrintDocuments/DownloadPrintDocument");
    assert_eq!(lines.len(), 1, "{output}");
    assert_eq!(only(&lines[0], &["grpc.code", "caller.kind"]), "OK user");
    assert!(lines[0]["response.bytes"].as_u64() > Some(bytes.len() as u64), "{lines:?}");
}

/// An operator who is alerted needs to know which object, and in which call.
#[tokio::test]
async fn an_object_that_is_lost_is_named() {
    let mut app = App::start().await;
    let (mut ada, document) = (app.ada(), app.new_document().await);
    let session = ada.upload(&document, &sample_bytes(1000)).await.expect("an upload");
    app.stop().await;
    let program = Program::serve(&mut app).await;
    let lost = app.files_of(&session).remove(0);
    fs::remove_file(app.session_folder(&session).join(&lost)).expect("it was there");

    app.ada().download(&document, 0).await.expect_err("its bytes are gone");
    program.terminate();
    let (_, output) = program.wait_for_end().await;

    let line = output.lines().find(|line| line.contains("committed bytes are not")).expect("a line");
    let line: Value = serde_json::from_str(line).expect("JSON");
    let object = line["fields"]["object"].as_str().expect("its name");
    assert_eq!(object, format!("{TENANT}/{}/{lost}", session.etag));
    let answered = &answered(&output, "print.upload.v1.PrintDocuments/DownloadPrintDocument")[0];
    assert_eq!(only(answered, &["grpc.code", "error.reason"]), "DATA_LOSS BYTES_MISSING");
    assert_eq!(answered["upload.id"], session.etag);
    assert!(
        line["spans"]
            .as_array()
            .is_some_and(|spans| { spans.iter().any(|span| span["request.id"] == answered["request.id"]) }),
        "{line}"
    );
}

#[tokio::test]
async fn a_caller_who_hangs_up_leaves_a_line_as_well() {
    let mut app = App::start().await;
    let (document, unfinished) = (app.new_document().await, app.new_document().await);
    let bytes = sample_bytes(8_000_000);
    app.ada().upload(&document, &bytes).await.expect("an upload");
    app.stop().await;
    let mut program = Program::serve(&mut app).await;

    // More than the service sends ahead of a caller who does not read.
    let request = DownloadPrintDocumentRequest { name: document, offset: 0 };
    let mut download = app.ada().client.documents.download_print_document(request).await.expect("a download");
    download.get_mut().message().await.expect("it goes well").expect("the document");
    drop(download);
    let line = program.log_line("PrintDocuments/DownloadPrintDocument").await["fields"].clone();
    assert_eq!(only(&line, &["grpc.code", "caller.kind"]), "CANCELLED user", "{line}");

    let session = app.ada().create(&unfinished, bytes.len()).await.expect("a session");
    let (_still_held, stalled) = app.ada().stall(&session, &bytes, 0..1000);
    eventually("the writer is under way", async || app.files_of(&session).len() == 1).await;
    stalled.abort();
    let line = program.log_line("UploadSessions/UploadRange").await["fields"].clone();
    assert_eq!(line["upload.id"], session.etag.as_str(), "{line}");
}

#[tokio::test]
async fn a_method_that_does_not_exist_is_not_repeated() {
    let (app, _, mut program) = program(&[]).await;
    let path = "/print.upload.v1.UploadSessions/BrewCoffee";
    call_raw(app.address, path, &[], tokio_stream::once(frame(0, 0, b""))).await.expect_err("no such method");

    let line = program.log_line(r#""rpc.method":"unknown""#).await;

    assert_eq!(line["fields"]["grpc.code"], "UNIMPLEMENTED");
    assert!(!line.to_string().contains("Coffee"), "{line}");
}

#[tokio::test]
async fn a_rest_request_leaves_a_line_with_its_route() {
    let (app, document, program) = program(&[]).await;
    let (ada, bytes) = (app.rest(&app.ada()), sample_bytes(1000));
    let url = ada.begin(&document, bytes.len()).await;
    ada.put(&url, &bytes, 0..500).await;
    let canceled = ada.cancel(&document).await;
    ada.put(&url, &bytes, 500..1000).await;
    ada.get("/v1.0/nothing?secret=1").await;
    program.terminate();
    let (_, output) = program.wait_for_end().await;

    let session = answered(&output, "/uploadSessions/{session}");
    let fields = ["http.method", "http.status", "error.reason", "hung_up"];
    let lines: Vec<String> = session.iter().map(|line| only(line, &fields)).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    PUT 202 null false
    PUT 409 UPLOAD_SESSION_CANCELED false
    ");
    assert_eq!(session[0]["request.bytes"], 500);
    assert_documented(&session);
    let route = "/print/{queues}/{queue}/jobs/{job}/documents/{document}/uploadSession";
    let cancel = &answered(&output, route)[0];
    assert_eq!(only(cancel, &fields), "DELETE 204 null false");
    assert_eq!(cancel["request.id"], canceled.header("request-id"), "the service's own id");
    assert_eq!(answered(&output, "unknown").len(), 1);
    assert!(!output.contains("nothing") && !output.contains("secret=1"), "{output}");
}

#[tokio::test]
async fn no_secret_is_ever_logged_whatever_the_log_level() {
    let (app, document, program) = program(&[("RUST_LOG", "trace")]).await;
    let key = app.flag("upload-token-key").to_owned();
    let token = app.ada().access_token().to_owned();
    let bytes = Bytes::from_static(b"the body of a confidential document");
    let ada = app.rest(&app.ada());
    let url = ada.begin(&document, bytes.len()).await;
    ada.put(&url, &bytes, 0..10).await;
    // Over HTTP/2, whose library logs headers, and without marking the header as sensitive.
    let capability = url.split_once("tempauthtoken=").expect("an upload URL").1.to_owned();
    let path = "/print.upload.v1.UploadSessions/GetUploadSession";
    let bearer = format!("Bearer {token}");
    for header in [("authorization", bearer.as_str()), ("upload-token", capability.as_str())] {
        let _ = call_raw(app.address, path, &[header], tokio_stream::once(frame(0, 0, b""))).await;
    }
    let http2 = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let local = format!("http://{}{}", app.rest_address, &url[url.find("/uploadSessions").expect("its path")..]);
    let seen = http2.request(Method::GET, local).send().await.expect("an answer");
    assert_eq!(seen.status(), 200);
    ada.cancel(&document).await;
    app.bearer("a-token-that-is-none").get(&document).await.expect_err("nobody");
    program.terminate();
    let (_, output) = program.wait_for_end().await;

    // The libraries log as well: h2 logs every frame.
    assert!(output.contains(r#""level":"TRACE""#) && output.contains("Headers { stream_id"), "it does log");
    let password = app.database.url.split_once("://").and_then(|(_, rest)| rest.split_once('@')).map(|(user, _)| user);
    let password = password.and_then(|user| user.split_once(':')).map(|(_, password)| password).unwrap_or_default();
    let secrets = [&token, &capability, &key, "tempauthtoken", "confidential", "a-token-that-is-none"];
    for secret in secrets.into_iter().chain((password.len() > 4).then_some(password)) {
        let line = output.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret}: {line:?}");
    }
    // Nor a part of a secret: a token's payload alone identifies its user.
    for part in token.split('.').chain(capability.split('.')) {
        assert!(!output.contains(part), "{part}");
    }
}
