//! Other servers that receive uploads in ranges, to look at beside the limit. None of them syncs what it has received.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, ensure};
use tokio::process::{Child, Command};

use super::{
    Options,
    http::Http,
    uploads::{RANGE_BYTES, at_once},
    wait_until,
};

/// The folder, below the working folder, that npm's packages are installed in.
const PACKAGES: &str = "target/bench-peers";

/// The npm packages of @tus/server.
const TUS_PACKAGES: [&str; 2] = ["@tus/server@2.4.5", "@tus/file-store@2.1.1"];

const TUS_SERVER: &str = include_str!("tus-server.mjs");

/// A server to compare with.
pub struct Peer {
    pub name: &'static str,
    /// Where it is, or why there is none.
    pub program: Result<PathBuf, String>,
    pub protocol: Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// PUT of WebDAV, a file for each range.
    Nginx,
    Rustus,
    Tusd,
    TusServer,
}

/// A peer that runs. It is killed when this is dropped.
pub struct Running {
    child: Child,
    address: SocketAddr,
    protocol: Protocol,
    pub version: String,
}

/// Every peer.
pub fn all(options: &Options) -> Vec<Peer> {
    let peer = |name, given: &Option<PathBuf>, program, protocol| {
        let program = given.clone().or_else(|| in_path(program));
        Peer { name, program: program.ok_or_else(|| "not on this machine".into()), protocol }
    };
    vec![
        peer("nginx", &None, "nginx", Protocol::Nginx),
        peer("tusd", &options.tusd, "tusd", Protocol::Tusd),
        peer("rustus", &options.rustus, "rustus", Protocol::Rustus),
        peer("@tus/server", &None, "node", Protocol::TusServer),
    ]
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|program| program.is_file())
}

impl Protocol {
    /// Starts the server, with its files in the folder.
    pub async fn start(self, program: &Path, folder: &Path) -> anyhow::Result<Running> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let data = folder.join("data");
        fs::create_dir(&data)?;
        let mut command = Command::new(program);
        let version = match self {
            Self::Nginx => {
                fs::write(folder.join("nginx.conf"), nginx_conf(address))?;
                command.arg("-p").arg(folder).args(["-c", "nginx.conf", "-e", "error.log"]);
                version(program, "-v").await
            }
            Self::Rustus => {
                command.args(["--host", "127.0.0.1", "--port", &address.port().to_string(), "--log-level", "ERROR"]);
                // Its default is less than a range.
                command.arg("--max-body-size").arg((2 * RANGE_BYTES).to_string());
                command.arg("--data-dir").arg(&data).arg("--info-dir").arg(folder.join("info"));
                version(program, "--version").await
            }
            Self::Tusd => {
                command.args(["-host", "127.0.0.1", "-port", &address.port().to_string(), "-verbose=false"]);
                command.arg("-upload-dir").arg(&data);
                version(program, "-version").await
            }
            Self::TusServer => {
                let packages = install().await?;
                let script = folder.join("tus-server.mjs");
                fs::write(&script, TUS_SERVER)?;
                command.arg(&script).arg(address.port().to_string()).arg(&data).current_dir(packages);
                Ok(format!("{}, node {}", TUS_PACKAGES[0], version(program, "--version").await?))
            }
        }?;
        let log = fs::File::create(folder.join("peer.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        wait_until("the peer", async || {
            let log = || fs::read_to_string(folder.join("peer.log")).unwrap_or_default();
            ensure!(child.try_wait()?.is_none(), "it has ended: {}", log());
            Ok(TcpStream::connect(address).is_ok())
        })
        .await?;
        Ok(Running { child, address, protocol: self, version })
    }
}

impl Running {
    /// Uploads ranges of one document on one connection. Returns the seconds.
    pub async fn upload(&self, ranges: usize) -> anyhow::Result<f64> {
        let (address, protocol) = (self.address, self.protocol);
        at_once(1, move |_, bytes| {
            let mut http = Http::connect(address)?;
            match protocol {
                Protocol::Nginx => put_files(&mut http, bytes, ranges),
                _ => tus(&mut http, bytes, ranges),
            }
        })
        .await
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("stopping a peer")
    }
}

fn put_files(http: &mut Http, bytes: &[u8], ranges: usize) -> anyhow::Result<()> {
    let document = fastrand::u64(..);
    for range in 0..ranges {
        http.request("PUT", &format!("/{document}-{range}"), "", bytes)?.ok()?;
    }
    Ok(())
}

/// The protocol of tus, version 1: create an upload, then send its bytes with PATCH.
fn tus(http: &mut Http, bytes: &[u8], ranges: usize) -> anyhow::Result<()> {
    let headers = format!("Tus-Resumable: 1.0.0\r\nUpload-Length: {}\r\n", ranges * RANGE_BYTES);
    let created = http.request("POST", "/files/", &headers, &[])?;
    // @tus/server has no slash at the end.
    let created = if created.status == 404 { http.request("POST", "/files", &headers, &[])? } else { created };
    let created = created.ok()?;
    let location = created.header("location").context("an upload's address")?;
    let path = location.split_once("://").map_or(location, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    for range in 0..ranges {
        let headers = format!(
            "Tus-Resumable: 1.0.0\r\nUpload-Offset: {}\r\nContent-Type: application/offset+octet-stream\r\n",
            range * RANGE_BYTES
        );
        http.request("PATCH", path, &headers, bytes)?.ok()?;
    }
    Ok(())
}

/// Installs @tus/server, if it is not there yet.
async fn install() -> anyhow::Result<PathBuf> {
    let folder = env::current_dir()?.join(PACKAGES);
    fs::create_dir_all(&folder)?;
    if !folder.join("node_modules/@tus/file-store").exists() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&folder).args(TUS_PACKAGES);
        let output = npm.kill_on_drop(true).output().await.context("running npm")?;
        ensure!(output.status.success(), "npm: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(folder)
}

/// The first line that the program prints with a flag.
async fn version(program: &Path, flag: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg(flag).output().await?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// One worker, which receives into the folder that the files end up in.
fn nginx_conf(address: SocketAddr) -> String {
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "{user} worker_processes 1; daemon off; pid nginx.pid;
         events {{ worker_connections 64; }}
         http {{
             access_log off; client_body_temp_path data/tmp; client_max_body_size 0;
             proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
             keepalive_requests 100000;
             server {{ listen {address}; root data; dav_methods PUT; create_full_put_path on; }}
         }}"
    )
}
