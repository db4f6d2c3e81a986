//! The story's calls over gRPC: the generated client.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use print_upload_client::{
    Client, Error, Progress, Transport, code_name,
    proto::{
        ByteRange, CreateUploadSessionRequest, DeleteUploadSessionRequest, GetUploadSessionRequest, UploadSession,
        upload_session::State,
    },
    reason_name,
};
use tokio::sync::watch;
use tonic::{Code, Response, Status};

use super::{
    api::{Api, Caller, Expected, Refusal, Session},
    document::{bytes, header, properties},
};

/// A transport that all callers share.
pub(in crate::cli) struct Grpc {
    pub transport: Transport,
    /// Whether to print each call and its result.
    pub is_narrated: bool,
}

impl Grpc {
    async fn call<T>(
        &self,
        caller: &Caller,
        call: &str,
        describe: impl Fn(&T) -> String,
        make: impl AsyncFnOnce(Client) -> Result<T, Status>,
    ) -> anyhow::Result<T> {
        if self.is_narrated {
            println!("\n{}: {call}", caller.name);
        }
        let returned = make(caller.client(&self.transport)?).await;
        if self.is_narrated {
            match &returned {
                Ok(message) => println!("  {}", describe(message)),
                Err(status) => println!("  {}: {}", code_name(status.code()), status.message()),
            }
        }
        returned.map_err(to_error)
    }
}

impl Api for Grpc {
    const NAME: &'static str = "gRPC";

    fn code(expected: &Expected) -> &'static str {
        expected.grpc
    }

    async fn create(&self, caller: &Caller, document: &str) -> anyhow::Result<Session> {
        let call = format!("CreateUploadSession {document}");
        let request = CreateUploadSessionRequest { parent: document.into(), properties: Some(properties()) };
        let create =
            async |mut client: Client| client.sessions.create_upload_session(request).await.map(Response::into_inner);
        self.call(caller, &call, describe, create).await.map(to_session)
    }

    async fn send(&self, caller: &Caller, session: &Session, range: Range<usize>) -> anyhow::Result<bool> {
        let call = format!("UploadRange {} [{}, {})", session.handle, range.start, range.end);
        let header = header(&session.handle, &range);
        let send = async |mut client: Client| client.upload_range(header, bytes(range)).await;
        let sent = self.call(caller, &call, |sent| format!("missing: {:?}", ranges(&sent.next_expected_ranges)), send);
        Ok(sent.await?.state() == State::Completed)
    }

    async fn get(&self, caller: &Caller, document: &str) -> anyhow::Result<Session> {
        let name = format!("{document}/uploadSession");
        let call = format!("GetUploadSession {name}");
        let request = GetUploadSessionRequest { name };
        let get =
            async |mut client: Client| client.sessions.get_upload_session(request).await.map(Response::into_inner);
        self.call(caller, &call, describe, get).await.map(to_session)
    }

    async fn delete(&self, caller: &Caller, document: &str) -> anyhow::Result<()> {
        let name = format!("{document}/uploadSession");
        let call = format!("DeleteUploadSession {name}");
        let request = DeleteUploadSessionRequest { name, ..Default::default() };
        let delete =
            async |mut client: Client| client.sessions.delete_upload_session(request).await.map(Response::into_inner);
        self.call(caller, &call, |()| "(empty)".into(), delete).await
    }

    async fn download(&self, caller: &Caller, document: &str) -> anyhow::Result<Bytes> {
        let call = format!("DownloadPrintDocument {document}");
        let download = async |client: Client| {
            let (mut bytes, progress) = (Vec::new(), watch::Sender::<Progress>::default());
            // Without patience: a stream that breaks is not resumed.
            match client.with_patience(Duration::ZERO).download(document, &mut bytes, &progress).await {
                Ok(_) => Ok(Bytes::from(bytes)),
                Err(Error::Call(status)) => Err(status),
                Err(error) => Err(Status::unknown(error.to_string())),
            }
        };
        self.call(caller, &call, |bytes| format!("{} bytes", bytes.len()), download).await
    }
}

fn to_session(session: UploadSession) -> Session {
    let is_canceled = session.state() == State::Canceled && session.ended_by == session.owner;
    Session { id: session.etag, handle: session.name, missing: ranges(&session.next_expected_ranges), is_canceled }
}

fn ranges(ranges: &[ByteRange]) -> Vec<Range<usize>> {
    ranges.iter().map(|range| range.start as usize..range.end as usize).collect()
}

fn describe(session: &UploadSession) -> String {
    let (name, state, received) = (&session.name, session.state().as_str_name(), session.received_bytes);
    let missing = ranges(&session.next_expected_ranges);
    let mut description = format!("{name} {state}\n  received: {received} bytes, missing: {missing:?}");
    if let (Some(by), Some(at)) = (&session.ended_by, &session.end_time) {
        description += &format!("\n  ended by {:?} at {at}, {}", by.identity, session.end_reason().as_str_name());
    }
    description
}

/// Distinguishes a refusal by the service from a call that did not reach it: a refusal has a reason.
pub(in crate::cli) fn to_error(status: Status) -> anyhow::Error {
    let refusal = refusal(&status);
    if status.code() == Code::Unavailable || refusal.reason.is_empty() { status.into() } else { refusal.into() }
}

/// The refusal in a status.
pub(in crate::cli) fn refusal(status: &Status) -> Refusal {
    Refusal { code: code_name(status.code()).into(), reason: reason_name(status).unwrap_or_default() }
}
