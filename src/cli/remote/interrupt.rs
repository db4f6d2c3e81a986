//! What happens to an upload when the program is asked to end: its session is kept or canceled.

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
    /// Ask on the terminal; keep it where there is none, or with --json.
    Ask,
    /// Keep it, to resume later.
    Keep,
    /// Cancel the upload.
    Cancel,
}

/// How the program was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// With SIGINT, which Ctrl-C sends.
    Interrupt,
    /// With SIGTERM.
    Terminate,
}

/// What is done with the session.
pub(super) enum Decision {
    Cancel,
    /// Keep it. The program ends as it was asked to last.
    Keep(Asked),
}

/// The signals that ask the program to end.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Asked {
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

    /// Waits until the program is asked to end.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.terminate.recv() => Asked::Terminate,
        }
    }

    /// Decides what to do with the session. A second interruption and an empty answer keep it: it can be canceled later.
    pub(super) async fn decide(&mut self, on_interrupt: OnInterrupt, asked: Asked) -> Decision {
        match on_interrupt {
            OnInterrupt::Cancel => Decision::Cancel,
            OnInterrupt::Ask if asked == Asked::Interrupt && is_attended() => tokio::select! {
                answer = ask() => match answer {
                    Ok(answer) if answer.trim().eq_ignore_ascii_case("c") => Decision::Cancel,
                    _ => Decision::Keep(asked),
                },
                again = self.next() => {
                    output::note("");
                    Decision::Keep(again)
                }
            },
            OnInterrupt::Ask | OnInterrupt::Keep => Decision::Keep(asked),
        }
    }
}

fn is_attended() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on the terminal. A thread of its own reads the answer, and keeps waiting for it when this is dropped: a task of the
/// runtime would keep the program from ending.
fn ask() -> oneshot::Receiver<String> {
    let (answer, answered) = oneshot::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let asked = write!(io::stderr(), "\nKeep the upload session, to resume later, or cancel the upload? [K/c] ");
        if asked.is_ok() && io::stdin().read_line(&mut line).is_ok() {
            drop(answer.send(line));
        }
    });
    answered
}
