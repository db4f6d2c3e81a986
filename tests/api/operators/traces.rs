//! Traces: one request is one trace, from its caller to the statements that it ran.

use axum::http::Method;
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{App, Collector, Port, Program, RestActor, eventually, sample_bytes};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// The header of a caller who has a trace of their own.
fn traceparent() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

/// Makes the program send spans soon.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "50");

/// Makes the program send spans only when it ends.
const NEVER: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "3600000");

/// Cancels an upload, as a caller who has a trace of their own.
async fn cancel_in_a_trace(rest: &RestActor, document: &str) {
    let traceparent = traceparent();
    let path = format!("/v1.0/print/{document}/uploadSession");
    let canceled = rest.send(Method::DELETE, &path, &[("traceparent", &traceparent)], "").await;
    assert_eq!(canceled.status, 204, "{canceled:?}");
}

/// A service that sends its traces to a collector, with an upload of ada's under way.
async fn traced(collector: &Collector, variables: &[(&str, &str)]) -> (App, Program, String) {
    let mut app = App::start().await;
    let document = app.new_document().await;
    app.stop().await;
    app.set_flag("otlp-endpoint", &collector.endpoint());
    let program = Program::serve_with(&mut app, variables).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let session = ada.create(&document, bytes.len()).await.expect("a session");
    ada.send(&session, &bytes, 0..500).await.expect("a range");
    (app, program, document)
}

#[tokio::test]
async fn a_cancel_is_one_trace_from_the_gateway_to_the_statements() {
    let collector = Collector::start().await;
    let (app, _program, document) = traced(&collector, &[SOON]).await;
    let endpoint = format!("--otlp-endpoint={}", collector.endpoint());
    let (mut gateway, address) = Program::gateway_with(&[app.address], &[&endpoint], &[SOON]).await;

    cancel_in_a_trace(&app.ada().rest(address), &document).await;

    eventually("both have sent their spans", async || {
        let sent = collector.trace(TRACE);
        ["print-upload-gateway", "print-upload"].iter().all(|service| sent.iter().any(|span| span.is_server(service)))
    })
    .await;
    insta::assert_snapshot!(collector.tree(TRACE, CALLER), @r"
    print-upload-gateway server DELETE /print/{queues}/{queue}/jobs/{job}/documents/{document}/uploadSession
      print-upload-gateway client print.upload.v1.UploadSessions/DeleteUploadSession
        print-upload server print.upload.v1.UploadSessions/DeleteUploadSession
          print-upload internal guard.admit
            print-upload internal store.document_of
              print-upload client postgres
          print-upload internal store.cancel
            print-upload client postgres
    ");
    let spans = collector.trace(TRACE);
    let service = spans.iter().find(|span| span.is_server("print-upload")).expect("the service's span");
    assert_eq!(service.attribute("rpc.response.status_code"), "OK");
    assert_eq!(service.attribute("caller.kind"), "user");
    assert!(!service.attribute("upload.id").is_empty() && !service.attribute("request.id").is_empty(), "{service:?}");
    let gateway_span = spans.iter().find(|span| span.is_server("print-upload-gateway")).expect("the gateway's span");
    assert_eq!(gateway_span.attribute("request.id"), service.attribute("request.id"));
    let everything = format!("{spans:?}");
    assert!(everything.contains("update upload_session"), "the statements are in the trace");
    assert!(!everything.contains(app.ada().access_token()), "and no secret");
    let line = gateway.log_line(r#""message":"answered""#).await;
    assert_eq!(line["fields"]["trace.id"], TRACE);
}

#[tokio::test]
async fn in_one_process_it_is_the_same_trace() {
    let collector = Collector::start().await;
    let (app, program, document) = traced(&collector, &[NEVER, ("OTEL_SERVICE_NAME", "uploads")]).await;

    cancel_in_a_trace(&app.rest(&app.ada()), &document).await;
    assert!(collector.trace(TRACE).is_empty(), "nothing has been sent yet");
    program.terminate();
    let (status, output) = program.wait_for_end().await;

    assert!(status.success(), "{output}");
    insta::assert_snapshot!(collector.tree(TRACE, CALLER), @r"
    uploads server DELETE /print/{queues}/{queue}/jobs/{job}/documents/{document}/uploadSession
      uploads client print.upload.v1.UploadSessions/DeleteUploadSession
        uploads server print.upload.v1.UploadSessions/DeleteUploadSession
          uploads internal guard.admit
            uploads internal store.document_of
              uploads client postgres
          uploads internal store.cancel
            uploads client postgres
    ");
}

#[tokio::test]
async fn a_range_is_traced_into_the_store() {
    let collector = Collector::start().await;
    let (app, program, document) = traced(&collector, &[NEVER]).await;
    let (rest, bytes) = (app.rest(&app.ada()), sample_bytes(1000));
    let url =
        rest.get(&format!("/print/{document}/uploadSession")).await.json()["uploadUrl"].as_str().map(str::to_owned);
    let traceparent = traceparent();
    let headers = [("traceparent", traceparent.as_str()), ("content-range", "bytes 500-999/1000")];
    let put = rest.send(Method::PUT, &url.expect("an upload URL"), &headers, bytes.slice(500..)).await;
    assert_eq!(put.status, 201, "{put:?}");
    program.terminate();
    program.wait_for_end().await;

    insta::assert_snapshot!(collector.tree(TRACE, CALLER), @r"
    print-upload server PUT /uploadSessions/{session}
      print-upload client print.upload.v1.UploadSessions/UploadRange
        print-upload server print.upload.v1.UploadSessions/UploadRange
          print-upload internal guard.admit
            print-upload internal store.session_by_id
              print-upload client postgres
          print-upload internal store.range_view
            print-upload client postgres
          print-upload internal blobs.prepare
          print-upload internal blobs.publish
          print-upload internal store.commit_range
            print-upload client postgres
          print-upload internal store.upload_session
            print-upload client postgres
          print-upload internal store.pieces_of
            print-upload client postgres
    ");
}

#[tokio::test]
async fn a_download_is_traced_into_the_store() {
    let collector = Collector::start().await;
    let (app, program, document) = traced(&collector, &[NEVER]).await;
    let (mut ada, bytes) = (app.ada(), sample_bytes(1000));
    let session = ada.get(&format!("{document}/uploadSession")).await.expect("the session");
    ada.send(&session, &bytes, 500..1000).await.expect("the rest");
    let traceparent = traceparent();
    let headers = [("traceparent", traceparent.as_str())];
    let url = format!("/print/{document}/$value");
    let downloaded = app.rest(&ada).send(Method::GET, &url, &headers, "").await;
    assert_eq!((downloaded.status, downloaded.body.len()), (200, 1000));
    program.terminate();
    program.wait_for_end().await;

    insta::assert_snapshot!(collector.tree(TRACE, CALLER), @r"
    print-upload server GET /print/{queues}/{queue}/jobs/{job}/documents/{document}/$value
      print-upload client print.upload.v1.PrintDocuments/DownloadPrintDocument
        print-upload server print.upload.v1.PrintDocuments/DownloadPrintDocument
          print-upload internal guard.admit
            print-upload internal store.document_of
              print-upload client postgres
          print-upload internal store.current_session
            print-upload client postgres
          print-upload internal store.manifest
            print-upload client postgres
          print-upload internal blobs.read
          print-upload internal blobs.read
    ");
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_no_call() {
    let mut app = App::start().await;
    let documents = [app.new_document().await, app.new_document().await];
    app.stop().await;
    // One refuses connections, the other accepts them and never answers.
    let nobody = Port::reserve();
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let collectors = [nobody.address, silent.local_addr().expect("an address")];
    for (collector, document) in collectors.into_iter().zip(&documents) {
        app.set_flag("otlp-endpoint", &format!("http://{collector}"));
        let program = Program::serve_with(&mut app, &[SOON]).await;

        app.ada().upload(document, &sample_bytes(1000)).await.expect("an upload");

        program.terminate();
        let (status, output) = program.wait_for_end().await;
        assert!(status.success() && output.contains("every call was answered"), "{output}");
    }
}

#[tokio::test]
async fn a_collector_that_falls_silent_is_reconnected() {
    let (collector, mut app) = (Collector::start().await, App::start().await);
    app.stop().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let target = collector.address;
    tokio::spawn(async move {
        let _deaf_for_good = listener.accept().await.expect("the first connection");
        loop {
            let (mut next, _) = listener.accept().await.expect("another");
            tokio::spawn(async move {
                let mut onward = TcpStream::connect(target).await.expect("the collector");
                tokio::io::copy_bidirectional(&mut next, &mut onward).await
            });
        }
    });
    app.set_flag("otlp-endpoint", &format!("http://{address}"));
    let _program = Program::serve_with(&mut app, &[SOON, ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")]).await;

    let traceparent = traceparent();
    eventually("spans arrive", async || {
        app.anonymous_rest().send(Method::GET, "/v1.0/nothing", &[("traceparent", &traceparent)], "").await;
        !collector.trace(TRACE).is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_collector_without_an_address_is_reported_as_a_mistake() {
    let (status, output) = Program::run(&["gateway", "--upstream=http://127.0.0.1:1", "--otlp-endpoint=nowhere"]).await;
    assert!(!status.success() && output.contains("--otlp-endpoint nowhere"), "{output}");
}
