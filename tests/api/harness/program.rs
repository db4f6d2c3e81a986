//! The real programs, as processes of their own.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::{ExitStatus, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::mpsc,
};

use super::{App, environment};

/// The program that ships.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_print-upload");

const FREE_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A running program, killed when it is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    /// The lines that were read so far.
    output: Vec<String>,
}

impl Program {
    /// Starts the program with these arguments.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// The same, with variables in its environment.
    pub fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = environment::command(PROGRAM);
        command.args(arguments).envs(variables.iter().copied());
        Self::spawn(command)
    }

    /// Starts `print-upload-dev` with these arguments.
    pub fn start_dev(arguments: &[&str]) -> Self {
        let program = Path::new(PROGRAM).with_file_name("print-upload-dev");
        assert!(program.exists(), "{} is not built: cargo build --workspace", program.display());
        let mut command = environment::command(program);
        command.args(arguments);
        Self::spawn(command)
    }

    /// Starts `serve` on the data of an app, with a program that aborts at a crash point.
    pub fn start_crashing(app: &App, crash_at: &str) -> Self {
        let program = Path::new(PROGRAM).with_file_name("print-upload-crashing");
        assert!(program.exists(), "{} is not built: make crash-points", program.display());
        let mut command = environment::command(program);
        command.args(serve_arguments(app, FREE_PORT)).env("CRASH_AT", crash_at);
        Self::spawn(command)
    }

    /// Starts a command with these arguments, with a program that aborts at a crash point.
    pub fn start_crashing_command(arguments: &[&str], crash_at: &str) -> Self {
        let program = Path::new(PROGRAM).with_file_name("print-upload-crashing");
        assert!(program.exists(), "{} is not built: make crash-points", program.display());
        let mut command = environment::command(program);
        command.args(arguments).env("CRASH_AT", crash_at);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the program starts");
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(collect(child.stdout.take().expect("its output"), sender.clone()));
        tokio::spawn(collect(child.stderr.take().expect("its log"), sender));
        Self { child, lines, output: Vec::new() }
    }

    /// Starts `serve` on the data of an app, whose actors then call this program.
    pub async fn serve(app: &mut App) -> Self {
        Self::serve_with(app, &[]).await
    }

    /// The same at an address, where an earlier program may have listened.
    pub async fn serve_at(app: &mut App, address: SocketAddr) -> Self {
        Self::serve_at_with(app, address, &[]).await
    }

    /// The same on a free port, with variables in its environment.
    pub async fn serve_with(app: &mut App, variables: &[(&str, &str)]) -> Self {
        Self::serve_at_with(app, FREE_PORT, variables).await
    }

    /// Starts `serve` as a process that may open this many descriptors.
    pub async fn serve_with_descriptors(app: &mut App, descriptors: usize) -> Self {
        let mut command = environment::command("sh");
        command.arg("-c").arg(format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")).arg(PROGRAM);
        command.args(serve_arguments(app, FREE_PORT));
        let mut program = Self::spawn(command);
        program.wait_until_serving(app).await;
        program
    }

    async fn serve_at_with(app: &mut App, address: SocketAddr, variables: &[(&str, &str)]) -> Self {
        let arguments = serve_arguments(app, address);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut program = Self::start_with(&arguments, variables);
        program.wait_until_serving(app).await;
        program
    }

    /// Waits until it serves the data of an app, whose actors then call it.
    pub async fn wait_until_serving(&mut self, app: &mut App) {
        app.rest_address = self.address_of("serving REST").await;
        app.address = self.address_of("serving").await;
    }

    /// Starts `gateway` in front of services, and returns the address where it serves.
    pub async fn gateway(upstreams: &[SocketAddr], flags: &[&str]) -> (Self, SocketAddr) {
        Self::gateway_with(upstreams, flags, &[]).await
    }

    /// The same, with variables in its environment.
    pub async fn gateway_with(
        upstreams: &[SocketAddr],
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> (Self, SocketAddr) {
        let upstreams: Vec<String> = upstreams.iter().map(|address| format!("--upstream=http://{address}")).collect();
        let mut arguments = vec!["--log-json", "gateway", "--rest-listen=127.0.0.1:0"];
        arguments.extend(upstreams.iter().map(String::as_str));
        arguments.extend(flags);
        let mut program = Self::start_with(&arguments, variables);
        let address = program.address_of("serving REST").await;
        (program, address)
    }

    /// The next of its log lines that contains `text`.
    pub async fn log_line(&mut self, text: &str) -> serde_json::Value {
        let line = self.wait_for_line(text).await;
        serde_json::from_str(&line).expect("a line of JSON")
    }

    /// Where a program that was started with `--admin-listen` serves operators.
    pub fn admin_address(&self) -> SocketAddr {
        let line = self.output.iter().find(|line| line.contains(r#""message":"serving operators""#));
        address_in(line.expect("it has logged where it serves operators"))
    }

    /// The address that it logs with a message.
    async fn address_of(&mut self, message: &str) -> SocketAddr {
        let line = self.wait_for_line(&format!(r#""message":"{message}""#)).await;
        address_in(&line)
    }

    /// Waits for a line of its output that contains `text`.
    pub async fn wait_for_line(&mut self, text: &str) -> String {
        while let Some(line) = self.lines.recv().await {
            self.output.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
        panic!("the program ended without printing {text:?}:\n{}", self.output.join("\n"));
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it is running")
    }

    /// Kills it, to simulate a crash.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it was running");
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        kill(Pid::from_raw(self.id().try_into().expect("a process id")), Signal::SIGTERM).expect("the signal is sent");
    }

    /// Waits for its end. Returns its exit status and everything that it printed.
    pub async fn wait_for_end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().await.expect("it was running");
        while let Some(line) = self.lines.recv().await {
            self.output.push(line);
        }
        (status, self.output.join("\n"))
    }

    /// Runs the program with these arguments to its end.
    pub async fn run(arguments: &[&str]) -> (ExitStatus, String) {
        Self::start(arguments).wait_for_end().await
    }

    /// Runs `print-upload-dev` with these arguments to its end.
    pub async fn run_dev(arguments: &[&str]) -> (ExitStatus, String) {
        Self::start_dev(arguments).wait_for_end().await
    }
}

fn serve_arguments(app: &App, address: SocketAddr) -> Vec<String> {
    let listen = format!("--listen={address}");
    let arguments = ["--log-json", "serve", &listen, "--rest-listen=127.0.0.1:0"].map(str::to_owned);
    arguments.into_iter().chain(app.flags().map(|(flag, value)| format!("--{flag}={value}"))).collect()
}

fn address_in(line: &str) -> SocketAddr {
    let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
    line["fields"]["address"].as_str().expect("an address").parse().expect("an address")
}

async fn collect(output: impl AsyncRead + Unpin, lines: mpsc::UnboundedSender<String>) {
    let mut output = BufReader::new(output).lines();
    while let Ok(Some(line)) = output.next_line().await {
        if lines.send(line).is_err() {
            return;
        }
    }
}
