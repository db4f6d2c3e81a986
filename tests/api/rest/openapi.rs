//! The OpenAPI document has exactly the paths and methods that are served.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use print_upload::gateway::{OPENAPI, paths};
use serde_json::Value;

use crate::harness::App;

/// The members of a path item that are not methods.
const NO_METHODS: [&str; 4] = ["summary", "description", "parameters", "servers"];

fn document() -> Value {
    serde_json::from_str(OPENAPI).expect("JSON")
}

/// The documented methods of each path, in capitals.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let methods = |item: &Value| {
        let names = item.as_object().expect("an item").keys();
        names.filter(|name| !NO_METHODS.contains(&name.as_str())).map(|name| name.to_uppercase()).collect()
    };
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

#[tokio::test]
async fn every_path_and_method_that_is_served_is_documented_and_no_other() {
    let app = App::start().await;
    let anyone = app.anonymous_rest();
    let documented = documented();
    assert_eq!(documented.keys().map(String::as_str).collect::<BTreeSet<_>>(), paths().collect());
    for (template, methods) in documented {
        let path = template.replace("{queues}", "printers").replace(['{', '}'], "");
        let is_graph = path.starts_with("/print/");
        for prefix in if is_graph { vec!["", "/v1.0", "/beta"] } else { vec![""] } {
            let refused = anyone.send(Method::TRACE, &format!("{prefix}{path}"), &[], "").await;
            assert_eq!(refused.status, 405, "{prefix}{path}");
            let allowed = refused.header("allow").split(',').filter(|method| *method != "HEAD");
            assert_eq!(allowed.map(str::to_owned).collect::<BTreeSet<_>>(), methods, "{prefix}{path}");
        }
        let elsewhere = if is_graph { "/v2.0" } else { "/v1.0" };
        assert_eq!(anyone.get(&format!("{elsewhere}{path}")).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_document_that_is_served_is_the_one_in_the_repository() {
    let app = App::start().await;
    let served = app.anonymous_rest().get("/openapi.json").await;
    assert_eq!((served.status, served.json()), (200, document()));
    assert_eq!(served.json()["openapi"], "3.1.0");
    assert_eq!(served.json()["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_operation_documents_what_it_takes_to_be_called_and_how_it_fails() {
    let document = document();
    let mut silent = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            if NO_METHODS.contains(&method.as_str()) || path == "/openapi.json" {
                continue;
            }
            let responses = operation["responses"].as_object().expect("responses");
            let fails = ["400", "401", "403", "404", "503"].iter().all(|status| responses.contains_key(*status));
            let secured = operation["security"].as_array().is_some_and(|schemes| schemes.len() == 1);
            if !(fails && secured && operation["operationId"].is_string() && operation["summary"].is_string()) {
                silent.push(format!("{method} {path}"));
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}
