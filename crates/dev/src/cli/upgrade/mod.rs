//! `print-upload-dev upgrade`: a rolling change of two replicas under load, from an older program to this one, back and
//! forward again. It fails at the first answer that does not fit what its caller knows, at the first call that fails
//! for good, and if anything is left behind in the end.

mod calls;
mod counts;
mod database;
mod environment;
mod library;
mod load;
mod replica;
mod scan;

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Args;
use tokio::{
    task::{JoinSet, LocalSet},
    time::{Instant, sleep},
};

use self::{database::Database, environment::Environment, load::Load, replica::Replica};
use super::shipped_program;

/// How many phases the load lasts: one before the migrations, one after them, and one after each of four replacements.
const PHASES: u32 = 6;

/// The programs, and how long the load lasts.
#[derive(Debug, Args)]
pub(super) struct Upgrade {
    /// The older `print-upload` program.
    #[arg(long, value_name = "PROGRAM")]
    from: PathBuf,

    /// The newer one [default: the one beside this program].
    #[arg(long, value_name = "PROGRAM")]
    to: Option<PathBuf>,

    /// How long the load lasts, at least.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    duration: Duration,
}

impl Upgrade {
    /// Runs the change in a scratch folder. The folder is kept if anything was wrong.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let to = shipped_program(self.to.clone())?;
        ensure!(self.from.exists(), "{} does not exist", self.from.display());
        let environment = Environment::start().await?;
        match LocalSet::new().run_until(self.change(&environment, &to)).await {
            Ok(()) => environment.stop().await,
            Err(error) => Err(error.context(format!("the logs and data are in {}", environment.keep().display()))),
        }
    }

    async fn change(&self, environment: &Environment, to: &Path) -> anyhow::Result<()> {
        let (old, began) = (self.from.as_path(), Instant::now());
        let step = |what: &str| println!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
        environment.migrate(old).await.context("the old program's migrate")?;
        let mut replicas = [environment.replica("A").await?, environment.replica("B").await?];
        for replica in &mut replicas {
            replica.start(old, environment).await?;
        }
        let load = Rc::new(Load::prepare(environment, &replicas).await?);
        let database = Database::connect(environment.database_url()).await?;
        let mut workers = JoinSet::new();
        load.start(&mut workers);
        step("both replicas run the old program, under load");
        let change = self.replace(&mut replicas, &database, environment, to, &step);
        let changed = tokio::select! {
            changed = change => changed,
            Some(ended) = workers.join_next() => Err(load::error_of(ended)),
        };
        changed?;
        load.stop();
        while let Some(ended) = workers.join_next().await {
            ended.context("a worker")??;
        }
        step("the load has ended");
        load.check_kept().await?;
        scan::check(&database, &environment.bytes_folder()).await?;
        step("the queue of bytes is empty, and the store has what the manifests name and nothing else");
        let (mut old_errors, mut new_errors) = (0, 0);
        for replica in &mut replicas {
            replica.stop().await?;
            old_errors += replica.logged_errors(old)?;
            new_errors += replica.logged_errors(to)?;
        }
        load.print_counts();
        println!("errors in the log of the old program: {old_errors}, of the new one: {new_errors}");
        ensure!(new_errors == 0, "the new program has logged errors");
        Ok(())
    }

    /// Migrates, then replaces replicas, with a phase of load after each step.
    async fn replace(
        &self,
        replicas: &mut [Replica; 2],
        database: &Database,
        environment: &Environment,
        to: &Path,
        step: &impl Fn(&str),
    ) -> anyhow::Result<()> {
        let phase = self.duration / PHASES;
        sleep(phase).await;
        let before = database.migrations().await?;
        environment.migrate(to).await.context("the new program's migrate")?;
        step(&format!("the new program's migrations are applied: {}", database.migrations().await? - before));
        database.apply_stand_in().await?;
        step("every table has one more column, as after a later migration");
        environment.migrate(to).await.context("migrate on a newer schema")?;
        sleep(phase).await;
        for (index, program, what) in [
            (0, to, "replica A runs the new program"),
            (1, to, "replica B runs the new program"),
            (1, self.from.as_path(), "replica B runs the old program again"),
            (1, to, "replica B runs the new program again"),
        ] {
            replicas[index].stop().await?;
            replicas[index].start(program, environment).await?;
            step(what);
            sleep(phase).await;
        }
        Ok(())
    }
}
