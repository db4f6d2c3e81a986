//! Calls that the generated client cannot make.

use std::{convert::Infallible, net::SocketAddr};

use axum::http::{Method, Request, Version};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::Stream;
use tonic::codegen::Service;
use tonic::{
    Code, Status,
    body::Body,
    transport::{Channel, Endpoint},
};

/// POSTs a body to an RPC's path. OK when the answer begins with a message; the rest is not read.
pub async fn call_raw(
    address: SocketAddr,
    path: &str,
    metadata: &[(&str, &str)],
    body: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<(), Status> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let mut channel: Channel = endpoint.connect().await.expect("a connection");
    let chunks = futures_util::StreamExt::map(body, Ok::<_, Infallible>);
    let mut request = Request::builder().method(Method::POST).uri(path).version(Version::HTTP_2);
    for (key, value) in metadata.iter().chain(&[("content-type", "application/grpc"), ("te", "trailers")]) {
        request = request.header(*key, *value);
    }
    let request = request.body(Body::new(axum::body::Body::from_stream(chunks))).expect("a request");
    std::future::poll_fn(|context| channel.poll_ready(context)).await.expect("a connection");
    let response = channel.call(request).await.expect("an answer");
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

/// A gRPC frame: its compressed flag, its announced length and its bytes.
pub fn frame(compressed: u8, length: usize, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(compressed);
    frame.put_u32(u32::try_from(length).expect("a length that a frame can hold"));
    frame.put_slice(message);
    frame.freeze()
}
