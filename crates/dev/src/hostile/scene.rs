//! One act, from an idle service to one that is idle again.

use std::{
    cell::Cell,
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{sleep, timeout},
};

use super::{
    Act, Options,
    attacker::{GO, READY, STOP},
    others::{self, Deletes, NewConnections, RATE, Uploads},
    service::{self, Cost, Idle, Watch},
};
use crate::{
    bench::{
        load::{self, Latencies},
        system::{ServeOptions, Service, System},
    },
    issuer::{Subject, TOKEN_LIFETIME},
    sample::{FOREIGN_TENANT, PRINTER},
};

const MIB: usize = 1024 * 1024;

/// How many users the attacker has.
const USERS: u8 = 4;

/// How long the attacker may prepare, and how long it may take to report.
const PREPARE: Duration = Duration::from_secs(60);
const REPORT: Duration = Duration::from_secs(30);

/// An act against a new replica.
pub struct Scene<'a> {
    pub system: &'a System,
    pub options: &'a Options,
    pub act: Act,
}

/// What was measured.
pub struct Outcome {
    /// The report of the attacker ([`super::attacker`]).
    pub attacker: Value,
    pub cost: Cost,
    pub idle: Latencies,
    pub during: Latencies,
    pub deletes: usize,
    pub uploads: Uploads,
    pub new_connections: NewConnections,
}

/// The attacker's process, niced. It is killed when this is dropped.
struct Attacker {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Scene<'_> {
    pub async fn play(self) -> anyhow::Result<Outcome> {
        let mut documents = self.system.reset().await?;
        documents.connection().execute(AssertSqlSafe(other_tenant())).await?;
        let idle = documents.add_sessions(self.count(1000, 25)).await?;
        let during = documents
            .add_sessions(self.count((RATE * self.options.limit(self.act).as_secs_f64()) as usize, 1000))
            .await?;
        let warm_up = documents.add_sessions(self.count(500, 50)).await?;
        let to_upload = documents.add_documents(self.count(5, 1)).await?;
        documents.settle().await?;
        let service = self.system.serve_with(ServeOptions { is_of_one_user: false, ..ServeOptions::default() }).await?;
        let frames = warm_up.map(crate::bench::fill::delete).collect();
        load::warm_up(&service.target(2, 8), "DeleteUploadSession", frames).await?;
        let client = service.client()?;
        // Connects before the act, as clients that have been working for a while.
        client.document(&to_upload[0]).await.context("the other tenant's document")?;

        let mut attacker = self.prepare_attacker(&service).await?;
        let (idle, deletes) = Deletes::begin(&service, idle, during).idle().await?;
        let at_rest = Idle::of(&service).await?;
        let watch = Watch::start(&service)?;
        let new_connections = Cell::default();
        let uploading = others::upload(client, to_upload, self.count(8, 1) * MIB, self.options.duration);
        let act = async {
            tokio::select! {
                () = others::connect(service.grpc, &new_connections) => unreachable!("it has no end"),
                done = self.act(&mut attacker, uploading) => done,
            }
        };
        let ((attacked, uploads), load) = deletes.during(act).await?;
        attacker.end().await?;
        let mut cost = watch.stop(at_rest)?;
        cost.returned = service::until_idle(&service, at_rest).await?;
        service.stop().await?;
        Ok(Outcome {
            attacker: attacked,
            cost,
            idle,
            during: load.latencies,
            deletes: load.calls,
            uploads,
            new_connections: new_connections.into_inner(),
        })
    }

    /// Lets the attacker begin, and stops it when its time is over and the uploads have ended. Returns its report.
    async fn act(
        &self,
        attacker: &mut Attacker,
        uploading: impl Future<Output = Uploads>,
    ) -> anyhow::Result<(Value, Uploads)> {
        let begun = Instant::now();
        attacker.send(GO).await?;
        tokio::pin!(uploading);
        if self.act.has_end {
            let (report, uploads) = tokio::join!(attacker.line(), uploading);
            return Ok((serde_json::from_str(&report?)?, uploads));
        }
        let uploads = tokio::select! {
            (uploads, ()) = async { tokio::join!(&mut uploading, sleep(self.options.duration)) } => uploads,
            line = attacker.line() => {
                anyhow::bail!("the attacker has ended after {} s: {}", begun.elapsed().as_secs(), line?)
            }
        };
        attacker.send(STOP).await?;
        let report = timeout(REPORT, attacker.line()).await.context("the attacker does not report")??;
        Ok((serde_json::from_str(&report)?, uploads))
    }

    /// Starts the attacker, and waits until it is ready.
    async fn prepare_attacker(&self, service: &Service) -> anyhow::Result<Attacker> {
        let mut child = Command::new("nice")
            .args(["-n", "19"])
            .arg(std::env::current_exe()?)
            .arg("hostile-attacker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the attacker")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = BufReader::new(output.context("the attacker's output")?).lines();
        let mut attacker = Attacker { child, input: input.context("the attacker's input")?, output };
        attacker.send(&self.order(service.grpc, service.rest)?.to_string()).await?;
        let line = timeout(PREPARE, attacker.line()).await.context("the attacker is not ready")??;
        ensure!(line == READY, "the attacker has printed {line:?}");
        Ok(attacker)
    }

    fn order(&self, grpc: SocketAddr, rest: SocketAddr) -> anyhow::Result<Value> {
        let issuer = self.system.issuer();
        let token = |number: u8| {
            let scopes = ["PrintJob.ReadWrite.All", "Printer.Read.All", "PrinterShare.ReadBasic.All"];
            let oid = format!("99999999-9999-4999-8999-{number:012}");
            let subject = Subject::User { oid, scopes: scopes.map(str::to_owned).into() };
            issuer.issue(FOREIGN_TENANT, &subject, TOKEN_LIFETIME)
        };
        Ok(json!({
            "act": self.act.name,
            "grpc": grpc,
            "rest": rest,
            "issuer": issuer.address,
            "tokens": (0..USERS).map(token).collect::<anyhow::Result<Vec<_>>>()?,
            "quick": self.options.is_quick,
            "loops": self.options.loops,
        }))
    }

    /// The small number in a quick run.
    fn count(&self, usual: usize, quick: usize) -> usize {
        if self.options.is_quick { quick } else { usual }
    }
}

impl Attacker {
    async fn send(&mut self, line: &str) -> anyhow::Result<()> {
        self.input.write_all(format!("{line}\n").as_bytes()).await.context("the attacker has ended")
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        self.output.next_line().await?.context("the attacker has ended")
    }

    /// Waits until it has ended, and all of its connections with it.
    async fn end(self) -> anyhow::Result<()> {
        let Self { mut child, input, .. } = self;
        drop(input);
        let status = timeout(REPORT, child.wait()).await.context("the attacker does not end")??;
        ensure!(status.success(), "the attacker: {status}");
        Ok(())
    }
}

/// The attacker's tenant, with a printer.
fn other_tenant() -> String {
    format!(
        "insert into tenant (tenant_id, subscription_active, revision) values ('{FOREIGN_TENANT}', true, 0);
         insert into printer (tenant_id, printer_id, revision) values ('{FOREIGN_TENANT}', '{PRINTER}', 0)"
    )
}
