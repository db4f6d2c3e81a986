//! The problems of a token, of a request's messages, and of a size, each with its reason.

use crate::proto::Reason;

/// Why an access token or an upload token is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    #[error("the authorization metadata is not `Bearer` and a token")]
    NotBearer,
    #[error("the access token is not a signed JWT")]
    NotSigned,
    #[error("the access token has no claims `iss` and `tid`")]
    NoIssuerOrTenant,
    #[error("the access token is malformed")]
    Malformed,
    #[error("the access token's header names critical extensions (`crit`), and the service understands none")]
    ExtensionUnknown,
    #[error("the access token's `tid` is not a GUID")]
    TenantNotGuid,
    #[error("the access token has no `oid`")]
    NoObjectId,
    #[error("the access token's claim `{0}` has a value of the wrong type")]
    ClaimMalformed(&'static str),
    #[error(
        "the access token has neither `scp`, as a user's has, nor `idtyp` with the value `app`, as an application's \
         has: for applications, turn on the optional claim `idtyp` of access tokens in the registration of this API"
    )]
    NeitherUserNorApplication,
    #[error("the access token has `scp`, as a user's has, and `idtyp` with the value `app`, as an application's has")]
    BothUserAndApplication,
    #[error("the access token names no client application")]
    NoClientApplication,
    #[error("the access token lacks one of `exp`, `iss` and `aud`")]
    ClaimMissing,
    #[error("the access token's issuer is not trusted, or not for this tenant")]
    IssuerUnknown,
    #[error("the access token does not name its key (`kid`)")]
    NoKeyId,
    #[error("the access token's key is not one of its issuer's")]
    KeyUnknown,
    #[error("the access token's signature is not valid")]
    SignatureInvalid,
    #[error("the access token is not signed with its key's algorithm")]
    AlgorithmWrong,
    #[error("the access token is for another audience")]
    AudienceWrong,
    #[error("the access token has expired")]
    Expired,
    #[error("the access token is not valid yet")]
    NotYetValid,
    #[error("the upload token is not valid")]
    UploadTokenInvalid,
    #[error("the upload token has expired")]
    UploadTokenExpired,
}

/// Why the messages of a request do not follow the protocol of the method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamProblem {
    #[error("the request ended before its first message")]
    NoFirstMessage,
    #[error("the request broke off in its first message")]
    FirstMessageBroken,
    /// The request has its one message, but its end did not arrive.
    #[error("the request broke off after its message")]
    EndBroken,
    #[error("the messages must not be compressed")]
    FirstMessageCompressed,
    /// The limit, in KiB.
    #[error("the first message may have at most {0} KiB")]
    FirstMessageTooLarge(usize),
    #[error("the first message is not a valid request")]
    FirstMessageInvalid,
    #[error("the call takes one message")]
    MoreThanOneMessage,
    #[error("the first message must be the header")]
    NoHeader,
    #[error("only the first message is a header")]
    HeaderRepeated,
    #[error("a message has neither a header nor a chunk")]
    NoContent,
    /// The limit, in bytes.
    #[error("a chunk may have at most {0} bytes")]
    ChunkTooLarge(usize),
    #[error("the request broke off, or holds a message that is not valid")]
    Broken,
}

/// A value with a limit on its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// A document, by the size given when its session is created.
    Document,
    /// A range, by its header.
    Range,
    /// The configuration of a print job.
    Configuration,
}

impl TokenProblem {
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::NotBearer | Self::NotSigned | Self::NoIssuerOrTenant | Self::Malformed | Self::ExtensionUnknown => {
                Reason::TokenMalformed
            }
            Self::TenantNotGuid
            | Self::NoObjectId
            | Self::ClaimMalformed(_)
            | Self::NeitherUserNorApplication
            | Self::BothUserAndApplication
            | Self::NoClientApplication
            | Self::ClaimMissing => Reason::TokenClaimsInvalid,
            Self::IssuerUnknown => Reason::TokenIssuerUnknown,
            Self::NoKeyId | Self::KeyUnknown => Reason::TokenKeyUnknown,
            Self::SignatureInvalid => Reason::TokenSignatureInvalid,
            Self::AlgorithmWrong => Reason::TokenAlgorithmWrong,
            Self::AudienceWrong => Reason::TokenAudienceWrong,
            Self::Expired => Reason::TokenExpired,
            Self::NotYetValid => Reason::TokenNotYetValid,
            Self::UploadTokenInvalid => Reason::UploadTokenInvalid,
            Self::UploadTokenExpired => Reason::UploadTokenExpired,
        }
    }
}

impl StreamProblem {
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::NoFirstMessage => Reason::FirstMessageMissing,
            Self::FirstMessageBroken | Self::EndBroken => Reason::FirstMessageBroken,
            Self::FirstMessageCompressed => Reason::FirstMessageCompressed,
            Self::FirstMessageTooLarge(_) => Reason::FirstMessageTooLarge,
            Self::FirstMessageInvalid | Self::MoreThanOneMessage => Reason::FirstMessageMalformed,
            Self::NoHeader => Reason::HeaderMissing,
            Self::HeaderRepeated => Reason::HeaderRepeated,
            Self::NoContent => Reason::ContentMissing,
            Self::ChunkTooLarge(_) => Reason::ChunkTooLarge,
            Self::Broken => Reason::StreamBroken,
        }
    }
}

impl Limited {
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Document => Reason::DocumentTooLarge,
            Self::Range => Reason::RangeTooLarge,
            Self::Configuration => Reason::ConfigurationTooLarge,
        }
    }

    /// The field of the request that exceeds the limit, with dots between its parts.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Document => "properties.size_bytes",
            Self::Range => "header.end",
            Self::Configuration => "configuration",
        }
    }
}
