//! docs/reference matches the protos and the programs' help. `make docs` writes it.

mod api;
mod commands;

use std::{fs, path::Path};

/// Compares a page with its expected text. Writes the page when `UPDATE_DOCS` is set.
fn check(page: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference").join(page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).expect("written");
        return;
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == expected, "docs/reference/{page} is out of date: run `make docs`");
}

#[test]
fn the_api_reference_matches_the_protos() {
    check("api.md", &api::page());
}

#[test]
fn the_command_reference_matches_the_help() {
    check("commands.md", &commands::page());
}
