//! An OTLP collector that keeps what it receives.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind},
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// A span, and the service that sent it.
#[derive(Debug, Clone)]
pub struct Sent {
    pub service: String,
    pub span: Span,
}

/// A collector on a loopback port.
#[derive(Debug, Clone)]
pub struct Collector {
    pub address: SocketAddr,
    received: Received,
}

#[derive(Debug, Clone, Default)]
struct Received(Arc<Mutex<Vec<Sent>>>);

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let received = Received::default();
        let service = TraceServiceServer::new(received.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
        Self { address, received }
    }

    /// The value of `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans of a trace that were received so far.
    pub fn trace(&self, id: &str) -> Vec<Sent> {
        let received = self.received.0.lock().expect("unpoisoned");
        received.iter().filter(|sent| hex(&sent.span.trace_id) == id).cloned().collect()
    }

    /// The spans of a trace below a parent span that is not in it. One line a span: service, kind and name; children
    /// are indented below their parent.
    pub fn tree(&self, trace: &str, parent: &str) -> String {
        let mut spans = self.trace(trace);
        spans.sort_by_key(|sent| sent.span.start_time_unix_nano);
        let mut lines = Vec::new();
        branch(&spans, parent, 0, &mut lines);
        assert_eq!(lines.len(), spans.len(), "every span has its parent: {spans:#?}");
        lines.join("\n")
    }
}

impl Sent {
    /// Whether this is the span of a request that the service received.
    pub fn is_server(&self, service: &str) -> bool {
        self.service == service && self.span.kind() == SpanKind::Server
    }

    pub fn attribute(&self, key: &str) -> String {
        text_of(&self.span.attributes, key)
    }
}

fn branch(spans: &[Sent], parent: &str, depth: usize, lines: &mut Vec<String>) {
    for Sent { service, span } in spans.iter().filter(|sent| hex(&sent.span.parent_span_id) == parent) {
        let kind = span.kind().as_str_name().trim_start_matches("SPAN_KIND_").to_lowercase();
        lines.push(format!("{}{service} {kind} {}", "  ".repeat(depth), span.name));
        branch(spans, &hex(&span.span_id), depth + 1, lines);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text_of(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|attribute| attribute.key == key).and_then(|attribute| attribute.value.clone());
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut received = self.0.lock().expect("unpoisoned");
        for sent in request.into_inner().resource_spans {
            let service = text_of(&sent.resource.unwrap_or_default().attributes, "service.name");
            let spans = sent.scope_spans.into_iter().flat_map(|scope| scope.spans);
            received.extend(spans.map(|span| Sent { service: service.clone(), span }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
