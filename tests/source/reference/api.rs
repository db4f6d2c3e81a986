//! docs/reference/api.md, from the comments and rules of the protos.

use std::fmt::Write as _;

use print_upload::proto::{DESCRIPTOR, Proof};
use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, Value,
};

const PACKAGE: &str = "print.upload.v1";

/// The services in the order of the page.
const SERVICES: [&str; 4] = ["UploadSessions", "PrintDocuments", "PrintJobs", "PrintCatalog"];

/// The proofs that mean more than a permission.
const OWNED_SESSION: i32 = Proof::OwnedSession as i32;
const CATALOG_CALLER: i32 = Proof::CatalogCaller as i32;

const INTRODUCTION: &str = "\
# API reference

<!-- Generated from the comments in proto/print/upload/v1: run `make docs`. -->

Every error has the code and one `google.rpc.ErrorInfo` with the reason in brackets and the domain `print-upload`.
[Reasons](#reasons) lists them all. A range's `end` is exclusive. [openapi.json](../openapi.json) has the same over REST.
";

pub fn page() -> String {
    let pool = DescriptorPool::decode(DESCRIPTOR).expect("the descriptor");
    let mut page = INTRODUCTION.to_owned();
    for name in SERVICES {
        let service = pool.get_service_by_name(&format!("{PACKAGE}.{name}")).expect("a service");
        let _ = write!(page, "\n## {name}\n\n{}\n", comment(&service.parent_file(), service.path()));
        for method in service.methods() {
            page += &section_of(&method);
        }
    }
    page += &reasons_section(&pool);
    page += "\n## Messages\n";
    let mut messages: Vec<MessageDescriptor> = pool
        .all_messages()
        .filter(|message| message.package_name() == PACKAGE && message.full_name() != RULE)
        .collect();
    messages.sort_by(|one, other| one.name().cmp(other.name()));
    for message in messages {
        page += &message_section(&message);
    }
    page
}

/// The message that rules are written in. It gets no section: the methods list their rules.
const RULE: &str = "print.upload.v1.Rule";

fn section_of(method: &MethodDescriptor) -> String {
    let (input, output) = (linked(&method.input()), linked(&method.output()));
    let stream = |streams: bool| if streams { "stream of " } else { "" };
    format!(
        "\n### {}\n\n{}{input} → {}{output}\n\n{}\n\n{}",
        method.name(),
        stream(method.is_client_streaming()),
        stream(method.is_server_streaming()),
        comment(&method.parent_service().parent_file(), method.path()),
        who(method),
    )
}

/// Who may call a method, from its rule.
fn who(method: &MethodDescriptor) -> String {
    let options = method.options();
    let extension = method.parent_pool().get_extension_by_name("print.upload.v1.rule").expect("the rule's extension");
    let rule = options.get_extension(&extension);
    let rule = rule.as_message().expect("a rule");
    let names = |field: &str| {
        let value = rule.get_field_by_name(field).expect("a field of a rule");
        let names = value.as_list().expect("names").iter().filter_map(Value::as_str);
        let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let is_set = |field: &str| rule.get_field_by_name(field).and_then(|value| value.as_bool()).expect("yes or no");
    let mut who = format!(
        "- delegated scopes, one of: {}\n- application roles, one of: {}\n",
        names("delegated_scopes"),
        names("application_roles")
    );
    if is_set("printer_permission") {
        who += "- and a permission on the printer or its share\n";
    }
    if is_set("processing_task") {
        who += "- an application also needs a print task of its own in `processing` on the job\n";
    }
    who += match rule.get_field_by_name("proof").and_then(|proof| proof.as_enum_number()) {
        Some(CATALOG_CALLER) => "- and the application is one of `--catalog-client`\n",
        Some(OWNED_SESSION) => "- and only the one who created the session\n",
        _ => "",
    };
    if is_set("capability") {
        who += "- or the upload token of the session, alone\n";
    }
    who
}

/// Every reason with its code. A comment begins with the code and a colon.
fn reasons_section(pool: &DescriptorPool) -> String {
    let reasons = pool.get_enum_by_name("print.upload.v1.Reason").expect("the reasons");
    let file = reasons.parent_file();
    let mut section = format!("\n## Reasons\n\n{}\n\n", comment(&file, reasons.path()));
    section += "| reason | code | meaning, and what to do |\n|---|---|---|\n";
    for reason in reasons.values().filter(|reason| reason.number() != 0) {
        let name = reason.name().trim_start_matches("REASON_");
        let comment = comment(&file, reason.path()).replace('\n', " ");
        let (code, meaning) = comment.split_once(": ").expect("a code, and what it means");
        let _ = writeln!(section, "| `{name}` | {code} | {meaning} |");
    }
    section
}

fn message_section(message: &MessageDescriptor) -> String {
    let file = message.parent_file();
    let mut section = format!("\n### {}\n\n{}\n", message.name(), comment(&file, message.path()));
    if message.fields().len() > 0 {
        section += "\n| field | type | |\n|---|---|---|\n";
    }
    for field in message.fields() {
        let text = comment(&file, field.path()).replace('\n', " ");
        let _ = writeln!(section, "| `{}` | {} | {text} |", field.name(), type_of(&field));
    }
    for nested in message.child_enums() {
        section += &enum_section(&file, &nested);
    }
    section
}

fn enum_section(file: &FileDescriptor, values: &EnumDescriptor) -> String {
    let mut section = format!("\n`{}`: {}\n\n", values.name(), comment(file, values.path()));
    for value in values.values() {
        let _ = writeln!(section, "- `{}`: {}", value.name(), comment(file, value.path()).replace('\n', " "));
    }
    section
}

fn type_of(field: &FieldDescriptor) -> String {
    let name = match field.kind() {
        Kind::Message(message) => linked(&message),
        Kind::Enum(values) => format!("`{}`", values.name()),
        scalar => format!("`{scalar:?}`").to_lowercase(),
    };
    match (field.cardinality(), field.containing_oneof()) {
        (Cardinality::Repeated, _) => format!("{name}, any number"),
        (_, Some(oneof)) if oneof.is_synthetic() => format!("{name}, optional"),
        (_, Some(oneof)) => format!("{name}, one of `{}`", oneof.name()),
        _ => name,
    }
}

/// A message of ours with a link to its section.
fn linked(message: &MessageDescriptor) -> String {
    if message.package_name() != PACKAGE {
        return format!("`{}`", message.full_name());
    }
    format!("[`{}`](#{})", message.name(), message.name().to_lowercase())
}

fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let described = file.file_descriptor_proto().source_code_info.iter().flat_map(|info| &info.location);
    let mut described = described.filter(|location| location.path == path);
    let comment = described.find_map(|location| location.leading_comments.as_deref()).unwrap_or_default();
    let lines: Vec<&str> = comment.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n").trim().to_owned()
}
