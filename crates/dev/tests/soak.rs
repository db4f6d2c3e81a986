//! Mixed load: a run of seconds, in which every kind of scene is played and every answer is checked.

use std::{fs, process::Command};

use anyhow::ensure;
use print_upload_dev::ScratchFolder;

#[test]
fn a_quick_run_writes_its_section_its_plots_and_its_samples() -> anyhow::Result<()> {
    let folder = ScratchFolder::new("test")?;
    let (output, temp, csv) = (folder.path().join("docs"), folder.path().join("temp"), folder.path().join("soak.csv"));
    fs::create_dir(&output)?;
    fs::create_dir(&temp)?;
    let page = output.join("reliability.md");
    fs::write(&page, "# Page\n\n<!-- soak:begin -->\nold\n<!-- soak:end -->\n\n## Next\n")?;

    let mut soak = Command::new(env!("CARGO_BIN_EXE_print-upload-dev"));
    soak.args(["soak", "--quick"]).arg("--output").arg(&output).arg("--csv").arg(&csv).env("TMPDIR", &temp);
    let ran = soak.env_remove("RUST_LOG").output()?;

    let errors = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{errors}");
    let page = fs::read_to_string(&page)?;
    let expected = [
        "# Page",
        "| Wrong answers | 0 |",
        "REST download",
        "gRPC download",
        "gRPC push catalog",
        "`LIMIT_REACHED`",
        "`UPLOAD_SESSION_EXPIRED`",
        "replica 1: memory",
        "| `upload_session` |",
        "## Next",
    ];
    for text in expected {
        ensure!(page.contains(text), "{text} is missing: {page}");
    }
    for name in ["replicas", "rows", "space"] {
        let plot = fs::read_to_string(output.join(format!("images/soak-{name}.svg")))?;
        ensure!(plot.contains("<polyline") && plot.ends_with("</svg>"), "{plot}");
    }
    ensure!(fs::read_to_string(&csv)?.lines().count() > 5, "there are few samples");
    ensure!(fs::read_dir(&temp)?.count() == 0, "something was left in the folder for temporary files");
    Ok(())
}
