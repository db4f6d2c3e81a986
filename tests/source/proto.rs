//! The contract is written down once: every RPC, message and field has a comment, and a reason is named nowhere else.

use std::{fs, path::Path};

use print_upload::proto::DESCRIPTOR;
use print_upload_client::code_name;
use prost_reflect::DescriptorPool;
use tonic::Code;

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

#[test]
fn no_reason_is_a_string_literal() {
    let pool = DescriptorPool::decode(DESCRIPTOR).expect("the descriptor");
    let reasons = pool.get_enum_by_name("print.upload.v1.Reason").expect("the reasons");
    let names: Vec<String> = reasons.values().map(|value| value.name().trim_start_matches("REASON_").into()).collect();
    // `INTERNAL` is the name of a code as well.
    let is_code = |name: &str| (0..=16).any(|code| code_name(Code::from_i32(code)) == name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut literals = Vec::new();
    let mut folders = vec![root.join("src")];
    let crates = fs::read_dir(root.join("crates")).expect("the crates");
    folders.extend(crates.map(|entry| entry.expect("an entry").path().join("src")));
    for (file, text) in folders.iter().flat_map(|folder| files(folder)) {
        // Tests pin what is on the wire. `RANGE_TIMEOUT` is the name of an environment variable as well.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().replace("env = \"", "");
        for name in names.iter().filter(|name| !is_code(name)) {
            let spellings = [format!("\"{name}\""), format!("\"REASON_{name}\"")];
            if spellings.iter().any(|literal| code.contains(literal)) {
                literals.push(format!("{file} names {name}"));
            }
        }
    }
    assert!(literals.is_empty(), "use `Reason`: {literals:#?}");
}

/// Reasons that no test of `tests/api` meets: the caller is gone, or it would take ten seconds. Unit tests have them.
const NOT_OVER_THE_WIRE: [&str; 3] = ["FIRST_MESSAGE_BROKEN", "FIRST_MESSAGE_TIMEOUT", "BODY_TIMEOUT"];

#[test]
fn every_documented_reason_is_met_over_the_wire() {
    let pool = DescriptorPool::decode(DESCRIPTOR).expect("the descriptor");
    let reasons = pool.get_enum_by_name("print.upload.v1.Reason").expect("the reasons");
    let tests: String =
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api")).into_iter().map(|(_, text)| text).collect();
    let documented = reasons.values().filter(|reason| reason.number() != 0);
    let unmet: Vec<String> = documented
        .map(|reason| reason.name().trim_start_matches("REASON_").to_owned())
        .filter(|name| !tests.contains(name.as_str()))
        .collect();
    assert_eq!(unmet, NOT_OVER_THE_WIRE, "no test meets them, so perhaps no caller can");
}

fn files(path: &Path) -> Vec<(String, String)> {
    if path.is_file() {
        return vec![(path.display().to_string(), fs::read_to_string(path).expect("a source file"))];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    entries.flat_map(|entry| files(&entry.expect("an entry").path())).collect()
}
