//! Reflection describes everything that the protos use, also the annotations of `google.api`.

use std::collections::{BTreeMap, btree_map::Entry};

use prost_reflect::{
    DescriptorPool,
    prost::Message as _,
    prost_types::{FileDescriptorProto, FileDescriptorSet},
};
use tonic::transport::{Channel, Endpoint};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::harness::App;

/// The file of a symbol, or with a name.
async fn file(client: &mut ServerReflectionClient<Channel>, request: MessageRequest) -> FileDescriptorProto {
    let message_request = Some(request.clone());
    let requests = tokio_stream::once(ServerReflectionRequest { host: String::new(), message_request });
    let mut answers = client.server_reflection_info(requests).await.expect("answers").into_inner();
    match answers.message().await.expect("an answer").and_then(|answer| answer.message_response) {
        Some(MessageResponse::FileDescriptorResponse(files)) => {
            FileDescriptorProto::decode(&*files.file_descriptor_proto[0]).expect("a file")
        }
        other => panic!("{request:?}: {other:?}"),
    }
}

#[tokio::test]
async fn every_service_is_described_with_everything_that_its_file_imports() {
    let app = App::start().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", app.address)).expect("an address");
    let mut client = ServerReflectionClient::new(endpoint.connect_lazy());
    let (mut files, mut imported) = (BTreeMap::new(), Vec::new());
    for service in ["UploadSessions", "PrintDocuments", "PrintJobs", "PrintCatalog"] {
        let symbol = format!("print.upload.v1.{service}");
        let file = file(&mut client, MessageRequest::FileContainingSymbol(symbol)).await;
        imported.extend(file.dependency.clone());
        files.insert(file.name().to_owned(), file);
    }
    while let Some(name) = imported.pop() {
        if let Entry::Vacant(entry) = files.entry(name) {
            let file = file(&mut client, MessageRequest::FileByFilename(entry.key().clone())).await;
            imported.extend(file.dependency.clone());
            entry.insert(file);
        }
    }
    for annotations in ["annotations", "field_behavior", "http", "resource"] {
        assert!(files.contains_key(&format!("google/api/{annotations}.proto")), "{:?}", files.keys());
    }
    let pool = DescriptorPool::from_file_descriptor_set(FileDescriptorSet { file: files.into_values().collect() });
    assert!(pool.expect("a complete description").get_service_by_name("print.upload.v1.PrintCatalog").is_some());
}
