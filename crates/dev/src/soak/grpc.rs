//! Calls over gRPC.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use print_upload_client::{
    Client, Credential, Transport,
    proto::{
        CancelPrintJobRequest, CreatePrintJobRequest, CreateUploadSessionRequest, DeleteUploadSessionRequest,
        DocumentProperties, DownloadPrintDocumentRequest, GetUploadSessionRequest, RangeHeader, StartPrintJobRequest,
        UploadSession, download_print_document_response::Content as Part, upload_session::State,
    },
    range_messages,
};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::{Response, Status};

use super::api::{Api, CONTENT_TYPE, DOCUMENT_NAME, Failed, Job, Session};

/// How long a range stalls before its caller hangs up.
pub const STALL: Duration = Duration::from_millis(300);

/// One caller's calls to one replica.
pub struct Grpc {
    transport: Transport,
    client: Client,
}

impl Grpc {
    pub fn new(transport: &Transport, token: Option<&str>) -> anyhow::Result<Self> {
        let credential = token.map_or(Ok(Credential::None), Credential::access_token)?;
        Ok(Self { transport: transport.clone(), client: Client::over(transport.clone(), credential) })
    }
}

impl Api for Grpc {
    const NAME: &'static str = "gRPC";

    fn with_token(&self, token: Option<&str>) -> anyhow::Result<Self> {
        Self::new(&self.transport, token)
    }

    async fn create_job(&self, printer: &str, request_id: &str) -> Result<Job, Failed> {
        let (parent, request_id) = (format!("printers/{printer}"), request_id.to_owned());
        let request = CreatePrintJobRequest { parent, request_id, ..Default::default() };
        let job = answer(self.client.jobs.clone().create_print_job(request).await)?;
        Ok(Job { name: job.name, document: job.document })
    }

    async fn start_job(&self, job: &str) -> Result<(), Failed> {
        let request = StartPrintJobRequest { name: job.into() };
        answer(self.client.jobs.clone().start_print_job(request).await).map(drop)
    }

    async fn cancel_job(&self, job: &str) -> Result<(), Failed> {
        answer(self.client.jobs.clone().cancel_print_job(CancelPrintJobRequest { name: job.into() }).await)
    }

    async fn create(&self, document: &str, size: usize) -> Result<Session, Failed> {
        let properties = DocumentProperties {
            document_name: DOCUMENT_NAME.into(),
            content_type: CONTENT_TYPE.into(),
            size_bytes: size as i64,
        };
        let request = CreateUploadSessionRequest { parent: document.into(), properties: Some(properties) };
        answer(self.client.sessions.clone().create_upload_session(request).await).map(session)
    }

    async fn send(&self, session: &Session, range: Range<usize>, bytes: Bytes) -> Result<bool, Failed> {
        let header = RangeHeader { crc32c: Some(crc32c::crc32c(&bytes)), ..header(session, &range) };
        let sent = self.client.clone().upload_range(header, bytes).await;
        sent.map(|sent| sent.state() == State::Completed).map_err(|status| Failed::of(&status))
    }

    async fn hang_up(&self, session: &Session, range: Range<usize>, half: Bytes) -> Result<(), Failed> {
        let messages = tokio_stream::iter(range_messages(header(session, &range), &half));
        let messages = messages.chain(tokio_stream::pending());
        let mut sessions = self.client.sessions.clone();
        match timeout(STALL, sessions.upload_range(messages)).await {
            Err(_) => Ok(()),
            Ok(Err(status)) => Err(Failed::of(&status)),
            Ok(Ok(_)) => Err(Failed::Broken("half a range was acknowledged".into())),
        }
    }

    async fn get(&self, document: &str) -> Result<Session, Failed> {
        let request = GetUploadSessionRequest { name: format!("{document}/uploadSession") };
        answer(self.client.sessions.clone().get_upload_session(request).await).map(session)
    }

    async fn delete(&self, document: &str) -> Result<(), Failed> {
        let request = DeleteUploadSessionRequest { name: format!("{document}/uploadSession"), ..Default::default() };
        answer(self.client.sessions.clone().delete_upload_session(request).await)
    }

    async fn download(&self, document: &str) -> Result<Vec<u8>, Failed> {
        let request = DownloadPrintDocumentRequest { name: document.into(), offset: 0 };
        let mut parts = answer(self.client.documents.clone().download_print_document(request).await)?;
        let mut bytes = Vec::new();
        while let Some(part) = parts.message().await.map_err(|status| Failed::of(&status))? {
            if let Some(Part::Chunk(chunk)) = part.content {
                bytes.extend_from_slice(&chunk);
            }
        }
        Ok(bytes)
    }
}

pub fn answer<T>(answer: Result<Response<T>, Status>) -> Result<T, Failed> {
    answer.map(Response::into_inner).map_err(|status| Failed::of(&status))
}

fn header(session: &Session, range: &Range<usize>) -> RangeHeader {
    RangeHeader {
        name: session.handle.clone(),
        start: range.start as i64,
        end: range.end as i64,
        total: session.total as i64,
        ..Default::default()
    }
}

fn session(session: UploadSession) -> Session {
    let state = session.state();
    let total = session.properties.map_or(0, |properties| properties.size_bytes as usize);
    let missing = session.next_expected_ranges.iter().map(|range| range.start as usize..range.end as usize).collect();
    Session { id: session.etag, handle: session.name, state, missing, total }
}
