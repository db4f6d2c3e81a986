//! The story of a document: its first upload is canceled, its second one is completed. `demo` prints it call by call,
//! over gRPC. `smoke` checks it over gRPC and over REST.

mod api;
mod checks;
mod document;
mod grpc;
mod rest;

use std::{collections::HashMap, time::Instant};

use anyhow::Context;
use print_upload::blobs::Blobs;
use print_upload_client::{Client, Credential, Reason, Transport, proto::CreatePrintJobRequest};

use self::api::Expected;
pub(super) use self::{
    api::{Api, Caller, Refusal, Session},
    checks::Checks,
    document::{SIZE, bytes, header, quarter},
    grpc::{Grpc, refusal, to_error},
    rest::Rest,
};
use crate::{issuer::TokenIssuer, sample};

const NOT_OWNER: Expected = Expected { grpc: "PERMISSION_DENIED", rest: "403", reason: Reason::NotSessionOwner };
const NO_DOCUMENT: Expected = Expected { grpc: "NOT_FOUND", rest: "404", reason: Reason::DocumentNotFound };
const NO_TOKEN: Expected = Expected { grpc: "UNAUTHENTICATED", rest: "401", reason: Reason::TokenMissing };
const COMPLETED: Expected =
    Expected { grpc: "FAILED_PRECONDITION", rest: "404", reason: Reason::UploadSessionCompleted };
pub(super) const CANCELED: Expected = Expected { grpc: "ABORTED", rest: "409", reason: Reason::UploadSessionCanceled };

/// Who calls in the story.
#[derive(Debug)]
pub(super) struct Callers {
    pub owner: Caller,
    other: Caller,
    foreigner: Caller,
    anonymous: Caller,
}

impl Callers {
    /// The users of the sample, with tokens of the issuer that the stack trusts.
    pub(super) fn new(issuer: &TokenIssuer) -> anyhow::Result<Self> {
        let mut tokens: HashMap<_, _> = sample::tokens(issuer)?.into_iter().collect();
        let mut caller = |name, token| Caller { name, token: tokens.remove(token) };
        Ok(Self {
            owner: caller("the owner", "OWNER_TOKEN"),
            other: caller("another user", "OTHER_TOKEN"),
            foreigner: caller("another tenant", "FOREIGN_TOKEN"),
            anonymous: Caller { name: "an anonymous caller", token: None },
        })
    }
}

impl Caller {
    pub(super) fn client(&self, transport: &Transport) -> anyhow::Result<Client> {
        let credential = self.token.as_deref().map_or(Ok(Credential::None), Credential::access_token)?;
        Ok(Client::over(transport.clone(), credential))
    }

    /// Creates a print job. Returns the name of its document, which awaits its upload.
    pub(super) async fn new_document(&self, transport: &Transport) -> anyhow::Result<String> {
        let parent = format!("printers/{}", sample::PRINTER);
        let request = CreatePrintJobRequest { parent, ..Default::default() };
        let job = self.client(transport)?.jobs.create_print_job(request).await.context("creating a print job")?;
        Ok(job.into_inner().document)
    }
}

/// Plays the story of a new document. Returns how many checks held.
pub(super) async fn run<A: Api>(
    api: &A,
    document: &str,
    callers: &Callers,
    store: Option<&Blobs>,
) -> anyhow::Result<usize> {
    let mut checks = Checks::new(A::NAME, store);
    let canceled = cancel(api, document, callers, &mut checks).await?;
    complete(api, document, &callers.owner, &canceled, &mut checks).await?;
    Ok(checks.held)
}

/// Cancels an upload. Returns its session.
async fn cancel<A: Api>(
    api: &A,
    document: &str,
    callers: &Callers,
    checks: &mut Checks<'_>,
) -> anyhow::Result<Session> {
    let owner = &callers.owner;
    let session = api.create(owner, document).await.context("creating a session")?;
    checks.check("a session is created", !session.id.is_empty())?;

    for number in [2, 0, 3] {
        let is_complete = api.send(owner, &session, quarter(number)).await.context("sending a range")?;
        checks.check(&format!("quarter {number} is acknowledged"), !is_complete)?;
    }
    let active = api.get(owner, document).await.context("getting the session")?;
    checks.check("quarter 1 is missing, and nothing else", active.missing == [quarter(1)])?;
    checks.stored(&session).await?;

    let strangers = [(&callers.other, &NOT_OWNER), (&callers.foreigner, &NO_DOCUMENT), (&callers.anonymous, &NO_TOKEN)];
    for (stranger, expected) in strangers {
        let deleted = api.delete(stranger, document).await;
        refused::<A, _>(checks, &format!("{}'s delete", stranger.name), deleted, expected)?;
    }

    api.delete(owner, document).await.context("deleting")?;
    let canceled_at = Instant::now();
    checks.check("the owner's delete is OK", true)?;
    api.delete(owner, document).await.context("deleting again")?;
    checks.check("the second delete is OK", true)?;
    let is_canceled = match api.get(owner, document).await.map_err(anyhow::Error::downcast::<Refusal>) {
        Ok(canceled) => canceled.is_canceled,
        // REST has no ended sessions.
        Err(refusal) => refusal.context("getting the canceled session")?.reason == CANCELED.reason.wire_name(),
    };
    checks.check("the session is canceled", is_canceled)?;

    let late = api.send(owner, &session, quarter(1)).await;
    refused::<A, _>(checks, "a late range", late, &CANCELED)?;
    checks.reclaimed(&session, canceled_at).await?;
    Ok(session)
}

/// Completes another upload of the same document.
async fn complete<A: Api>(
    api: &A,
    document: &str,
    owner: &Caller,
    canceled: &Session,
    checks: &mut Checks<'_>,
) -> anyhow::Result<()> {
    let session = api.create(owner, document).await.context("creating another session")?;
    checks.check("a new session is created", !session.id.is_empty() && session.id != canceled.id)?;
    let empty = api.get(owner, document).await.context("getting the new session")?;
    checks.check("nothing of the canceled one is in it", empty.missing.iter().eq([&(0..SIZE)]))?;

    for (number, is_last) in [(1, false), (3, false), (0, false), (2, true)] {
        let is_complete = api.send(owner, &session, quarter(number)).await.context("sending a range")?;
        checks.check(&format!("quarter {number} is acknowledged"), is_complete == is_last)?;
    }
    let downloaded = api.download(owner, document).await.context("downloading")?;
    checks.check("the download is what was sent", downloaded == bytes(0..SIZE))?;
    let too_late = api.delete(owner, document).await;
    refused::<A, _>(checks, "deleting what is complete", too_late, &COMPLETED)
}

fn refused<A: Api, T>(
    checks: &mut Checks<'_>,
    what: &str,
    returned: anyhow::Result<T>,
    expected: &Expected,
) -> anyhow::Result<()> {
    let error = returned.err().with_context(|| format!("{}: {what} was not refused", A::NAME))?;
    let refusal: Refusal = error.downcast().with_context(|| what.to_owned())?;
    let holds = refusal.code == A::code(expected) && refusal.reason == expected.reason.wire_name();
    checks.check(&format!("{what} is refused: {refusal}"), holds)
}
