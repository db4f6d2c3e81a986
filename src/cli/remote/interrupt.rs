//! What happens to an upload when SIGINT or SIGTERM stops the program: its session is kept or canceled.

use std::{
    io::{self, IsTerminal, Write},
    thread,
};

use anyhow::Context;
use clap::ValueEnum;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::{exit::Exit, output};

/// What to do with the session when the upload is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnInterrupt {
    /// Ask on the terminal. Keep the session if there is no terminal, or with --json.
    Ask,
    /// Keep the session, to resume the upload later.
    Keep,
    /// Cancel the upload.
    Cancel,
}

/// A signal that stops the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopSignal {
    /// SIGINT, which Ctrl-C sends.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// What to do with the session.
pub(super) enum Decision {
    Cancel,
    /// Keep it. The exit code is that of the last signal.
    Keep(StopSignal),
}

/// Listens for the signals that stop the program.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    /// The exit code of a program that ends because of this.
    pub(super) fn exit(self) -> Exit {
        match self {
            Self::Interrupt => Exit::Interrupted,
            Self::Terminate => Exit::Terminated,
        }
    }
}

impl Signals {
    pub(super) fn listen() -> anyhow::Result<Self> {
        let interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        Ok(Self { interrupt, terminate })
    }

    /// Waits for a signal.
    pub(super) async fn next(&mut self) -> StopSignal {
        tokio::select! {
            _ = self.interrupt.recv() => StopSignal::Interrupt,
            _ = self.terminate.recv() => StopSignal::Terminate,
        }
    }

    /// Decides what to do with the session. A second signal and an empty answer keep it: it can be canceled later.
    pub(super) async fn decide(&mut self, on_interrupt: OnInterrupt, signal: StopSignal) -> Decision {
        match on_interrupt {
            OnInterrupt::Cancel => Decision::Cancel,
            OnInterrupt::Ask if signal == StopSignal::Interrupt && is_attended() => tokio::select! {
                answer = ask() => match answer {
                    Ok(answer) if answer.trim().eq_ignore_ascii_case("c") => Decision::Cancel,
                    _ => Decision::Keep(signal),
                },
                again = self.next() => {
                    output::note("");
                    Decision::Keep(again)
                }
            },
            OnInterrupt::Ask | OnInterrupt::Keep => Decision::Keep(signal),
        }
    }
}

fn is_attended() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on the terminal. A separate thread reads the answer, and keeps waiting when the receiver is dropped: a task of
/// the runtime would prevent the program from ending.
fn ask() -> oneshot::Receiver<String> {
    let (answer, answered) = oneshot::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let written = write!(io::stderr(), "\nKeep the upload session, to resume later, or cancel the upload? [K/c] ");
        if written.is_ok() && io::stdin().read_line(&mut line).is_ok() {
            drop(answer.send(line));
        }
    });
    answered
}
