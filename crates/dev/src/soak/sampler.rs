//! Measures everything that must not grow: of the replicas, of Postgres, and of the store.

use std::{cell::Cell, collections::HashMap, fs, io, path::Path, path::PathBuf, process, rc::Rc, time::Instant};

use sqlx::{PgConnection, Row};
use tokio::task::spawn_blocking;

use super::world::{Replica, World};
use crate::bench::{
    proc,
    system::{Service, System},
};

/// So much of one core the whole run may use, in percent: the replicas, Postgres and the callers. Above it fewer scenes
/// begin.
const MAX_CPU: f64 = 50.0;

const TABLES: &str = "
    select relname::text as name, n_live_tup as live, n_dead_tup as dead, pg_total_relation_size(relid) as bytes
    from pg_stat_user_tables order by relname";

/// Reads what is measured.
pub struct Sampler {
    world: Rc<World>,
    connection: PgConnection,
    store: PathBuf,
    replicas: [i32; 2],
    postgres: i32,
    /// When the CPU seconds of each process were read, and how many they were.
    cpu: HashMap<&'static str, (Instant, f64)>,
}

impl Sampler {
    pub async fn new(system: &System, services: [&Service; 2], world: &Rc<World>) -> anyhow::Result<Self> {
        let mut connection = system.connect().await?;
        let backend: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await?;
        Ok(Self {
            world: Rc::clone(world),
            connection,
            store: system.folder().join("store"),
            replicas: services.map(|service| service.process.id()),
            postgres: proc::parent(backend)?,
            cpu: HashMap::new(),
        })
    }

    /// Measures everything once. Sets whether the machine is too busy.
    pub async fn sample(&mut self, is_too_busy: &Cell<bool>) -> anyhow::Result<Vec<(String, f64)>> {
        let mut values = Vec::new();
        for (name, number) in [("replica-0", 0), ("replica-1", 1)] {
            let (pid, replica) = (self.replicas[number], &self.world.replicas[number]);
            let mut add = |what: &str, value: f64| values.push((format!("{name}.{what}"), value));
            add("memory", proc::resident_mib(pid)?);
            add("descriptors", proc::descriptors(pid)? as f64);
            add("threads", proc::threads(pid)? as f64);
            scrape(replica, add).await;
        }
        let mut busy = 0.0;
        let own = i32::try_from(process::id())?;
        let used = [
            ("replica-0", proc::cpu_seconds(self.replicas[0])?),
            ("replica-1", proc::cpu_seconds(self.replicas[1])?),
            ("postgres", proc::cpu_seconds_of_tree(self.postgres)?),
            ("load", proc::cpu_seconds(own)?),
        ];
        for (name, seconds) in used {
            let percent = self.percent(name, seconds);
            busy += if percent.is_finite() { percent } else { 0.0 };
            values.push((format!("{name}.cpu"), percent));
        }
        is_too_busy.set(busy > MAX_CPU);
        self.tables(&mut values).await?;
        let store = self.store.clone();
        let (bytes, files) = spawn_blocking(move || size_of(&store)).await??;
        values.push(("store.kib".into(), bytes as f64 / 1024.0));
        values.push(("store.files".into(), files as f64));
        let counts = &self.world.counts;
        values.push(("load.calls".into(), counts.total() as f64));
        values.push(("load.refused-by-limits".into(), counts.limited() as f64));
        Ok(values)
    }

    async fn tables(&mut self, values: &mut Vec<(String, f64)>) -> anyhow::Result<()> {
        for row in sqlx::query(TABLES).fetch_all(&mut self.connection).await? {
            let name: String = row.try_get("name")?;
            for (column, unit, what) in [("live", 1.0, "live"), ("dead", 1.0, "dead"), ("bytes", 1024.0, "kib")] {
                values.push((format!("table.{name}.{what}"), row.try_get::<i64, _>(column)? as f64 / unit));
            }
        }
        let connections = "select count(*) from pg_stat_activity where datname = current_database()";
        let connections: i64 = sqlx::query_scalar(connections).fetch_one(&mut self.connection).await?;
        values.push(("postgres.connections".into(), connections as f64));
        Ok(())
    }

    /// The part of one core that was used since the last time, in percent. NaN at the first time.
    fn percent(&mut self, name: &'static str, seconds: f64) -> f64 {
        let now = Instant::now();
        let before = self.cpu.insert(name, (now, seconds));
        before.map_or(f64::NAN, |(then, before)| (seconds - before) / (now - then).as_secs_f64() * 100.0)
    }
}

/// Reads the metrics of a replica. They are NaN if a scrape takes too long.
async fn scrape(replica: &Replica, mut add: impl FnMut(&str, f64)) {
    let metrics = replica.operators_page("/metrics").await.unwrap_or_default();
    for (what, metric) in [
        ("connections", "print_upload_connections"),
        ("tasks", "print_upload_tasks"),
        ("permits", "print_upload_transfers"),
        ("database-connections", "print_upload_database_connections"),
        ("active-sessions", "print_upload_active_sessions"),
        ("reclaim-queue", "print_upload_reclaim_queue_sessions"),
    ] {
        add(what, value_of(&metrics, metric));
    }
}

/// The sum of a metric's series. NaN if it has none.
pub fn value_of(metrics: &str, name: &str) -> f64 {
    let series = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
        rest.rsplit(' ').next()?.parse::<f64>().ok()
    });
    series.reduce(|sum, value| sum + value).unwrap_or(f64::NAN)
}

/// The bytes and the number of the files in a folder. Files come and go meanwhile.
fn size_of(folder: &Path) -> io::Result<(u64, u64)> {
    let (mut bytes, mut files) = (0, 0);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
        entries => entries?,
    };
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let (more_bytes, more_files) = if metadata.is_dir() { size_of(&entry.path())? } else { (metadata.len(), 1) };
        bytes += more_bytes;
        files += more_files;
    }
    Ok((bytes, files))
}
