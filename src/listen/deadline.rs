//! The deadline that the caller of an RPC gives it (`grpc-timeout`, see "gRPC over HTTP2" of the gRPC project).

use std::time::Duration;

use axum::{body::Body, http::HeaderMap, response::Response};
use tokio::time::timeout;
use tonic::Status;

/// The longest value, in digits.
const MAX_DIGITS: usize = 8;

/// Waits for the answer, up to the deadline. Then the handler is dropped.
pub(super) async fn answer_in_time(limit: Option<Duration>, answer: impl Future<Output = Response>) -> Response {
    let Some(limit) = limit else { return answer.await };
    timeout(limit, answer).await.unwrap_or_else(|_| Status::cancelled("Timeout expired").into_http::<Body>())
}

/// How long the call may take. `None` if the caller gives no deadline, or one that cannot be understood.
pub(super) fn of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let value = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 60 * 60)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use tonic::Code;

    use super::*;

    fn parsed(text: &'static str) -> Option<Duration> {
        of(&HeaderMap::from_iter([("grpc-timeout".parse().expect("a name"), HeaderValue::from_static(text))]))
    }

    #[test]
    fn deadlines_have_a_unit_and_eight_digits() {
        assert_eq!(parsed("5m"), Some(Duration::from_millis(5)));
        assert_eq!(parsed("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        let ten = [("10M", 600_000_000_000), ("10S", 10_000_000_000), ("10u", 10_000), ("10n", 10)];
        for (text, nanos) in ten {
            assert_eq!(parsed(text).map(|limit| limit.as_nanos()), Some(nanos), "{text}");
        }
        for text in ["", "m", "5", "100000000S", "-1S", "+1S", "1.5S", "5s", "5 m"] {
            assert_eq!(parsed(text), None, "{text}");
        }
        assert_eq!(of(&HeaderMap::new()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_late_is_not_waited_for() {
        let late = answer_in_time(Some(Duration::from_secs(1)), std::future::pending()).await;
        let status = Status::from_header_map(late.headers()).expect("a status");
        assert_eq!((status.code(), status.message()), (Code::Cancelled, "Timeout expired"));
    }
}
