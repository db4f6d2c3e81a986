//! Imports point one way: no module uses what it must not.

use std::path::Path;

use crate::files;

/// A module, and what it must not name.
const MODULES: &[(&str, &[&str])] = &[
    (
        "session",
        &[
            "tonic",
            "sqlx",
            "tokio",
            "axum",
            "SystemTime::now",
            "crate::error",
            "crate::store",
            "crate::blobs",
            "crate::guard",
            "crate::rpc",
            "crate::app_state",
            "crate::writers",
            "crate::config",
            "crate::server",
            "crate::telemetry",
            "crate::gateway",
            "crate::relay",
            "crate::sweeper",
            "crate::reclaim",
            "crate::admin",
            "crate::listen",
            "crate::cli",
        ],
    ),
    (
        "quotas",
        &[
            "tonic",
            "sqlx",
            "tokio",
            "axum",
            "crate::error",
            "crate::store",
            "crate::guard",
            "crate::rpc",
            "crate::config",
        ],
    ),
    ("proto.rs", &["sqlx", "axum", "crate::"]),
    ("crash.rs", &["tonic", "sqlx", "tokio", "axum", "crate::"]),
    ("repeat.rs", &["tonic", "sqlx", "axum", "crate::"]),
    (
        "range_bytes.rs",
        &[
            "tonic",
            "sqlx",
            "crate::rpc",
            "crate::gateway",
            "crate::guard",
            "crate::store",
            "crate::blobs",
            "crate::session",
        ],
    ),
    ("range.rs", &["tonic", "sqlx", "tokio", "axum", "crate::"]),
    ("name.rs", &["tonic", "sqlx", "tokio", "axum", "crate::"]),
    (
        "permits",
        &[
            "tonic",
            "sqlx",
            "axum",
            "crate::rpc",
            "crate::guard",
            "crate::store",
            "crate::blobs",
            "crate::app_state",
            "crate::server",
            "crate::config",
        ],
    ),
    ("text.rs", &["tonic", "sqlx", "tokio", "axum", "crate::"]),
    (
        "store",
        &[
            "tonic",
            "axum",
            "jsonwebtoken",
            "crate::rpc",
            "crate::guard",
            "crate::blobs",
            "crate::error",
            "crate::reclaim",
        ],
    ),
    ("blobs", &["tonic", "sqlx", "axum", "crate::store", "crate::rpc", "crate::guard", "crate::reclaim"]),
    ("rpc", &["sqlx::query", "jsonwebtoken", "axum", "reqwest", "http::"]),
    ("guard", &["sqlx::query", "crate::rpc", "crate::server", "crate::sweeper", "crate::gateway"]),
    (
        "gateway",
        &[
            "sqlx",
            "jsonwebtoken",
            "crate::store",
            "crate::blobs",
            "crate::guard",
            "crate::rpc",
            "crate::session",
            "crate::app_state",
            "crate::writers",
            "crate::error",
            "crate::config",
            "crate::server",
        ],
    ),
    (
        "telemetry",
        &[
            "use sqlx",
            "crate::store",
            "crate::blobs",
            "crate::guard",
            "crate::rpc",
            "crate::gateway",
            "crate::session",
            "crate::app_state",
            "crate::server",
            "crate::config",
            "crate::listen",
            "crate::admin",
            "crate::relay",
            "crate::sweeper",
            "crate::reclaim",
            "crate::writers",
        ],
    ),
    ("admin", &["sqlx", "jsonwebtoken", "crate::rpc", "crate::gateway", "crate::server", "crate::config"]),
    (
        "listen",
        &[
            "sqlx",
            "crate::store",
            "crate::rpc",
            "crate::guard",
            "crate::gateway",
            "crate::config",
            "crate::admin",
            "crate::server",
        ],
    ),
    (
        "open_calls",
        &[
            "sqlx",
            "jsonwebtoken",
            "crate::store",
            "crate::blobs",
            "crate::rpc",
            "crate::guard",
            "crate::gateway",
            "crate::config",
            "crate::server",
        ],
    ),
    ("cli/remote", &["crate::store", "crate::blobs", "crate::guard", "crate::rpc", "crate::server"]),
    ("secret_files.rs", &["sqlx", "tonic", "axum", "crate::store", "crate::config"]),
    ("tls.rs", &["sqlx", "tonic", "axum", "crate::"]),
    ("sweeper.rs", &["tonic", "axum", "crate::rpc"]),
    ("reclaim", &["tonic", "sqlx", "axum", "crate::rpc", "crate::guard", "crate::server", "crate::config"]),
    ("relay.rs", &["tonic", "sqlx", "axum", "crate::rpc", "crate::blobs"]),
    ("app_state.rs", &["tonic", "sqlx", "axum", "crate::rpc", "crate::server", "crate::config"]),
    ("writers.rs", &["tonic", "sqlx", "crate::rpc", "crate::store"]),
    ("cli", &["sqlx::query", "axum", "jsonwebtoken"]),
    ("main.rs", &["sqlx", "tonic", "axum"]),
];

#[test]
fn no_module_uses_what_it_must_not() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut violations = Vec::new();
    for (module, forbidden) in MODULES {
        for (file, text) in files(&source.join(module)) {
            // Unit tests, at the end of a file, may use anything.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let flat: String = code.split_whitespace().collect::<Vec<_>>().join("");
            for word in *forbidden {
                let other = word.strip_prefix("crate::").filter(|other| !other.is_empty());
                let in_braces = other.is_some_and(|other| imported(&flat, other));
                if code.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word)) || in_braces {
                    violations.push(format!("{file} names {word}"));
                }
            }
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

/// A module that was renamed must be renamed here as well. Otherwise nothing forbids it any more.
#[test]
fn every_forbidden_module_exists() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let forbidden =
        MODULES.iter().flat_map(|(_, forbidden)| *forbidden).filter_map(|word| word.strip_prefix("crate::"));
    for module in forbidden.filter(|module| !module.is_empty()) {
        let exists = source.join(module).is_dir() || source.join(format!("{module}.rs")).is_file();
        assert!(exists, "crate::{module} does not exist");
    }
}

#[test]
fn the_gateway_names_its_statuses_in_one_file() {
    let gateway = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gateway");
    let naming: Vec<String> =
        files(&gateway).into_iter().filter(|(_, text)| text.contains("StatusCode")).map(|(file, _)| file).collect();
    assert!(matches!(naming.as_slice(), [only] if only.ends_with("/status.rs")), "{naming:?}");
}

/// Whether `use crate::{…}` of a file names the module. `flat` is the file's text without white space.
fn imported(flat: &str, module: &str) -> bool {
    let Some((_, imports)) = flat.split_once("usecrate::{") else { return false };
    let imports = imports.split("};").next().unwrap_or_default();
    [format!("{module}::"), format!("{module},")]
        .iter()
        .any(|name| imports.match_indices(name.as_str()).any(|(at, _)| at == 0 || imports[..at].ends_with([',', '{'])))
}
