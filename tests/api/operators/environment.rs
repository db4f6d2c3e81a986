//! Variables of the environment that are meant for every program of a machine.

use crate::harness::{App, Collector, Program};

/// A proxy that nobody serves, with a password that must not be shown.
const PROXY: &str = "http://user:hunter2@127.0.0.1:1";

#[tokio::test]
async fn a_loopback_address_never_goes_through_a_proxy() {
    let (mut app, document) = App::stopped().await;
    let variables = [("HTTP_PROXY", PROXY), ("http_proxy", PROXY), ("HTTPS_PROXY", PROXY), ("ALL_PROXY", PROXY)];
    let _program = Program::serve_with(&mut app, &variables).await;
    app.ada().create(&document, 10).await.expect("the issuer's keys were fetched");
}

#[tokio::test]
async fn when_an_issuer_cannot_be_reached_through_a_proxy_the_proxy_is_named() {
    let (mut app, _) = App::stopped().await;
    app.set_flag("issuer", "https://issuer.example");
    let mut program = Program::serve_with(&mut app, &[("HTTPS_PROXY", PROXY)]).await;
    let line = program.wait_for_line("cannot fetch the issuer's keys").await;
    assert!(line.contains("through the proxy of HTTPS_PROXY") && !line.contains("hunter2"), "{line}");
}

#[tokio::test]
async fn what_is_asked_of_opentelemetry_and_not_done_is_a_warning() {
    let (mut app, _) = App::stopped().await;
    let collector = Collector::start().await;
    app.set_flag("otlp-endpoint", &collector.endpoint());
    let variables = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1"),
        ("OTEL_TRACES_EXPORTER", "otlp"),
    ];
    let program = Program::serve_with(&mut app, &variables).await;
    program.terminate();
    let (_, output) = program.wait_for_end().await;
    for warned in ["OTEL_EXPORTER_OTLP_PROTOCOL is not obeyed", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is not obeyed"] {
        assert!(output.contains(warned), "{output}");
    }
    assert!(!output.contains("OTEL_TRACES_EXPORTER"), "{output}");
    let program = Program::serve_with(&mut app, &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).await;
    program.terminate();
    let (_, output) = program.wait_for_end().await;
    assert!(!output.contains("is not obeyed"), "{output}");
}
