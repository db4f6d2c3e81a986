//! Calls over gRPC: without a credential, with worthless ones, and those of the attacker's users.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use print_upload_client::{
    Client, Credential,
    proto::{CreatePrintJobRequest, DocumentProperties, GetUploadSessionRequest, UploadSession},
};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};
use tonic::{Code, Status};
use uuid::Uuid;

use super::{
    Attack,
    connection::{PAUSE, connect, play_and_read, swarm},
    frames::{self, DATA, END_STREAM},
};
use crate::{
    ScratchFolder,
    bench::{
        grpc::{Connections, frame},
        load,
    },
    issuer::{AUDIENCE, KeyType, TokenIssuer},
    sample::{FOREIGN_TENANT, OWNER, PRINTER},
};

pub const GET_SESSION: &str = "/print.upload.v1.UploadSessions/GetUploadSession";
pub const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
pub const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// Tokens a second whose keys nobody knows.
const TOKENS_A_SECOND: f64 = 1000.0;

/// The longest time for which the tokens are paced.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// A user of the attacker's tenant.
pub struct User {
    pub client: Client,
}

impl User {
    pub fn of(attack: &Attack, number: usize) -> anyhow::Result<Self> {
        let credential = Credential::access_token(&attack.tokens[number % attack.tokens.len()])?;
        Ok(Self { client: Client::new(&format!("http://{}", attack.grpc), credential)? })
    }

    /// Creates a job, and returns the name of its document.
    pub async fn new_document(&self) -> anyhow::Result<String> {
        let request = CreatePrintJobRequest { parent: format!("printers/{PRINTER}"), ..Default::default() };
        let job = self.client.jobs.clone().create_print_job(request).await.context("the attacker's job")?;
        Ok(job.into_inner().document)
    }

    pub async fn new_session(&self, bytes: usize) -> anyhow::Result<UploadSession> {
        Ok(self.new_document_with_session(bytes).await?.1)
    }

    pub async fn new_document_with_session(&self, bytes: usize) -> anyhow::Result<(String, UploadSession)> {
        let document = self.new_document().await?;
        let properties = properties(bytes);
        let session = self.client.create(&document, &properties).await.context("the attacker's session")?;
        Ok((document, session))
    }
}

pub fn properties(bytes: usize) -> DocumentProperties {
    DocumentProperties {
        document_name: "hostile.pdf".into(),
        content_type: "application/pdf".into(),
        size_bytes: bytes as i64,
    }
}

/// Counts how a call was answered.
pub fn note<T>(attack: &Attack, returned: &anyhow::Result<T>) {
    let answer = match returned {
        Ok(_) => "OK".into(),
        Err(error) => error.downcast_ref::<Status>().map_or_else(|| "broken off".into(), name),
    };
    attack.counts.add_answer(answer);
    attack.counts.add_unit();
}

fn name(status: &Status) -> String {
    print_upload_client::code_name(status.code()).to_owned()
}

/// Calls with tokens whose headers name a key that the issuer does not have, each another one.
pub async fn unknown_keys(attack: &Arc<Attack>) -> anyhow::Result<()> {
    let folder = ScratchFolder::new("hostile")?;
    let issuer = TokenIssuer::with_keys(folder.path(), attack.issuer.clone())?;
    let connections = Connections::open(attack.grpc, "", 8).await?;
    let now = jsonwebtoken::get_current_timestamp();
    let claims = json!({
        "iss": attack.issuer.replace("{tenantid}", &FOREIGN_TENANT.to_string()), "aud": AUDIENCE, "ver": "2.0",
        "iat": now, "nbf": now, "exp": now + 3600, "tid": FOREIGN_TENANT, "oid": OWNER, "scp": "PrintJob.Read",
    });
    let message = frame(&GetUploadSessionRequest { name: format!("uploadSessions/{}", Uuid::now_v7()) });
    attack.begin().await?;
    attack.counts.connections.fetch_add(8, std::sync::atomic::Ordering::Relaxed);
    let rate = if attack.is_quick { 100.0 } else { TOKENS_A_SECOND };
    let (_running, stop) = mpsc::channel(1);
    let mut moments = load::paced(rate, (rate * LONGEST.as_secs_f64()) as usize, stop);
    let mut calls = JoinSet::new();
    let mut number = 0;
    while moments.recv().await.is_some() {
        let token = issuer.sign_with(&claims, KeyType::P256, |header| header.kid = Some(Uuid::new_v4().to_string()))?;
        let caller = connections.caller(number, "GetUploadSession")?.with_token(&token)?;
        attack.counts.add_bytes(token.len() + message.len());
        number += 1;
        let (attack, message) = (Arc::clone(attack), message.clone());
        calls.spawn(async move { note(&attack, &caller.call(message).await) });
        while calls.try_join_next().is_some() {}
    }
    Ok(())
}

/// Streams that report the health for ever: four on each connection.
pub async fn health_watch(attack: &Arc<Attack>) -> anyhow::Result<()> {
    streams(attack, HEALTH_WATCH, attack.count(500, 10), END_STREAM, &[]).await
}

/// Reflection streams that ask for the list of services and then nothing.
pub async fn reflection_streams(attack: &Arc<Attack>) -> anyhow::Result<()> {
    streams(attack, REFLECTION, attack.count(250, 10), 0, &[0x3a, 0]).await
}

/// Opens streams, four on each connection, and sends a message on each. `flags` are those of the frame with the message.
async fn streams(
    attack: &Arc<Attack>,
    path: &'static str,
    connections: usize,
    flags: u8,
    message: &'static [u8],
) -> anyhow::Result<()> {
    const CALLS: usize = 4;
    attack.begin().await?;
    swarm(attack, connections, Some(PAUSE), move |attack, _| async move {
        let connection = connect(&attack, attack.grpc, 0, None).await?;
        let ending = play_and_read(&attack, connection, async |write| {
            let mut begin = frames::greeting();
            for call in 0..CALLS {
                let stream = frames::stream(call);
                begin.extend(frames::header_frames(stream, 0, &frames::call(path, None)));
                begin.extend(frames::frame(DATA, flags, stream, &frames::message(message)));
            }
            match write.send(&begin).await {
                Ok(()) => {
                    attack.counts.add_units(CALLS);
                    std::future::pending().await
                }
                Err(error) => error,
            }
        });
        Ok(ending.await)
    })
    .await
}

/// Whether the service has refused a call for too many transfers or writers.
pub fn is_exhausted(status: i32) -> bool {
    Code::from_i32(status) == Code::ResourceExhausted
}
