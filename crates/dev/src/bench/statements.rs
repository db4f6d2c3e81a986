//! Postgres' log of every statement with its time. A database logs them while they are to be seen, and not while calls
//! are measured.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

use sqlx::{AssertSqlSafe, Executor};

use super::system::System;

/// A statement that was executed.
#[derive(Debug)]
pub struct Executed {
    pub milliseconds: f64,
    pub text: String,
}

/// The log of a database's statements, from a moment on.
pub struct StatementLog<'a> {
    system: &'a System,
    database: &'a str,
    begin: u64,
}

impl<'a> StatementLog<'a> {
    /// Logs the statements of connections that are opened from now on.
    pub async fn begin(system: &'a System, database: &'a str) -> anyhow::Result<Self> {
        let set = format!("alter database {database} set log_min_duration_statement = 0");
        let mut connection = system.connect().await?;
        connection.execute(AssertSqlSafe(set)).await?;
        // The values of parameters would only be in the way.
        let set = format!("alter database {database} set log_parameter_max_length = 0");
        connection.execute(AssertSqlSafe(set)).await?;
        let begin = std::fs::metadata(system.postgres_log())?.len();
        Ok(Self { system, database, begin })
    }

    /// What was executed since the beginning, or since the last call of this.
    pub fn read(&mut self) -> anyhow::Result<Vec<Executed>> {
        let mut file = File::open(self.system.postgres_log())?;
        file.seek(SeekFrom::Start(self.begin))?;
        let mut bytes = Vec::new();
        self.begin += file.read_to_end(&mut bytes)? as u64;
        Ok(parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Logs nothing of later connections.
    pub async fn end(self) -> anyhow::Result<()> {
        let reset = format!("alter database {} reset all", self.database);
        self.system.connect().await?.execute(AssertSqlSafe(reset)).await?;
        Ok(())
    }
}

/// Reads lines such as `2026-11-28 … LOG:  duration: 0.045 ms  execute sqlx_s_1: select 1`. Lines that begin with a tab
/// continue the text. Parsing and planning are logged with `parse` and `bind`, and not returned.
pub fn parse(log: &str) -> Vec<Executed> {
    let mut executed: Vec<Executed> = Vec::new();
    let mut is_continued = false;
    for line in log.lines() {
        match (line.strip_prefix('\t'), &mut executed[..]) {
            (Some(rest), [.., last]) if is_continued => {
                last.text.push('\n');
                last.text.push_str(rest);
            }
            (Some(_), _) => {}
            (None, _) => {
                let found = execution(line);
                is_continued = found.is_some();
                executed.extend(found);
            }
        }
    }
    executed
}

fn execution(line: &str) -> Option<Executed> {
    let (_, rest) = line.split_once("LOG:  duration: ")?;
    let (milliseconds, rest) = rest.split_once(" ms  ")?;
    let (kind, text) = rest.split_once(": ")?;
    let is_execution = kind.starts_with("execute ") || kind == "statement";
    is_execution.then(|| Some(Executed { milliseconds: milliseconds.parse().ok()?, text: text.to_owned() }))?
}
