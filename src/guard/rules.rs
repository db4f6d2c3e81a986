//! The rule of each RPC, read from the method's option in the proto at start-up.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};

use crate::{
    proto::{DESCRIPTOR, Proof, Rule as ProtoRule},
    store::Purpose,
};

const PACKAGE: &str = "print.upload.v1";
const OPTION: &str = "print.upload.v1.rule";

/// The path of the method that sends a range.
pub const UPLOAD_RANGE: &str = "/print.upload.v1.UploadSessions/UploadRange";

/// The methods that cancel.
const CANCELS: [&str; 2] = ["DeleteUploadSession", "CancelPrintJob"];

/// Every RPC of the package with its rule.
#[derive(Debug)]
pub struct Rules {
    by_path: HashMap<String, Rule>,
}

/// One RPC's rule, in the form that a call is checked against.
#[derive(Debug)]
pub struct Rule {
    /// Scopes, of which a user needs one.
    pub scopes: Vec<String>,
    /// Roles, of which an application needs one.
    pub roles: Vec<String>,
    /// Whether an upload token is accepted.
    pub capability: bool,
    /// The proof that the handler receives.
    pub proof: Proof,
    /// Whether an application needs a print task in `processing` that one of its triggers has started.
    pub processing_task: bool,
    /// Whether a session must be named by its id.
    pub only_session_ids: bool,
    /// Whether more messages follow the first one.
    pub is_client_streaming: bool,
    /// Whether the call cancels an upload, or a job with its upload.
    pub is_cancel: bool,
    /// The field that names the resource, with dots between its parts.
    pub resource_field: String,
    /// The field that holds the etag, if the RPC takes one.
    pub etag_field: Option<String>,
    /// The field that turns a missing session into success, if the RPC has one.
    pub allow_missing_field: Option<String>,
    /// The request message.
    pub input: MessageDescriptor,
}

/// A method has no rule, or one that cannot be enforced. The server does not start.
#[derive(Debug, thiserror::Error)]
#[error("{method}: {problem}")]
pub struct RuleError {
    method: String,
    problem: String,
}

impl Rules {
    /// Reads the rules of the compiled-in proto.
    pub fn load() -> Result<Self, RuleError> {
        Self::from_descriptor(DESCRIPTOR)
    }

    /// Reads the rules of an encoded `FileDescriptorSet`.
    pub fn from_descriptor(descriptor: &[u8]) -> Result<Self, RuleError> {
        let fail = |problem: String| RuleError { method: PACKAGE.into(), problem };
        let pool = DescriptorPool::decode(descriptor).map_err(|error| fail(error.to_string()))?;
        let services = pool.services().filter(|service| service.package_name() == PACKAGE);
        let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
        let by_path = methods
            .map(|method| {
                let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
                Ok((path, Rule::of(&pool, &method)?))
            })
            .collect::<Result<HashMap<_, _>, RuleError>>()?;
        Ok(Self { by_path })
    }

    /// The rule of the RPC at an HTTP path, `/{service}/{method}`.
    pub fn of(&self, path: &str) -> Option<&Rule> {
        self.by_path.get(path)
    }
}

impl Rule {
    /// What the call's session or document is resolved for. Of the calls that prove a session, only DeleteUploadSession
    /// turns a missing one into success, only UploadRange streams its request, and only RenewUploadUrl accepts no
    /// upload token. The fourth is GetUploadSession.
    pub fn purpose(&self) -> Purpose {
        if self.allow_missing_field.is_some() {
            return Purpose::Cancel;
        }
        let reads = self.proof == Proof::OwnedSession && self.capability && !self.is_client_streaming;
        if reads { Purpose::Read } else { Purpose::Other }
    }

    /// Whether a call takes a permit to receive a range: the one method that streams its request is UploadRange.
    pub fn takes_range_permit(&self) -> bool {
        self.is_client_streaming
    }

    fn of(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<Self, RuleError> {
        let fail = |problem: &str| RuleError { method: method.full_name().into(), problem: problem.into() };
        let option = pool.get_extension_by_name(OPTION).ok_or_else(|| fail("the option `rule` is not defined"))?;
        let options = method.options();
        if !options.has_extension(&option) {
            return Err(fail("has no rule: add `option (rule)`"));
        }
        let value = options.get_extension(&option);
        let message = value.as_message().ok_or_else(|| fail("the rule is not a message"))?;
        let rule: ProtoRule = message.transcode_to().map_err(|error| fail(&error.to_string()))?;
        check_enforceable(&rule, method).map_err(fail)?;

        let optional = |field: &str| (!field.is_empty()).then(|| field.to_owned());
        Ok(Self {
            capability: rule.capability,
            proof: rule.proof(),
            processing_task: rule.processing_task,
            only_session_ids: rule.only_session_ids,
            is_client_streaming: method.is_client_streaming(),
            is_cancel: CANCELS.contains(&method.name()),
            etag_field: optional(&rule.etag_field),
            allow_missing_field: optional(&rule.allow_missing_field),
            resource_field: rule.resource_field,
            scopes: rule.delegated_scopes,
            roles: rule.application_roles,
            input: method.input(),
        })
    }
}

/// Fails unless the guard can enforce the rule of a method.
fn check_enforceable(rule: &ProtoRule, method: &MethodDescriptor) -> Result<(), &'static str> {
    let is_catalog = rule.proof() == Proof::CatalogCaller;
    if rule.proof() == Proof::Unspecified {
        return Err("the rule proves nothing");
    }
    if rule.delegated_scopes.is_empty() && rule.application_roles.is_empty() {
        return Err("the rule authorizes no caller");
    }
    if is_catalog == rule.printer_permission {
        return Err("all methods except the catalog's need a printer permission");
    }
    if rule.processing_task && rule.proof() != Proof::PermittedDocument {
        return Err("print tasks are only looked up if the request names a document");
    }
    if method.is_client_streaming() && !rule.only_session_ids {
        return Err("a method that streams its request must accept only session ids");
    }
    if rule.capability && rule.proof() != Proof::OwnedSession {
        return Err("an upload token only authorizes calls for a session");
    }
    for field in [&rule.resource_field, &rule.etag_field, &rule.allow_missing_field] {
        if !field.is_empty() && !has_field(&method.input(), field) {
            return Err("the rule names a field that the request does not have");
        }
    }
    if rule.resource_field.is_empty() {
        return Err("the rule names no resource");
    }
    Ok(())
}

fn has_field(message: &MessageDescriptor, path: &str) -> bool {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Some(field) = message.get_field_by_name(first) else { return false };
    match rest {
        None => true,
        Some(rest) => field.kind().as_message().is_some_and(|inner| has_field(inner, rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_package_has_a_rule() {
        let rules = Rules::load().expect("the compiled-in proto has rules");
        let delete = rules.of("/print.upload.v1.UploadSessions/DeleteUploadSession").expect("a rule");
        assert_eq!(delete.scopes, ["PrintJob.ReadWrite", "PrintJob.ReadWrite.All"]);
        assert_eq!(delete.roles, ["PrintJob.ReadWrite.All"]);
        assert!(rules.of(UPLOAD_RANGE).is_some_and(|rule| rule.only_session_ids));
        assert!(rules.of("/grpc.health.v1.Health/Check").is_none());
    }

    #[test]
    fn a_session_is_read_only_for_who_gets_it_and_canceled_only_by_who_deletes_it() {
        let rules = Rules::load().expect("the compiled-in proto has rules");
        for (method, purpose) in [
            ("CreateUploadSession", Purpose::Other),
            ("GetUploadSession", Purpose::Read),
            ("RenewUploadUrl", Purpose::Other),
            ("UploadRange", Purpose::Other),
            ("DeleteUploadSession", Purpose::Cancel),
        ] {
            let path = format!("/{PACKAGE}.UploadSessions/{method}");
            assert_eq!(rules.of(&path).expect(method).purpose(), purpose, "{method}");
        }
    }

    #[test]
    fn a_method_without_a_rule_is_refused() {
        let mut set = prost_types::FileDescriptorSet::default();
        let request = prost_types::DescriptorProto { name: Some("Request".into()), ..Default::default() };
        let method = prost_types::MethodDescriptorProto {
            name: Some("Call".into()),
            input_type: Some(".print.upload.v1.Request".into()),
            output_type: Some(".print.upload.v1.Request".into()),
            ..Default::default()
        };
        let service = prost_types::ServiceDescriptorProto {
            name: Some("WithoutRule".into()),
            method: vec![method],
            ..Default::default()
        };
        set.file.push(prost_types::FileDescriptorProto {
            name: Some("without_rule.proto".into()),
            package: Some(PACKAGE.into()),
            message_type: vec![request],
            service: vec![service],
            syntax: Some("proto3".into()),
            ..Default::default()
        });
        let descriptor = prost::Message::encode_to_vec(&set);
        let error = Rules::from_descriptor(&descriptor).expect_err("no rule");
        assert!(error.to_string().starts_with("print.upload.v1.WithoutRule.Call: "), "{error}");
    }
}
