//! What happens to an upload when the program is asked to end: the session is kept, or canceled.

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

use super::output;

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
    /// By whoever sits at the terminal.
    Interrupt,
    /// By another program.
    Terminate,
}

/// The signals that ask the program to end.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Asked {
    /// The exit code of a program that ends because of this.
    pub(super) fn exit_code(self) -> u8 {
        128 + match self {
            Self::Interrupt => 2,
            Self::Terminate => 15,
        }
    }
}

impl Signals {
    /// Listens from now on.
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

    /// Whether to cancel the upload; else how the program was asked to end, last. Whoever interrupts again, or says nothing,
    /// keeps it: that can still be changed.
    pub(super) async fn cancels(&mut self, on_interrupt: OnInterrupt, asked: Asked) -> Result<(), Asked> {
        match on_interrupt {
            OnInterrupt::Cancel => Ok(()),
            OnInterrupt::Ask if asked == Asked::Interrupt && is_attended() => tokio::select! {
                answer = question() => match answer {
                    Ok(answer) if answer.trim().eq_ignore_ascii_case("c") => Ok(()),
                    _ => Err(asked),
                },
                again = self.next() => {
                    output::note("");
                    Err(again)
                }
            },
            OnInterrupt::Ask | OnInterrupt::Keep => Err(asked),
        }
    }
}

fn is_attended() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on the terminal. The thread that reads the answer is left behind when nobody waits for it any more: a task of the
/// runtime would keep the program from ending.
fn question() -> oneshot::Receiver<String> {
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
