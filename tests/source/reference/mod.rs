//! The reference in docs/reference is what the protos and the program's own help say. `make docs` writes it anew.

mod api;
mod commands;

use std::{fs, path::Path};

/// Compares a page with what it must be; with UPDATE_DOCS set, writes it.
fn hold(page: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference").join(page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).expect("written");
        return;
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == expected, "docs/reference/{page} is out of date: run `make docs`");
}

#[test]
fn the_api_reference_says_what_the_protos_say() {
    hold("api.md", &api::page());
}

#[test]
fn the_command_reference_says_what_the_help_says() {
    hold("commands.md", &commands::page());
}
