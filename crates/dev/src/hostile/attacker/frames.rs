//! HTTP/2 by hand (RFC 9113): frames that no library would send, and the frames that come back.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::counts::Counts;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// The largest payload unless the other side allows more.
pub const MAX_PAYLOAD: usize = 16_384;

/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const INITIAL_WINDOW: u16 = 4;

/// The names of error codes, by their numbers.
const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(9 + payload.len());
    frame.extend(&(payload.len() as u32).to_be_bytes()[1..]);
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// What a client sends first.
pub fn greeting() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// The same, for a client whose calls have no room for an answer.
pub fn greeting_without_window() -> Vec<u8> {
    let mut setting = INITIAL_WINDOW.to_be_bytes().to_vec();
    setting.extend(0_u32.to_be_bytes());
    [PREFACE, &frame(SETTINGS, 0, 0, &setting)].concat()
}

/// The id of a connection's n-th call.
pub fn stream(number: usize) -> u32 {
    2 * u32::try_from(number).unwrap_or_default() + 1
}

/// The header fields of a gRPC call, each a literal without indexing (RFC 7541, section 6.2.2).
pub fn call(path: &str, token: Option<&str>) -> Vec<u8> {
    let mut block = Vec::new();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "hostile"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    for (name, value) in fields {
        literal(&mut block, 0, name, value);
    }
    if let Some(token) = token {
        literal(&mut block, 0, "authorization", &format!("Bearer {token}"));
    }
    block
}

/// A literal field with a new name. Its first byte is 0, or 0x40 to add it to the table.
pub fn literal(block: &mut Vec<u8>, first: u8, name: &str, value: &str) {
    block.push(first);
    for text in [name, value] {
        length(block, text.len());
        block.extend(text.as_bytes());
    }
}

/// An integer with a prefix of 7 bits (RFC 7541, section 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// A header block in as many frames as it takes. `flags` are those of HEADERS besides END_HEADERS.
pub fn header_frames(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    let count = block.chunks(MAX_PAYLOAD).count();
    let chunks = block.chunks(MAX_PAYLOAD).enumerate();
    let frames = chunks.map(|(number, chunk)| {
        let end = if number + 1 == count { END_HEADERS } else { 0 };
        match number {
            0 => frame(HEADERS, flags | end, stream, chunk),
            _ => frame(CONTINUATION, end, stream, chunk),
        }
    });
    frames.flatten().collect()
}

/// A message of gRPC with its prefix.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u32).to_be_bytes();
    [&[0][..], &length, bytes].concat()
}

/// Reads what the service sends, counts answers and resets, and returns how the connection has ended.
pub async fn read_to_end(socket: &mut (impl AsyncRead + Unpin), counts: &Counts) -> String {
    let mut ending = None;
    loop {
        let mut head = [0; 9];
        if let Err(error) = socket.read_exact(&mut head).await {
            return ending.unwrap_or_else(|| closed(&error));
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if let Err(error) = socket.read_exact(&mut payload).await {
            return ending.unwrap_or_else(|| closed(&error));
        }
        match head[3] {
            HEADERS => counts.add_answer("answers".into()),
            RST_STREAM => counts.add_answer(format!("reset with {}", code(&payload))),
            GOAWAY => ending = Some(format!("GOAWAY {}", code(payload.get(4..).unwrap_or_default()))),
            _ => {}
        }
    }
}

pub fn closed(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "closed".into(),
        std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => "closed (reset)".into(),
        _ => error.to_string(),
    }
}

fn code(bytes: &[u8]) -> String {
    let Some(bytes) = bytes.first_chunk() else { return "no code".into() };
    let code = u32::from_be_bytes(*bytes);
    CODES.get(code as usize).map_or_else(|| code.to_string(), |&name| name.to_owned())
}
