//! Files as git checks them out. A script with CRLF does not run.

use std::{fs, path::Path};

use crate::files;

#[test]
fn no_checkout_converts_line_ends() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let attributes = fs::read_to_string(root.join(".gitattributes")).expect("a file");
    assert!(attributes.lines().any(|line| line == "* text=auto eol=lf"), "{attributes}");
    for folder in [".ci", "scripts", "deploy", "migrations", "proto", "tests/stack", "tests/stores"] {
        for (file, text) in files(&root.join(folder)) {
            assert!(!text.contains('\r'), "{file}");
        }
    }
}
