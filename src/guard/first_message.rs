//! The first message of a call, which names the resource. The guard reads it, and puts its bytes back in front of the
//! rest of the body: the handler reads the same stream. If the method takes only one message, the guard waits for the
//! end of the body as well, because the handler would wait for it without a limit.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use prost_reflect::DynamicMessage;
use tokio::time::timeout;

use super::rules::Rule;
use crate::{
    error::{Error, StreamProblem},
    name::{CatalogName, DocumentName, JobName, NameError, Queue, SessionName},
};

/// The largest first message, in bytes.
pub const MAX_FIRST_MESSAGE_BYTES: usize = 64 * 1024;

/// How long the first message may take to arrive.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The length of the gRPC prefix of every message: one byte for the compression, four bytes for the length, big-endian.
const PREFIX_BYTES: usize = 5;

/// What the guard reads from the first message.
#[derive(Debug)]
pub struct FirstMessage<'rule> {
    /// The rule, which names the fields to read.
    pub rule: &'rule Rule,
    resource: Option<String>,
    /// Whether the message around the resource's name is missing: the header of a range.
    lacks_header: bool,
    etag: Option<String>,
    allow_missing: bool,
}

/// Reads the first message and returns it with a body that still holds every byte.
pub async fn read(body: Body, rule: &Rule) -> Result<(FirstMessage<'_>, Body), Error> {
    let mut stream = body.into_data_stream();
    let (head, message) = timeout(FIRST_MESSAGE_TIMEOUT, read_message(&mut stream, rule))
        .await
        .map_err(|_| Error::FirstMessageTimeout(FIRST_MESSAGE_TIMEOUT))??;

    let first = FirstMessage {
        rule,
        resource: text(&message, &rule.resource_field),
        lacks_header: rule.is_client_streaming && lacks_parent(&message, &rule.resource_field),
        etag: rule.etag_field.as_deref().and_then(|field| text(&message, field)),
        allow_missing: rule.allow_missing_field.as_deref().is_some_and(|field| flag(&message, field)),
    };
    let chunks = futures_util::stream::iter(head.chunks.into_iter().map(Ok)).chain(stream);
    Ok((first, Body::from_stream(chunks)))
}

impl FirstMessage<'_> {
    /// The resource's name, parsed as that of a printer or share.
    pub fn queue(&self) -> Result<Queue, Error> {
        self.resource(Queue::parse)
    }

    /// The resource's name, parsed as that of a job.
    pub fn job_name(&self) -> Result<JobName, Error> {
        self.resource(JobName::parse)
    }

    /// The resource's name, parsed as that of a document.
    pub fn document_name(&self) -> Result<DocumentName, Error> {
        self.resource(DocumentName::parse)
    }

    /// The resource's name, parsed as that of a session.
    pub fn session_name(&self) -> Result<SessionName, Error> {
        self.resource(SessionName::parse)
    }

    /// The error for `{document}/uploadSession` where the rule accepts only `uploadSessions/{id}`.
    pub fn session_id_required(&self) -> Error {
        self.invalid("must be uploadSessions/{id}: a document's name could lead to a newer session".into())
    }

    /// The resource's name, parsed as that of a catalog entry.
    pub fn catalog_name(&self) -> Result<CatalogName, Error> {
        self.resource(CatalogName::parse)
    }

    fn resource<Name>(&self, parse: impl Fn(&str) -> Result<Name, NameError>) -> Result<Name, Error> {
        if self.lacks_header {
            return Err(StreamProblem::NoHeader.into());
        }
        let resource = self.resource.as_deref().ok_or_else(|| self.invalid("is required".into()))?;
        parse(resource).map_err(|error| self.invalid(error.to_string()))
    }

    fn invalid(&self, problem: String) -> Error {
        Error::invalid_field(self.rule.resource_field.clone(), problem)
    }

    /// The etag that the caller expects, if any.
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// Whether the call succeeds when the session does not exist.
    pub fn allow_missing(&self) -> bool {
        self.allow_missing
    }
}

/// The chunks of a body up to the end of its first message.
#[derive(Default)]
struct Head {
    chunks: Vec<Bytes>,
    length: usize,
}

impl Head {
    fn push(&mut self, chunk: Bytes) {
        self.length += chunk.len();
        self.chunks.push(chunk);
    }

    fn bytes(&self) -> Bytes {
        match self.chunks.as_slice() {
            [only] => only.clone(),
            chunks => chunks
                .iter()
                .fold(BytesMut::with_capacity(self.length), |mut all, chunk| {
                    all.extend_from_slice(chunk);
                    all
                })
                .freeze(),
        }
    }

    /// The message's length once its prefix has arrived.
    fn message_length(&self) -> Result<Option<usize>, Error> {
        if self.length < PREFIX_BYTES {
            return Ok(None);
        }
        let prefix = self.bytes();
        if prefix[0] != 0 {
            return Err(StreamProblem::FirstMessageCompressed.into());
        }
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if length > MAX_FIRST_MESSAGE_BYTES {
            return Err(StreamProblem::FirstMessageTooLarge(MAX_FIRST_MESSAGE_BYTES / 1024).into());
        }
        Ok(Some(length))
    }

    fn message(&self) -> Result<Bytes, Error> {
        let length = self.message_length()?.unwrap_or_default();
        Ok(self.bytes().slice(PREFIX_BYTES..PREFIX_BYTES + length))
    }
}

async fn read_message(stream: &mut BodyDataStream, rule: &Rule) -> Result<(Head, DynamicMessage), Error> {
    let head = read_head(stream).await?;
    let message =
        DynamicMessage::decode(rule.input.clone(), head.message()?).map_err(|_| StreamProblem::FirstMessageInvalid)?;
    if !rule.is_client_streaming {
        expect_end(&head, stream).await?;
    }
    Ok((head, message))
}

async fn read_head(stream: &mut BodyDataStream) -> Result<Head, Error> {
    let mut head = Head::default();
    let mut expected = None;
    loop {
        if expected.is_none() {
            expected = head.message_length()?;
        }
        if expected.is_some_and(|length| head.length >= PREFIX_BYTES + length) {
            return Ok(head);
        }
        match stream.next().await {
            // Not kept: a caller can send any number of empty frames.
            Some(Ok(chunk)) if chunk.is_empty() => {}
            Some(Ok(chunk)) => head.push(chunk),
            Some(Err(_)) => return Err(StreamProblem::FirstMessageBroken.into()),
            None => return Err(StreamProblem::NoFirstMessage.into()),
        }
    }
}

/// Reads to the end of a call that has only one message.
async fn expect_end(head: &Head, stream: &mut BodyDataStream) -> Result<(), Error> {
    if head.length > PREFIX_BYTES + head.message()?.len() {
        return Err(StreamProblem::MoreThanOneMessage.into());
    }
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| StreamProblem::EndBroken)?;
        if !chunk.is_empty() {
            return Err(StreamProblem::MoreThanOneMessage.into());
        }
    }
    Ok(())
}

/// A field's text; a dot descends into a message. `None` when it is unset or empty.
fn text(message: &DynamicMessage, path: &str) -> Option<String> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    if !message.has_field_by_name(first) {
        return None;
    }
    let value = message.get_field_by_name(first)?;
    match rest {
        Some(rest) => text(value.as_message()?, rest),
        None => value.as_str().filter(|text| !text.is_empty()).map(str::to_owned),
    }
}

/// Whether the message that a field is in is not set.
fn lacks_parent(message: &DynamicMessage, path: &str) -> bool {
    path.split_once('.').is_some_and(|(parent, _)| !message.has_field_by_name(parent))
}

fn flag(message: &DynamicMessage, field: &str) -> bool {
    message.get_field_by_name(field).and_then(|value| value.as_bool()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{guard::Rules, proto::Reason};

    const DELETE: &str = "/print.upload.v1.UploadSessions/DeleteUploadSession";
    const UPLOAD_RANGE: &str = "/print.upload.v1.UploadSessions/UploadRange";

    #[tokio::test(start_paused = true)]
    async fn waiting_for_the_first_message_has_a_limit() {
        let rules = Rules::load().expect("the compiled-in proto has rules");
        let rule = rules.of(DELETE).expect("a rule");
        let silent = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let error = read(silent, rule).await.expect_err("nothing came");
        assert_eq!(error.code_and_reason().1, Reason::FirstMessageTimeout);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_the_end_of_a_call_with_one_message_has_a_limit() {
        let rules = Rules::load().expect("the compiled-in proto has rules");
        let nameless = Bytes::from_static(&[0; PREFIX_BYTES]);
        let open = |rule| {
            let message = futures_util::stream::iter([Ok::<_, std::io::Error>(nameless.clone())]);
            read(Body::from_stream(message.chain(futures_util::stream::pending())), rule)
        };
        let error = open(rules.of(DELETE).expect("a rule")).await.expect_err("it did not end");
        assert_eq!(error.code_and_reason().1, Reason::FirstMessageTimeout);
        assert!(open(rules.of(UPLOAD_RANGE).expect("a rule")).await.is_ok(), "more is to come");
    }
}
