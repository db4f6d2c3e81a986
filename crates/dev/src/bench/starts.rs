//! Row 14: how long the program takes to be ready.

use std::{
    fs::OpenOptions,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tokio::task::spawn_blocking;

use super::{
    Bench,
    report::{Bar, Figure, Unit},
    system::ServeOptions,
};

/// How long a start may take.
const START: Duration = Duration::from_secs(30);

/// How often it is asked.
const POLL: Duration = Duration::from_micros(500);

pub async fn run(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    bench.system.reset().await?;
    let mut arguments = bench.system.arguments(ServeOptions::default())?;
    arguments.insert(0, "--log-json".into());
    let mut times = Vec::new();
    for _ in 0..bench.count(20, 3) {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let log = OpenOptions::new().create(true).append(true).open(bench.system.folder().join("starts.log"))?;
        let mut command = Command::new(bench.system.program());
        command.args(&arguments).args(["--listen=127.0.0.1:0", "--rest-listen=127.0.0.1:0"]);
        command.arg(format!("--admin-listen={address}")).env_remove("DATABASE_URL");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        times.push(spawn_blocking(move || start(&mut command, address)).await??);
    }
    let note = format!("p50 of {}", times.len());
    Ok(vec![Figure::new("start until ready", Unit::Milliseconds, times).with_bar(Bar::AtMost(150.0)).with_note(note)])
}

/// The milliseconds from exec until the program reports that it is ready. Then kills it.
fn start(command: &mut Command, address: SocketAddr) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut child = command.spawn().context("starting the service")?;
    let ready = loop {
        if is_ready(address) {
            break Ok(begun.elapsed());
        }
        if begun.elapsed() > START {
            break Err(anyhow::anyhow!("the service is not ready after {} s", START.as_secs()));
        }
        thread::sleep(POLL);
    };
    let ended = child.try_wait()?;
    child.kill()?;
    child.wait()?;
    ensure!(ended.is_none(), "the service has ended");
    Ok(ready?.as_secs_f64() * 1000.0)
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        std::io::Result::Ok(status)
    };
    ask().is_ok_and(|status| status.ends_with(b" 200"))
}
