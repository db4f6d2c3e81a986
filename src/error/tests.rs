use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use print_upload_client::{code_name, retry_delay};
use prost_reflect::DescriptorPool;
use tonic::Status;
use uuid::Uuid;

use super::{Error, Limited, StreamProblem as S, TokenProblem as T};
use crate::{
    blobs,
    name::SessionId,
    permits::{self, Refused},
    proto::DESCRIPTOR,
    quotas::{Limit, Reached},
    store,
};

fn too_many() -> Refused {
    Refused { limit: permits::Limit::Tenant, max: 256 }
}

fn reached(limit: Limit, retry_after: Option<Duration>) -> Error {
    Error::LimitReached(Reached { limit, max: 1, window: None, retry_after })
}

/// At least one error of each reason.
fn errors() -> Vec<Error> {
    let second = Duration::from_secs(1);
    let store_error = || object_store::Error::NotImplemented { operation: "put".into(), implementer: "a test".into() };
    let mut errors = vec![
        Error::MissingToken,
        Error::CredentialTooLarge(1),
        Error::UploadUrlRenewed,
        Error::KeysUnavailable,
        Error::PersonalAccount,
        Error::MissingPermission { needed: "PrintJob.Read".into() },
        Error::UploadTokenNotAccepted,
        Error::NoSubscription,
        Error::NoPrinterPermission,
        Error::NotJobCreator,
        Error::NotSessionOwner,
        Error::NoProcessingTask,
        Error::NotCatalogClient,
        Error::MethodUnknown,
        Error::invalid_field("name", "is required"),
        Error::FirstMessageTimeout(second),
        Error::BodyTooLong { expected: 1, received: 2 },
        Error::BodyTooShort { expected: 2, received: 1 },
        Error::DigestMismatch("CRC32C"),
        Error::PrinterNotFound,
        Error::PrintJobNotFound,
        Error::DocumentNotFound,
        Error::SessionNotFound,
        Error::EtagMismatch,
        Error::ParentNotFound("printer"),
        Error::SessionActive(SessionId(Uuid::nil())),
        Error::DocumentAlreadyUploaded,
        Error::DocumentNotUploaded,
        Error::SessionCanceled,
        Error::SessionExpired,
        Error::SessionCompleted,
        Error::RangeAlreadyReceived,
        Error::RangeRaced,
        Error::DigestConflict,
        Error::RangeTimeout(second),
        Error::DownloadTimeout(second),
        Error::TooManyWriters(4),
        Error::from(too_many()),
        Error::TooManyFragments(1),
        reached(Limit::UserJobs, None),
        reached(Limit::Requests, None),
        Error::PrintJobChanged,
        Error::RequestIdReused,
        Error::PrintJobCanceled,
        Error::PrintJobDeleted,
        Error::OffsetOutOfRange(1),
        Error::from(store::Error::NoAnswer),
        Error::from(blobs::Error::Full(store_error())),
        Error::from(blobs::Error::Unavailable(store_error())),
        Error::BytesMissing("an object".into()),
        Error::Internal("a bug".into()),
    ];
    let tokens = [
        T::NotBearer,
        T::ExtensionUnknown,
        T::Expired,
        T::NotYetValid,
        T::IssuerUnknown,
        T::KeyUnknown,
        T::SignatureInvalid,
        T::AlgorithmWrong,
        T::AudienceWrong,
        T::ClaimMissing,
        T::UploadTokenInvalid,
        T::UploadTokenExpired,
    ];
    let streams = [
        S::NoFirstMessage,
        S::FirstMessageBroken,
        S::FirstMessageCompressed,
        S::FirstMessageTooLarge(64),
        S::FirstMessageInvalid,
        S::NoHeader,
        S::HeaderRepeated,
        S::NoContent,
        S::ChunkTooLarge(1),
        S::Broken,
    ];
    let limits = [Limited::Document, Limited::Range, Limited::Configuration];
    errors.extend(tokens.map(Error::from));
    errors.extend(streams.map(Error::from));
    errors.extend(limits.map(|what| Error::TooLarge { what, limit: 1 }));
    errors
}

/// The comment of each reason in the proto.
fn comments() -> BTreeMap<String, String> {
    let pool = DescriptorPool::decode(DESCRIPTOR).expect("the descriptor");
    let reasons = pool.get_enum_by_name("print.upload.v1.Reason").expect("the reasons");
    let file = reasons.parent_file();
    let locations = &file.file_descriptor_proto().source_code_info.as_ref().expect("comments").location;
    let comment = |path: &[i32]| locations.iter().find(|location| location.path == path)?.leading_comments.clone();
    let comments = reasons.values().filter(|value| value.number() != 0).map(|value| {
        let name = value.name().trim_start_matches("REASON_").to_owned();
        (name, comment(value.path()).expect("a comment").trim().to_owned())
    });
    comments.collect()
}

#[test]
fn the_proto_names_the_code_of_every_reason() {
    let comments = comments();
    let mut given = BTreeSet::new();
    for error in errors() {
        let (code, reason) = error.code_and_reason();
        let comment = &comments[reason.wire_name()];
        assert!(comment.starts_with(&format!("`{}`: ", code_name(code))), "{reason:?}: {comment}");
        given.insert(reason.wire_name());
    }
    // Only the REST gateway uses the others.
    for (name, comment) in comments.iter().filter(|(name, _)| !given.contains(name.as_str())) {
        assert!(comment.starts_with("REST "), "nothing fails with {name}: {comment}");
    }
}

#[test]
fn a_client_retries_what_is_transient() {
    let table = [
        (Error::KeysUnavailable, Some(1)),
        (Error::from(too_many()), Some(1)),
        (Error::TooManyWriters(4), Some(1)),
        (Error::RangeRaced, Some(0)),
        (Error::RangeTimeout(Duration::from_secs(1)), Some(0)),
        (Error::TooManyFragments(1), None),
        (reached(Limit::UserJobs, Some(Duration::from_secs(7))), Some(7)),
        (reached(Limit::TenantBytes, None), None),
        (Error::SessionCanceled, None),
        (Error::SessionExpired, None),
        (Error::EtagMismatch, None),
        (Error::NotSessionOwner, None),
        (Error::MissingToken, None),
        (Error::SessionNotFound, None),
        (Error::Internal("a bug".into()), None),
        (Error::DigestMismatch("CRC32C"), None),
    ];
    for (error, seconds) in table {
        let shown = format!("{error:?}");
        assert_eq!(retry_delay(&Status::from(error)), seconds.map(Duration::from_secs), "{shown}");
    }
}
