//! The planted faults of `make faults` fit the source.

use std::{path::Path, process::Command};

use crate::files;

#[test]
fn every_planted_fault_can_be_planted() {
    let patches = files(Path::new("tests/faults")).into_iter().map(|(path, _)| path);
    let patches: Vec<String> = patches.filter(|path| path.ends_with(".patch")).collect();
    assert!(patches.len() > 20, "{patches:?}");
    let stale: Vec<String> = patches.into_iter().filter(|path| !applies(path)).collect();
    assert!(stale.is_empty(), "they do not apply any more: {stale:?}");
}

fn applies(patch: &str) -> bool {
    Command::new("git").args(["apply", "--check", patch]).status().expect("git").success()
}
