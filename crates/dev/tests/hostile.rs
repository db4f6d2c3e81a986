//! `print-upload-dev hostile`: with tiny counts every act works, and has its row.

use std::{fs, process::Command};

use anyhow::ensure;
use print_upload_dev::ScratchFolder;

const ACTS: usize = 20;

fn hostile(output: &ScratchFolder, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_print-upload-dev"));
    command.args(["hostile", "--quick"]).args(arguments).arg("--output").arg(output.path()).env_remove("RUST_LOG");
    let ended = command.output()?;
    let printed = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(ended.status.success(), "{}: {printed}", ended.status);
    Ok(fs::read_to_string(output.path().join("reliability.md"))?)
}

#[test]
fn every_act_has_a_row_and_a_row_is_replaced_alone() -> anyhow::Result<()> {
    let output = ScratchFolder::new("hostile-test")?;
    let page = hostile(&output, &[])?;
    ensure!(rows(&page).len() == ACTS, "{page}");
    ensure!(!page.contains("**"), "a bound does not hold: {page}");
    ensure!(page.contains("GOAWAY ENHANCE_YOUR_CALM"), "the reason for an end is read: {page}");

    let again = hostile(&output, &["--only", "slow-preface"])?;

    let same = rows(&page).iter().zip(rows(&again)).filter(|(one, other)| *one == other).count();
    ensure!(rows(&again).len() == ACTS && same == ACTS - 1, "{again}");
    Ok(())
}

fn rows(page: &str) -> Vec<&str> {
    page.lines().filter(|line| line.starts_with("| `print-upload-dev hostile --only ")).collect()
}
