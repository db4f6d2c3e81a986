//! What commands print: text for people, and the proto's messages in JSON for programs.

use std::{
    fmt::Display,
    io::{self, Write},
    time::SystemTime,
};

use anyhow::Context;
use print_upload_client::state_name;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use super::{Exit, Failure};
use crate::{
    proto::{DESCRIPTOR, Principal, PrintDocument, UploadSession, principal::Identity, upload_session::State},
    text::is_invisible,
};

/// How many missing ranges the text for people lists.
const LISTED_RANGES: usize = 4;

/// Prints lines on standard output. Fails when it is closed.
pub(super) fn print(lines: impl Display) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{}", printable(&lines.to_string()))
        .map_err(|error| Failure::new(Exit::Other, format!("standard output: {error}")))
}

/// Prints lines on standard error. Ignores failures.
pub(super) fn note(lines: impl Display) {
    drop(writeln!(io::stderr().lock(), "{}", printable(&lines.to_string())));
}

/// Escapes the characters that would control the terminal: names and messages come from other people. The escapes are
/// those of JSON, so that JSON text keeps its meaning.
pub(super) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if is_invisible(character) && character != '\n' {
            printable.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            printable.push(character);
        }
    }
    printable
}

/// A session in the JSON form of `UploadSession`, except that 64-bit numbers are numbers and that fields without a
/// value are included. Its upload URL is a secret, and left out unless asked for.
pub(super) fn session_json(session: &UploadSession, with_upload_url: bool) -> anyhow::Result<Value> {
    let mut value = json("UploadSession", session)?;
    if let Some(fields) = value.as_object_mut().filter(|_| !with_upload_url) {
        fields.remove("uploadUrl");
    }
    Ok(value)
}

/// A document in the JSON form of `PrintDocument`, with numbers as numbers.
pub(super) fn document_json(document: &PrintDocument) -> anyhow::Result<Value> {
    json("PrintDocument", document)
}

fn json(name: &str, message: &impl prost::Message) -> anyhow::Result<Value> {
    let pool = DescriptorPool::decode(DESCRIPTOR)?;
    let descriptor = pool.get_message_by_name(&format!("print.upload.v1.{name}")).context("unknown message")?;
    let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
    let options = SerializeOptions::new().stringify_64_bit_integers(false).skip_default_fields(false);
    Ok(message.serialize_with_options(serde_json::value::Serializer, &options)?)
}

/// A session for people.
pub(super) fn session_text(session: &UploadSession, with_upload_url: bool) -> String {
    let properties = session.properties.clone().unwrap_or_default();
    let mut lines = vec![
        format!("{} {}", session.name, state_name(session.state())),
        format!("  document  {}", session.document),
        format!("  name      {} ({})", properties.document_name, properties.content_type),
        format!("  received  {} of {} bytes", session.received_bytes, properties.size_bytes),
        format!("  owner     {}", principal_text(session.owner.as_ref())),
        format!("  created   {}", time(session.create_time)),
    ];
    if session.state() == State::Active {
        lines.push(format!("  missing   {}", missing(session)));
        lines.push(format!("  expires   {}", time(session.expire_time)));
    } else {
        let reason = session.end_reason().as_str_name().trim_start_matches("END_REASON_").to_owned();
        let by = session.ended_by.as_ref().map(|by| format!(" by {}", principal_text(Some(by)))).unwrap_or_default();
        lines.push(format!("  ended     {}, {reason}{by}", time(session.end_time)));
    }
    if with_upload_url && !session.upload_url.is_empty() {
        lines.push(format!("  URL       {}", session.upload_url));
    }
    lines.join("\n")
}

/// The first missing ranges, as `[start, end)`.
fn missing(session: &UploadSession) -> String {
    let ranges = &session.next_expected_ranges;
    let listed: Vec<String> =
        ranges.iter().take(LISTED_RANGES).map(|range| format!("[{}, {})", range.start, range.end)).collect();
    let more = ranges.len().saturating_sub(LISTED_RANGES);
    if more == 0 { listed.join(" ") } else { format!("{} and {more} more", listed.join(" ")) }
}

fn principal_text(principal: Option<&Principal>) -> String {
    match principal.and_then(|principal| principal.identity.as_ref()) {
        Some(Identity::User(oid)) => format!("user {oid}"),
        Some(Identity::Application(id)) => format!("application {id}"),
        None => "unknown".into(),
    }
}

/// A point in time, in the format of RFC 3339.
pub(super) fn time(timestamp: Option<prost_types::Timestamp>) -> String {
    let time = timestamp.and_then(|timestamp| SystemTime::try_from(timestamp).ok());
    time.map_or_else(|| "unknown".into(), |time| humantime::format_rfc3339_seconds(time).to_string())
}

/// The CRC32C of a document, as eight hexadecimal digits.
pub(super) fn crc32c(document: &PrintDocument) -> String {
    document.crc32c.map_or_else(|| "unknown".into(), |crc| format!("{crc:08x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_text_does_not_control_the_terminal() {
        assert_eq!(printable("Plakat für\nмир"), "Plakat für\nмир");
        assert_eq!(printable("\u{1b}[2Ja\u{202e}fdp.exe\r"), r"\u001b[2Ja\u202efdp.exe\u000d");
        assert_eq!(printable("a\u{2028}b\u{200b}\u{feff}\u{2062}c"), r"a\u2028b\u200b\ufeff\u2062c");
        let json = Value::from("a\u{1b}\u{202e}\u{7f}\u{2029}");
        assert_eq!(serde_json::from_str::<Value>(&printable(&json.to_string())).expect("JSON"), json);
    }
}
