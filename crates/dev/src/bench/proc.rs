//! What the kernel counts: CPU time and memory of processes, and what machine this is. Only Linux has `/proc`.

use std::{fs, path::Path};

use anyhow::Context;

/// A second has this many ticks, on every Linux.
const TICKS: f64 = 100.0;

/// The CPU seconds that a process has used, without those of its children.
pub fn cpu_seconds(pid: i32) -> anyhow::Result<f64> {
    let fields = stat(pid)?;
    Ok((fields[11] + fields[12]) as f64 / TICKS)
}

/// The CPU seconds that a process and its children have used, those that have ended as well.
pub fn cpu_seconds_of_tree(pid: i32) -> anyhow::Result<f64> {
    let mut ticks: i64 = stat(pid)?[11..15].iter().sum();
    for entry in fs::read_dir("/proc")? {
        let Some(child) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended in the meantime.
        if let Ok(fields) = stat(child)
            && fields[1] == i64::from(pid)
        {
            ticks += fields[11..15].iter().sum::<i64>();
        }
    }
    Ok(ticks as f64 / TICKS)
}

pub fn parent(pid: i32) -> anyhow::Result<i32> {
    Ok(i32::try_from(stat(pid)?[1])?)
}

/// The resident memory of a process, in MiB.
pub fn resident_mib(pid: i32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    Ok(kib.context("VmRSS")? / 1024.0)
}

/// How many descriptors a process has open.
pub fn descriptors(pid: i32) -> anyhow::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

pub fn threads(pid: i32) -> anyhow::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/task"))?.count())
}

/// The fields of a process' `stat` that follow its name; 0 for those that are no number. The first one is its state, the
/// second one its parent.
fn stat(pid: i32) -> anyhow::Result<Vec<i64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = text.rsplit_once(')').context("a process' stat")?;
    Ok(fields.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect())
}

/// The processor, with the number of cores that this process may use.
pub fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {cores} cores", model.map_or("unknown", |(_, model)| model))
}

pub fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {}", std::env::consts::OS, release.trim())
}

/// The file system that holds a folder.
pub fn file_system(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let holding = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let nearest = holding.filter(|(path, _)| folder.starts_with(path)).max_by_key(|(path, _)| path.len());
    nearest.map_or("unknown", |(_, kind)| kind).to_owned()
}
