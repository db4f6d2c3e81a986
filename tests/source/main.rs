//! Checks of the source itself: imports, the comments of the protos, the generated reference, the planted faults. They need
//! no database.

mod annotations;
mod attributes;
mod crash_points;
mod faults;
mod imports;
mod proto;
mod reference;

use std::{fs, path::Path};

/// The files at or below a path, with their text.
fn files(path: &Path) -> Vec<(String, String)> {
    if path.is_file() {
        return vec![(path.display().to_string(), fs::read_to_string(path).expect("a source file"))];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    entries.flat_map(|entry| files(&entry.expect("an entry").path())).collect()
}
