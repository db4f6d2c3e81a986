//! A command of the program, run as people and scripts run it.

use std::{
    ffi::OsString,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, Command as Process},
    task::JoinHandle,
};

use super::{environment, eventually, program::PROGRAM};

/// A command before it starts.
#[derive(Debug)]
pub struct Command {
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
}

/// A running command, killed when it is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    terminal: Option<ChildStdin>,
    stdout: Output,
    stderr: Output,
}

/// What a command has printed so far, and the task that reads it.
#[derive(Debug)]
struct Output {
    text: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Command {
    /// `print-upload NAME`.
    pub fn new(name: &str) -> Self {
        Self { arguments: vec![name.into()], environment: Vec::new() }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub fn file(self, file: &Path) -> Self {
        self.arg(file)
    }

    pub fn start(self) -> Running {
        Running::spawn(self.process())
    }

    /// The process, for a test that sets its outputs itself.
    pub fn process(self) -> Process {
        let mut process = environment::command(PROGRAM);
        process.args(&self.arguments).envs(self.environment).stdin(Stdio::null()).kill_on_drop(true);
        process
    }

    /// Starts it on a terminal of its own, which both outputs go to. Ctrl-C typed there interrupts it.
    pub fn start_on_terminal(self) -> Running {
        let quoted = |word: &OsString| format!("'{}'", word.to_str().expect("text").replace('\'', r"'\''"));
        let words: Vec<String> = self.arguments.iter().map(quoted).collect();
        // `exec` replaces the shell, which would end on Ctrl-C with its own exit code.
        let line = format!("exec '{}' {}", PROGRAM, words.join(" "));
        let mut process = environment::command("script");
        process.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
        process.envs([("TERM", "xterm")]).envs(self.environment).stdin(Stdio::piped()).kill_on_drop(true);
        Running::spawn(process)
    }

    /// Runs it to its end.
    pub async fn run(self) -> Finished {
        self.start().wait_for_end().await
    }
}

impl Running {
    fn spawn(mut process: Process) -> Self {
        process.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = process.spawn().expect("the command starts");
        let stdout = Output::read(child.stdout.take().expect("piped"));
        let stderr = Output::read(child.stderr.take().expect("piped"));
        let terminal = child.stdin.take();
        Self { child, terminal, stdout, stderr }
    }

    /// Waits until it has printed `text` on its standard output or its terminal.
    pub async fn wait_for_text(&self, text: &str) {
        eventually(&format!("{text:?} is printed"), async || self.stdout.so_far().contains(text)).await;
    }

    /// Types on its terminal.
    pub async fn type_in(&mut self, text: &str) {
        let terminal = self.terminal.as_mut().expect("a terminal");
        terminal.write_all(text.as_bytes()).await.expect("it reads");
        terminal.flush().await.expect("it reads");
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it is running");
        kill(Pid::from_raw(pid.try_into().expect("a process id")), signal).expect("the signal is sent");
    }

    pub async fn wait_for_end(mut self) -> Finished {
        let status = self.child.wait().await.expect("it was running");
        let (stdout, stderr) = (self.stdout.all().await, self.stderr.all().await);
        Finished { code: status.code(), stdout, stderr }
    }
}

impl Output {
    fn read(mut output: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let printed = Arc::clone(&text);
        let reading = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer).await {
                printed.lock().expect("unpoisoned").extend_from_slice(&buffer[..length]);
            }
        });
        Self { text, reading }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("unpoisoned")).into_owned()
    }

    async fn all(self) -> String {
        self.reading.await.expect("read");
        let text = self.text.lock().expect("unpoisoned");
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Finished {
    /// The JSON object that it printed.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// Its exit code, and the reason that it printed with `--json`.
    pub fn failure(&self) -> (i32, String) {
        let error: Value = serde_json::from_str(&self.stderr).unwrap_or_else(|_| panic!("no JSON: {}", self.stderr));
        let code = self.code.expect("an exit code");
        assert_eq!(error["error"]["exitCode"], code, "{error}");
        (code, error["error"]["reason"].as_str().unwrap_or_default().to_owned())
    }
}
