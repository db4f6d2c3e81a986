//! What the service holds and uses during an act.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{anyhow, ensure};
use tokio::time::sleep;

use crate::bench::{
    proc,
    system::{Service, operators_page},
};

/// How often the memory is read, and how many such times lie between two counts of the descriptors.
const INTERVAL: Duration = Duration::from_millis(20);
const DESCRIPTORS_EVERY: usize = 10;

/// How many descriptors may be open afterwards that were not before, such as connections to the issuer.
const SLACK: usize = 4;

/// How long the service may take to close what an attacker has left behind.
const RETURN: Duration = Duration::from_secs(30);

const TRANSFERS: &str = "print_upload_transfers";
const DATABASE_CONNECTIONS: &str = "print_upload_database_connections";

/// What the service holds while nothing happens.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    mib: f64,
    descriptors: usize,
}

/// The most that the service has held.
#[derive(Debug, Clone, Copy, Default)]
struct Peak {
    mib: f64,
    descriptors: usize,
}

/// What an act has cost the service.
#[derive(Debug, Clone, Default)]
pub struct Cost {
    /// Resident memory above idle.
    pub mib: f64,
    pub descriptors: usize,
    pub cpu_seconds: f64,
    /// Seconds until the descriptors and the permits were back, or what was left.
    pub returned: Option<f64>,
}

/// Reads what a service holds, on a thread of its own.
pub struct Watch {
    pid: i32,
    cpu_seconds: f64,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Peak>>,
}

impl Idle {
    pub async fn of(service: &Service) -> anyhow::Result<Self> {
        let pid = service.process.id();
        Ok(Self { mib: proc::resident_mib(pid)?, descriptors: own_descriptors(pid, service.admin).await? })
    }
}

impl Watch {
    pub fn start(service: &Service) -> anyhow::Result<Self> {
        let pid = service.process.id();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut peak = Peak::default();
            for number in 0.. {
                peak.mib = peak.mib.max(proc::resident_mib(pid)?);
                if usize::is_multiple_of(number, DESCRIPTORS_EVERY) {
                    peak.descriptors = peak.descriptors.max(proc::descriptors(pid)?);
                }
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                thread::sleep(INTERVAL);
            }
            Ok(peak)
        });
        Ok(Self { pid, cpu_seconds: proc::cpu_seconds(pid)?, stop, thread })
    }

    /// To be called when the attacker has stopped.
    pub fn stop(self, idle: Idle) -> anyhow::Result<Cost> {
        self.stop.store(true, Ordering::Relaxed);
        let peak = self.thread.join().map_err(|_| anyhow!("a thread has panicked"))??;
        Ok(Cost {
            mib: peak.mib - idle.mib,
            descriptors: peak.descriptors,
            cpu_seconds: proc::cpu_seconds(self.pid)? - self.cpu_seconds,
            returned: None,
        })
    }
}

/// The seconds until the service holds no more descriptors and permits than before; `None` if it still does after half
/// a minute.
pub async fn until_idle(service: &Service, idle: Idle) -> anyhow::Result<Option<f64>> {
    let begun = Instant::now();
    while begun.elapsed() < RETURN {
        let metrics = operators_page(service.admin, "/metrics").await?;
        let descriptors = own_descriptors(service.process.id(), service.admin).await?;
        if sum(&metrics, TRANSFERS) == 0.0 && descriptors <= idle.descriptors + SLACK {
            return Ok(Some(begun.elapsed().as_secs_f64()));
        }
        sleep(INTERVAL).await;
    }
    Ok(None)
}

/// The descriptors of a process, without connections to the database: the pool opens and closes those by its own rules.
async fn own_descriptors(pid: i32, admin: SocketAddr) -> anyhow::Result<usize> {
    let metrics = operators_page(admin, "/metrics").await?;
    let of_database = sum(&metrics, DATABASE_CONNECTIONS);
    ensure!(of_database > 0.0, "the metrics have no connections to the database");
    Ok(proc::descriptors(pid)?.saturating_sub(of_database as usize))
}

/// The sum of a metric's values, whatever their labels.
fn sum(metrics: &str, name: &str) -> f64 {
    let values = metrics.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let found = series.split('{').next()?;
        (found == name).then(|| value.parse::<f64>().ok())?
    });
    values.sum()
}
