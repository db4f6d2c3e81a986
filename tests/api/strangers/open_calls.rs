//! Health and reflection, which are served without a credential.

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use h2::{SendStream, client::ResponseFuture};
use print_upload::listen::Drained;
use tokio::{task::JoinSet, time::timeout};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{CHECK, DEADLINE, REFLECTION, WATCH};
use crate::harness::{App, Program, Stranger, frame, resident_mib, status_of};

/// How many calls one connection may make at once, and how many checks and how many reflection streams there may be.
const CALLS_OF_A_CONNECTION: usize = 4;
const MOST_AT_ONCE: usize = 32;

/// Asks which services there are.
fn list_services() -> Bytes {
    frame(0, 2, &[0x3a, 0])
}

/// Asks about the service as a whole.
fn empty_message() -> Bytes {
    frame(0, 0, b"")
}

/// A reflection stream whose first request was sent.
async fn reflect(stranger: &Stranger) -> (ResponseFuture, SendStream<Bytes>) {
    let (response, mut body) = stranger.call(REFLECTION).await;
    body.send_data(list_services(), false).expect("sent");
    (response, body)
}

/// Waits until the service resets the call.
async fn until_reset(mut body: SendStream<Bytes>) {
    let reset = poll_fn(|context| body.poll_reset(context));
    timeout(DEADLINE, reset).await.expect("it is reset").expect("the connection stays");
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_reset() {
    let app = App::start().await;
    // One byte is enough for HTTP/2 to take the whole answer from the service, and to keep it.
    for window in [0, 1] {
        let stranger = Stranger::with_window(app.address, window).await;
        let (response, body) = reflect(&stranger).await;
        let _answer = response.await.expect("the head of an answer");
        until_reset(body).await;

        let (response, mut body) = stranger.call(WATCH).await;
        body.send_data(empty_message(), true).expect("sent");
        let mut answer = response.await.expect("the head of an answer").into_body();
        let data = async { while let Some(Ok(_)) = answer.data().await {} };
        timeout(DEADLINE, data).await.expect("it is reset");
        assert!(!stranger.is_closed());
    }
}

/// One connection held 847 MiB for 36 MB: single bytes, for streams whose answers had no room.
#[tokio::test]
async fn what_a_stranger_sends_takes_no_memory() {
    const FRAMES: usize = 150_000;
    let (mut app, _) = App::stopped().await;
    let program = Program::serve(&mut app).await;
    let stranger = Stranger::with_window(app.address, 0).await;
    let before = resident_mib(program.id());
    let mut floods = JoinSet::new();
    for _ in 0..CALLS_OF_A_CONNECTION {
        let (response, mut body) = reflect(&stranger).await;
        for _ in 0..6 {
            body.send_data(list_services(), false).expect("sent");
        }
        floods.spawn(async move {
            let _response = response;
            for _ in 0..FRAMES {
                body.reserve_capacity(1);
                let has_room = poll_fn(|context| body.poll_capacity(context)).await;
                if !matches!(has_room, Some(Ok(_))) || body.send_data(Bytes::from_static(b"\0"), false).is_err() {
                    return;
                }
            }
        });
    }

    let flooded = timeout(DEADLINE, floods.join_all());
    tokio::pin!(flooded);
    let mut most = before;
    while flooded.as_mut().now_or_never().is_none() {
        most = most.max(resident_mib(program.id()));
        tokio::task::yield_now().await;
    }
    most = most.max(resident_mib(program.id()));
    assert!(most < before + 40, "{before} MiB before, {most} MiB at most");
}

#[tokio::test]
async fn a_call_takes_ten_seconds_at_most_except_one_that_watches() {
    let app = App::start().await;
    let stranger = Stranger::connect(app.address).await;
    let (response, mut body) = stranger.call(WATCH).await;
    body.send_data(empty_message(), true).expect("sent");
    let mut watching = response.await.expect("an answer").into_body();
    // It comes in pieces: a prefix of five bytes, and two bytes for the health.
    let mut message = Vec::new();
    while message.len() < 7 {
        message.extend(watching.data().await.expect("a message").expect("the health"));
    }

    // Their requests never end.
    let (check, _check_body) = stranger.call(CHECK).await;
    let (watch, _watch_body) = stranger.call(WATCH).await;
    let (reflection, _reflection_body) = reflect(&stranger).await;

    for response in [check, watch, reflection] {
        let status = timeout(DEADLINE, status_of(response)).await.expect("an end").expect("a status");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    }
    assert!(watching.data().now_or_never().is_none(), "there is nothing new, and no end");
    assert_eq!(stranger.ask(CHECK, empty_message()).await.expect("a status").code(), Code::Ok);
}

#[tokio::test]
async fn a_request_is_small() {
    const LARGEST: usize = 4 * 1024;
    let app = App::start().await;
    let stranger = Stranger::connect(app.address).await;
    let named = |length: usize| {
        let mut message = vec![0x0a, (length - 3) as u8 | 0x80, ((length - 3) >> 7) as u8];
        message.resize(length, b'x');
        frame(0, length, &message)
    };
    for (path, length, expected) in [
        (CHECK, LARGEST, Code::NotFound),
        (CHECK, LARGEST + 1, Code::ResourceExhausted),
        (WATCH, LARGEST, Code::NotFound),
        (WATCH, LARGEST + 1, Code::ResourceExhausted),
        (REFLECTION, LARGEST + 1, Code::ResourceExhausted),
    ] {
        let status = stranger.ask(path, named(length)).await.expect("a status");
        assert_eq!(status.code(), expected, "{path}, {length} bytes: {status:?}");
    }
}

#[tokio::test]
async fn few_calls_run_at_once() {
    let app = App::start().await;
    let (mut strangers, mut held) = (Vec::new(), Vec::new());
    for _ in 0..MOST_AT_ONCE / CALLS_OF_A_CONNECTION {
        let stranger = Stranger::connect(app.address).await;
        for _ in 0..CALLS_OF_A_CONNECTION {
            let (response, body) = reflect(&stranger).await;
            held.push((response.await.expect("it runs"), body));
        }
        let status = stranger.ask(CHECK, empty_message()).await.expect("a status");
        assert_eq!(status.code(), Code::ResourceExhausted, "the connection makes four calls");
        strangers.push(stranger);
    }
    let another = Stranger::connect(app.address).await;
    let status = another.ask(REFLECTION, list_services()).await.expect("a status");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let status = another.ask(CHECK, empty_message()).await.expect("a status");
    assert_eq!(status.code(), Code::Ok, "whoever reflects takes nothing from health checks: {status:?}");
    drop(held);
}

#[tokio::test]
async fn strangers_do_not_keep_others_from_checking() {
    let app = App::start().await;
    let another = Stranger::connect(app.address).await;
    let (mut strangers, mut held) = (Vec::new(), Vec::new());
    for _ in 0..2 * MOST_AT_ONCE / CALLS_OF_A_CONNECTION {
        let stranger = Stranger::with_window(app.address, 0).await;
        for _ in 0..CALLS_OF_A_CONNECTION {
            let (response, mut body) = stranger.call(CHECK).await;
            body.send_data(empty_message(), true).expect("sent");
            held.push(response.await.expect("the head of an answer that nobody takes"));
        }
        strangers.push(stranger);
        let status = another.ask(CHECK, empty_message()).await.expect("a status");
        assert_eq!(status.code(), Code::Ok, "{status:?}");
    }
}

#[tokio::test]
async fn reflection_can_be_turned_off() {
    for (flag, expected) in [("true", Code::Ok), ("false", Code::Unimplemented)] {
        let app = App::with([("reflection", flag)]).await;
        let stranger = Stranger::connect(app.address).await;
        let alpha = REFLECTION.replace("v1.", "v1alpha.");
        for path in [REFLECTION, alpha.as_str()] {
            let status = stranger.ask(path, list_services()).await.expect("a status");
            assert_eq!(status.code(), expected, "{path}: {status:?}");
        }
        assert_eq!(stranger.ask(CHECK, empty_message()).await.expect("a status").code(), Code::Ok);
    }
}

#[tokio::test]
async fn open_streams_do_not_hold_up_a_stop() {
    let mut app = App::with([("drain-timeout", "10m")]).await;
    let channel = Endpoint::from_shared(format!("http://{}", app.address)).expect("an address").connect_lazy();
    let request = HealthCheckRequest { service: String::new() };
    let mut watched = HealthClient::new(channel).watch(request).await.expect("an answer").into_inner();
    let mut next = async || watched.message().await.map(|message| message.expect("a message").status());
    assert_eq!(next().await.expect("the health"), ServingStatus::Serving);
    let stranger = Stranger::with_window(app.address, 0).await;
    let (response, _body) = reflect(&stranger).await;
    response.await.expect("an answer that nobody reads");

    let drained = timeout(Duration::from_secs(60), app.stop()).await.expect("it does not wait for them");

    assert_eq!(drained, Drained::All);
    let mut last = next().await;
    if last.as_ref().is_ok_and(|status| *status == ServingStatus::NotServing) {
        last = next().await;
    }
    assert_eq!(last.expect_err("an end").code(), Code::Unavailable);
}
