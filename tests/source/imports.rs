//! A reader follows a call from left to right and never turns back: no room knows what it must not know.

use std::{fs, path::Path};

/// A room, and what may not be named in it.
const ROOMS: &[(&str, &[&str])] = &[
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
        ],
    ),
    ("repeat.rs", &["tonic", "sqlx", "axum", "crate::"]),
    ("range.rs", &["tonic", "sqlx", "tokio", "axum", "crate::"]),
    ("name.rs", &["tonic", "sqlx", "tokio", "axum", "crate::"]),
    ("store", &["tonic", "axum", "jsonwebtoken", "crate::rpc", "crate::guard", "crate::blobs", "crate::error"]),
    ("blobs", &["tonic", "sqlx", "axum", "crate::store", "crate::rpc", "crate::guard"]),
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
            "crate::client",
        ],
    ),
    ("admin", &["sqlx", "jsonwebtoken", "crate::rpc", "crate::gateway", "crate::server", "crate::config"]),
    ("listen", &["sqlx", "crate::store", "crate::rpc", "crate::guard", "crate::gateway", "crate::config"]),
    ("cli/remote", &["crate::store", "crate::blobs", "crate::guard", "crate::rpc", "crate::server", "crate::dev"]),
    ("secret_files.rs", &["sqlx", "tonic", "axum", "crate::"]),
    ("tls.rs", &["sqlx", "tonic", "axum", "crate::"]),
    ("sweeper.rs", &["tonic", "axum", "crate::rpc"]),
    ("relay.rs", &["tonic", "sqlx", "axum", "crate::rpc", "crate::blobs"]),
    ("app_state.rs", &["tonic", "sqlx", "axum", "crate::rpc", "crate::server", "crate::config"]),
    ("writers.rs", &["tonic", "sqlx", "crate::rpc", "crate::store"]),
    ("cli", &["sqlx::query", "axum", "jsonwebtoken"]),
    ("main.rs", &["sqlx", "tonic", "axum"]),
];

#[test]
fn no_room_knows_what_it_must_not_know() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut trespasses = Vec::new();
    for (room, forbidden) in ROOMS {
        for (file, text) in files(&source.join(room)) {
            // What a test needs, at the end of a file, is its own affair; imports name a crate's module with or without braces.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let flat: String = code.split_whitespace().collect::<Vec<_>>().join("");
            for word in *forbidden {
                let (krate, module) = word.split_once("crate::").unwrap_or(("", ""));
                let in_braces = krate.is_empty() && !module.is_empty() && imported(&flat, module);
                if code.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word)) || in_braces {
                    trespasses.push(format!("{file} names {word}"));
                }
            }
        }
    }
    assert!(trespasses.is_empty(), "{trespasses:#?}");
}

#[test]
fn the_gateway_names_its_statuses_in_one_file() {
    let gateway = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gateway");
    let naming: Vec<String> =
        files(&gateway).into_iter().filter(|(_, text)| text.contains("StatusCode")).map(|(file, _)| file).collect();
    assert!(matches!(naming.as_slice(), [only] if only.ends_with("/status.rs")), "{naming:?}");
}

/// Whether `use crate::{…}` of a file, written without white space, names a module of ours.
fn imported(flat: &str, module: &str) -> bool {
    let Some((_, imports)) = flat.split_once("usecrate::{") else { return false };
    let imports = imports.split("};").next().unwrap_or_default();
    [format!("{module}::"), format!("{module},")]
        .iter()
        .any(|name| imports.match_indices(name.as_str()).any(|(at, _)| at == 0 || imports[..at].ends_with([',', '{'])))
}

fn files(path: &Path) -> Vec<(String, String)> {
    if path.is_file() {
        return vec![(path.display().to_string(), fs::read_to_string(path).expect("a source file"))];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    entries.flat_map(|entry| files(&entry.expect("an entry").path())).collect()
}
