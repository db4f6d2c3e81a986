//! Every function that writes to the database or to an object store has a crash point.
//!
//! A function writes if its text has a statement that changes rows or notifies, or a call that changes an object, a
//! file or a folder. Its text ends at the brace with the indentation of its `fn`. Temporary files without a name do not
//! count: the system removes them when the process ends. Migrations do not count either: only `migrate` runs them.

use std::path::Path;

use print_upload::crash::POINTS;

use crate::files;

/// The calls that change objects, files or folders.
const WRITING_CALLS: [&str; 14] = [
    ".put(",
    ".put_opts(",
    ".put_multipart(",
    ".put_part(",
    ".complete()",
    ".abort()",
    ".delete(",
    ".delete_stream(",
    ".write_all(",
    "fs::write(",
    "fs::rename(",
    "fs::remove_",
    "File::create(",
    "DirBuilder::new()",
];

/// A function or a macro: its name, and its text without comments, on one line.
struct Item {
    name: String,
    text: String,
}

#[test]
fn every_function_that_writes_has_a_crash_point() {
    let without: Vec<String> =
        writing_functions().into_iter().filter(|item| !has_point(&item.text)).map(|item| item.name).collect();
    assert!(without.is_empty(), "no crash point in {without:#?}");
}

/// The rule finds what writes, so that the test above can fail.
#[test]
fn functions_that_write_are_found() {
    let found: Vec<String> = writing_functions().into_iter().map(|item| item.name).collect();
    for name in [
        "ending.rs end_session",
        "ending.rs expire_overdue",
        "notify.rs announce",
        "print_job.rs start_print_job",
        "purge.rs delete_print_jobs",
        "cancel.rs run_batch",
        "commit_range.rs run_batch",
        "commit_range.rs run_alone",
        "reclaim.rs claim_reclaims",
        "renew.rs renew_upload_url",
        "session.rs open_session",
        "fragment.rs begin",
        "fragment.rs discard",
        "fragment.rs flush",
        "fragment.rs publish",
        "local.rs drop_all_except",
        "mod.rs drop_once",
        "probe.rs check",
        "spool.rs append",
    ] {
        assert!(found.iter().any(|other| other == name), "{name} is not among {found:#?}");
    }
    for name in ["session.rs current_session", "read_session.rs run_batch", "range.rs range_view", "mod.rs is_empty"] {
        assert!(!found.iter().any(|other| other == name), "{name} only reads");
    }
}

#[test]
fn every_crash_point_is_in_the_code() {
    let source = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let is_used = |point: &str| source.iter().any(|(_, text)| text.contains(&format!("crash_point!(\"{point}\")")));
    let unused: Vec<&&str> = POINTS.iter().filter(|point| !is_used(point)).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

fn writing_functions() -> Vec<Item> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = [files(&source.join("store")), files(&source.join("blobs"))].concat();
    let macros = files.iter().flat_map(|(file, text)| items(without_tests(text), "macro_rules! ", file));
    let macros = macros.filter(|item| changes_rows(&item.text));
    let macros: Vec<String> =
        macros.map(|item| format!("{}!(", item.name.rsplit(' ').next().unwrap_or_default())).collect();
    files.iter().flat_map(|(file, text)| writing_functions_of(file, without_tests(text), &macros)).collect()
}

fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

/// The functions of a file that change rows themselves, call one of `macros`, or change objects.
fn writing_functions_of(file: &str, code: &str, macros: &[String]) -> Vec<Item> {
    let mut functions = items(code, "fn ", file);
    functions.retain(|item| {
        let text = &item.text;
        changes_rows(text)
            || macros.iter().any(|call| text.contains(call.as_str()))
            || WRITING_CALLS.iter().any(|call| text.contains(call))
    });
    functions
}

/// Whether the text has a statement that changes rows, or that notifies. `for update` only locks.
fn changes_rows(text: &str) -> bool {
    let is_update = |(at, _): (usize, &str)| {
        let mut words = text[at..].split(' ').skip(2);
        words.next() == Some("set") || words.next() == Some("set") // Before or after an alias.
    };
    ["insert into ", "delete from ", "pg_notify("].iter().any(|words| text.contains(words))
        || text.match_indices("update ").any(is_update)
}

fn has_point(text: &str) -> bool {
    text.contains("crash_point!(")
}

/// The items of a file that begin with a keyword.
fn items(code: &str, keyword: &str, file: &str) -> Vec<Item> {
    let file = file.rsplit('/').next().unwrap_or_default();
    let lines: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut items = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some((before, rest)) = line.split_once(keyword) else { continue };
        let qualifiers = ["pub", "pub(super)", "pub(crate)", "async", "const"];
        if !before.split_whitespace().all(|word| qualifiers.contains(&word)) {
            continue;
        }
        let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
        let body: Vec<&str> = lines[number..].iter().copied().take_while(|line| **line != end).collect();
        let text = body.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
        items.push(Item { name: format!("{file} {name}"), text });
    }
    items
}
