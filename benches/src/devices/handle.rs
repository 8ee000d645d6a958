//! What the owner of devices holds: live figures, and the way to stop them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::Waker;
use serde::Serialize;

use super::config::{DevicesConfig, DevicesError};
use super::fleet::Fleet;
use crate::latency::{Latencies, Percentiles};
use crate::ledger::Ledger;

/// What the devices' thread and their owner share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) stop: AtomicBool,
    pub(super) drain: Mutex<Duration>,
    pub(super) connected: AtomicU64,
    pub(super) published: AtomicU64,
    pub(super) republished: AtomicU64,
    pub(super) acknowledged: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) skipped: AtomicU64,
    pub(super) connections_lost: AtomicU64,
    pub(super) last_loss: Mutex<Option<String>>,
    pub(super) latencies: Mutex<Latencies>,
}

impl Shared {
    fn new() -> Self {
        Self {
            stop: AtomicBool::new(false),
            drain: Mutex::new(Duration::ZERO),
            connected: AtomicU64::new(0),
            published: AtomicU64::new(0),
            republished: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            connections_lost: AtomicU64::new(0),
            last_loss: Mutex::default(),
            latencies: Mutex::new(Latencies::new()),
        }
    }

    fn snapshot(&self, devices: usize) -> DevicesSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Acknowledged is read first, so that it is never above published.
        let (acknowledged, refused) = (load(&self.acknowledged), load(&self.refused));
        DevicesSnapshot {
            devices,
            connected: load(&self.connected),
            published: load(&self.published),
            republished: load(&self.republished),
            acknowledged,
            refused,
            skipped: load(&self.skipped),
            connections_lost: load(&self.connections_lost),
            last_loss: self
                .last_loss
                .lock()
                .expect("no panic while locked")
                .clone(),
            latency: self
                .latencies
                .lock()
                .expect("no panic while locked")
                .percentiles(),
        }
    }
}

/// The devices at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct DevicesSnapshot {
    /// Number of devices.
    pub devices: usize,
    /// Those that are connected.
    pub connected: u64,
    /// Messages published, each counted once.
    pub published: u64,
    /// Messages published again after a reconnect.
    pub republished: u64,
    /// Messages acknowledged as kept.
    pub acknowledged: u64,
    /// Messages that a 5.0 broker refused.
    pub refused: u64,
    /// Measurements not published because too many messages were in flight.
    pub skipped: u64,
    /// Connections refused or lost.
    pub connections_lost: u64,
    /// The last reason for that.
    pub last_loss: Option<String>,
    /// From publishing to PUBACK.
    pub latency: Option<Percentiles>,
}

/// The devices after their end.
#[derive(Debug)]
pub struct DevicesReport {
    /// The final figures.
    pub snapshot: DevicesSnapshot,
    /// What each device published and what of it was acknowledged.
    pub ledger: Ledger,
    /// Messages that were not answered when the drain ended.
    pub unanswered: u64,
}

/// Devices that are running. Dropping them stops them without drain.
#[derive(Debug)]
pub struct Devices {
    devices: usize,
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<std::io::Result<(Ledger, u64)>>>,
}

impl Devices {
    /// Starts them. Returns before they are connected: a broker that is not there yet is tried again and again.
    ///
    /// # Errors
    /// When the configuration is out of range or the thread cannot be started.
    pub fn start(config: DevicesConfig) -> Result<Self, DevicesError> {
        config.check()?;
        let failed = |error: std::io::Error| DevicesError::Thread(error.to_string());
        let shared = Arc::new(Shared::new());
        let devices = config.devices;
        let (fleet, waker) = Fleet::new(config, Arc::clone(&shared))?;
        let thread = std::thread::Builder::new()
            .name("bench-devices".to_owned())
            .spawn(move || fleet.run())
            .map_err(failed)?;
        Ok(Self {
            devices,
            shared,
            waker,
            thread: Some(thread),
        })
    }

    /// The figures now.
    pub fn snapshot(&self) -> DevicesSnapshot {
        self.shared.snapshot(self.devices)
    }

    /// Publishes nothing more, waits up to `drain` for what is in flight, and disconnects. Blocks for that long; not
    /// from within an async task.
    ///
    /// # Errors
    /// When the thread had failed.
    pub fn finish(mut self, drain: Duration) -> Result<DevicesReport, DevicesError> {
        *self.shared.drain.lock().expect("no panic while locked") = drain;
        self.stop();
        let thread = self.thread.take().expect("it is taken only here");
        let joined = thread.join();
        let joined = joined.map_err(|_| DevicesError::Thread("it panicked".to_owned()))?;
        let (ledger, unanswered) =
            joined.map_err(|error| DevicesError::Thread(error.to_string()))?;
        Ok(DevicesReport {
            snapshot: self.snapshot(),
            ledger,
            unanswered,
        })
    }

    fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        // The thread looks at the flag at every poll time-out as well.
        self.waker.wake().ok();
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        self.stop();
    }
}
