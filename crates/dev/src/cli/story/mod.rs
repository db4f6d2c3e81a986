//! One upload that is canceled, and one that is not, through one door.

use anyhow::Context;
use print_upload_client::Reason;

use super::{
    Cast, Checks,
    door::{Answer, Door},
};
use crate::cli::sample_document::{SIZE, bytes, quarter};

/// Tells it, on a document of the owner's that awaits its upload.
pub(super) async fn tell<D: Door>(door: &D, cast: &Cast, document: &str, checks: &mut Checks) -> anyhow::Result<()> {
    cancel(door, cast, document, checks).await?;
    complete(door, cast, document, checks).await
}

async fn cancel<D: Door>(door: &D, cast: &Cast, document: &str, checks: &mut Checks) -> anyhow::Result<()> {
    let owner = cast.owner.as_str();
    let session = granted("creating a session", door.create(owner, document).await)?;
    checks.check(D::NAME, "a session is created", !session.id.is_empty())?;

    for number in [2, 0, 3] {
        let is_complete = granted("sending a range", door.send(owner, &session, quarter(number)).await)?;
        checks.check(D::NAME, &format!("quarter {number} is acknowledged"), !is_complete)?;
    }
    let missing = granted("looking", door.missing(owner, document).await)?;
    checks.check(D::NAME, "quarter 1 is missing, and nothing else", missing == [quarter(1)])?;

    checks.something_is_kept(D::NAME, &session).await?;

    let by_other = door.delete(&cast.other, document).await;
    refused(checks, D::NAME, "another user's delete", by_other, D::FORBIDDEN, Reason::NotSessionOwner)?;
    let by_foreigner = door.delete(&cast.foreigner, document).await;
    refused(checks, D::NAME, "another tenant's delete", by_foreigner, D::NOT_FOUND, Reason::DocumentNotFound)?;
    let by_nobody = door.delete("", document).await;
    refused(checks, D::NAME, "nobody's delete", by_nobody, D::UNAUTHENTICATED, Reason::TokenMissing)?;

    granted("deleting", door.delete(owner, document).await)?;
    checks.check(D::NAME, "the owner's delete is OK", true)?;
    granted("deleting again", door.delete(owner, document).await)?;
    checks.check(D::NAME, "the second delete is OK", true)?;

    let late = door.send(owner, &session, quarter(1)).await;
    refused(checks, D::NAME, "a late range", late, D::CONFLICT, Reason::UploadSessionCanceled)?;
    checks.nothing_is_left(D::NAME, &session).await
}

async fn complete<D: Door>(door: &D, cast: &Cast, document: &str, checks: &mut Checks) -> anyhow::Result<()> {
    let owner = cast.owner.as_str();
    let session = granted("creating another session", door.create(owner, document).await)?;
    checks.check(D::NAME, "a new session is created", !session.id.is_empty())?;
    let missing = granted("looking", door.missing(owner, document).await)?;
    checks.check(
        D::NAME,
        "nothing of the canceled one is in it",
        missing.as_slice() == std::slice::from_ref(&(0..SIZE)),
    )?;

    for (number, is_last) in [(1, false), (3, false), (0, false), (2, true)] {
        let is_complete = granted("sending a range", door.send(owner, &session, quarter(number)).await)?;
        checks.check(D::NAME, &format!("quarter {number} is acknowledged"), is_complete == is_last)?;
    }
    let downloaded = granted("downloading", door.download(owner, document).await)?;
    checks.check(D::NAME, "the download is what was sent", downloaded == bytes(0..SIZE))?;
    let too_late = door.delete(owner, document).await;
    refused(checks, D::NAME, "deleting what is complete", too_late, D::TOO_LATE, Reason::UploadSessionCompleted)
}

fn granted<T>(doing: &str, answer: Answer<T>) -> anyhow::Result<T> {
    let answer = answer.with_context(|| doing.to_owned())?;
    answer.map_err(|refusal| anyhow::anyhow!("{doing}: {refusal}"))
}

fn refused<T>(
    checks: &mut Checks,
    door: &str,
    what: &str,
    answer: Answer<T>,
    code: &str,
    reason: Reason,
) -> anyhow::Result<()> {
    let refusal = answer.with_context(|| what.to_owned())?.err();
    let refusal = refusal.with_context(|| format!("{door}: {what} went through"))?;
    let holds = refusal.code == code && refusal.reason == reason.wire_name();
    checks.check(door, &format!("{what} is refused: {refusal}"), holds)
}
