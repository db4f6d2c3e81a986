//! The contract is written down: every RPC, message and field says what it is.

use print_upload::proto::DESCRIPTOR;
use prost_reflect::DescriptorPool;

const PACKAGE: &str = "print.upload.v1";

#[test]
fn every_element_of_the_proto_has_a_comment() {
    let pool = DescriptorPool::decode(DESCRIPTOR).expect("the descriptor");
    let mut silent = Vec::new();
    for file in pool.files().filter(|file| file.package_name() == PACKAGE) {
        let described: Vec<Vec<i32>> = file
            .file_descriptor_proto()
            .source_code_info
            .iter()
            .flat_map(|info| &info.location)
            .filter(|location| location.leading_comments.as_ref().is_some_and(|comment| !comment.trim().is_empty()))
            .map(|location| location.path.clone())
            .collect();
        let mut check = |name: &str, path: &[i32]| {
            if !described.iter().any(|described| described == path) {
                silent.push(name.to_owned());
            }
        };
        for service in file.services() {
            check(service.full_name(), service.path());
            service.methods().for_each(|method| check(method.full_name(), method.path()));
        }
        for message in file.messages() {
            check(message.full_name(), message.path());
            message.fields().for_each(|field| check(field.full_name(), field.path()));
            message
                .oneofs()
                .filter(|oneof| !oneof.is_synthetic())
                .for_each(|oneof| check(oneof.full_name(), oneof.path()));
            for nested in message.child_enums() {
                check(nested.full_name(), nested.path());
                nested.values().for_each(|value| check(value.full_name(), value.path()));
            }
        }
        for top in file.enums() {
            check(top.full_name(), top.path());
            top.values().for_each(|value| check(value.full_name(), value.path()));
        }
    }
    assert!(silent.is_empty(), "no comment: {silent:#?}");
}
