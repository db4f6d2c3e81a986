//! The annotations of `google.api` in the protos: complete, and true of what REST serves.

use std::collections::BTreeSet;

use print_upload::{gateway::OPENAPI, proto::DESCRIPTOR};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, Value};

const PACKAGE: &str = "print.upload.v1";
const VERBS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

fn pool() -> DescriptorPool {
    DescriptorPool::decode(DESCRIPTOR).expect("the descriptor")
}

fn messages(pool: &DescriptorPool) -> impl Iterator<Item = MessageDescriptor> {
    pool.all_messages().filter(|message| message.package_name() == PACKAGE)
}

/// The value of an option, if it is set.
fn option(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Option<Value> {
    let extension = pool.get_extension_by_name(name).expect("an option");
    options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned())
}

/// A text in a message; empty if it is not set.
fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).expect("a field").as_str().expect("text").to_owned()
}

/// The type of the resource that the message is.
fn resource_type(pool: &DescriptorPool, message: &MessageDescriptor) -> Option<String> {
    let resource = option(pool, &message.options(), "google.api.resource")?;
    Some(text(resource.as_message().expect("a resource"), "type"))
}

/// The type of the resource that the field names, or whose parent it names.
fn referenced_type(pool: &DescriptorPool, field: &FieldDescriptor) -> Option<String> {
    let reference = option(pool, &field.options(), "google.api.resource_reference")?;
    let reference = reference.as_message().expect("a reference");
    Some(format!("{}{}", text(reference, "type"), text(reference, "child_type")))
}

#[test]
fn every_field_of_a_request_and_of_a_resource_declares_its_behavior() {
    let pool = pool();
    let mut silent = Vec::new();
    for message in messages(&pool) {
        if !message.name().ends_with("Request") && resource_type(&pool, &message).is_none() {
            continue;
        }
        for field in message.fields() {
            let is_choice = field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic());
            if !is_choice && option(&pool, &field.options(), "google.api.field_behavior").is_none() {
                silent.push(field.full_name().to_owned());
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn every_name_in_a_request_refers_to_a_resource_that_is_defined() {
    let pool = pool();
    let types: BTreeSet<String> = messages(&pool).filter_map(|message| resource_type(&pool, &message)).collect();
    let mut wrong = Vec::new();
    for message in messages(&pool) {
        for field in message.fields() {
            let is_name = message.name().ends_with("Request") && ["name", "parent"].contains(&field.name());
            match referenced_type(&pool, &field) {
                Some(referenced) if types.contains(&referenced) => {}
                None if !is_name => {}
                other => wrong.push(format!("{}: {other:?}", field.full_name())),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?} of {types:#?}");
}

/// A binding promises that path, query and bodies are the message's own. REST has Graph's bodies, so only calls without
/// a body have one, and no field of them may be left for the query.
#[test]
fn every_http_binding_is_served_and_leaves_nothing_for_a_query_or_a_body() {
    let pool = pool();
    let document: serde_json::Value = serde_json::from_str(OPENAPI).expect("JSON");
    let served: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, item)| {
            let segments = path.split('/').map(|segment| if segment.starts_with('{') { "*" } else { segment });
            let path = segments.collect::<Vec<_>>().join("/");
            VERBS.iter().filter(|verb| item.get(**verb).is_some()).map(move |verb| (verb.to_string(), path.clone()))
        })
        .collect();
    let mut bound = Vec::new();
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let Some(rule) = option(&pool, &method.options(), "google.api.http") else { continue };
        let rule = rule.as_message().expect("a rule").clone();
        let more = rule.get_field_by_name("additional_bindings").expect("a field").into_owned();
        let more = more.as_list().expect("bindings").iter().map(|rule| rule.as_message().expect("a rule").clone());
        for rule in [rule.clone()].into_iter().chain(more) {
            let verb = VERBS.into_iter().find(|verb| rule.has_field_by_name(verb)).expect("a verb");
            let path = text(&rule, verb).replace("{name=", "").replace('}', "");
            let path = path.replace("/printers/", "/*/").replace("/shares/", "/*/");
            assert!(served.contains(&(verb.to_owned(), path.clone())), "{}: {verb} {path}", method.full_name());
            assert_eq!(text(&rule, "body"), "", "{}", method.full_name());
        }
        assert_eq!(method.input().fields().map(|field| field.name().to_owned()).collect::<Vec<_>>(), ["name"]);
        assert_eq!(method.output().full_name(), "google.protobuf.Empty");
        bound.push(method.full_name().to_owned());
    }
    assert_eq!(bound, ["print.upload.v1.PrintJobs.CancelPrintJob"]);
}
