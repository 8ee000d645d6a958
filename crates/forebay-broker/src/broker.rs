//! A broker as the program holds it: start, look at, stop step by step.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use forebay_core::{Clock, SeededEntropy};
use forebay_metrics::Registry;
use forebay_pipeline::Intake;
use tokio::sync::watch;
use tracing::{error, info};

use crate::config::{BrokerConfig, ListenerConfig};
use crate::direct_publish::{DirectLimits, DirectPort};
use crate::error::StartError;
use crate::listener::bind;
use crate::mailbox::MailboxWake;
use crate::outcome::Cause;
use crate::runtime::{WorkerParts, start};
use crate::shared::{Listener, Shared};
use crate::status::{BrokerObserver, register_gauges};
use crate::worker::{Worker, WorkerHandle};

/// Workers are numbered with 16 bits in tickets.
const WORKERS_MAX: usize = 1024;

/// What a broker is built from besides its configuration.
pub struct BrokerParts {
    /// One per ingest worker: their number is the number of workers.
    pub intakes: Vec<Intake>,
    /// Where time comes from. It must run at the pace of the system's clock.
    pub clock: Arc<dyn Clock>,
    /// Where the broker's metrics go.
    pub registry: Registry,
}

impl std::fmt::Debug for BrokerParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerParts")
            .field("workers", &self.intakes.len())
            .finish_non_exhaustive()
    }
}

/// Starts brokers.
#[derive(Debug)]
pub struct Broker;

/// A broker at work. Dropping it closes all connections without waiting for them.
#[derive(Debug)]
pub struct RunningBroker {
    shared: Arc<Shared>,
    workers: Vec<WorkerHandle>,
    threads: Vec<JoinHandle<()>>,
    stop_accepting: watch::Sender<bool>,
    finish: watch::Sender<bool>,
}

impl Broker {
    /// Opens the listeners and starts the threads. When it returns clients can connect.
    ///
    /// # Errors
    /// When the configuration is not usable, an address cannot be bound or the system refuses a thread.
    pub fn start(config: BrokerConfig, parts: BrokerParts) -> Result<RunningBroker, StartError> {
        check(&config, parts.intakes.len())?;
        let now = parts.clock.now();
        let workers = parts.intakes.len();
        let mut listeners = Vec::new();
        let mut sockets: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        for (index, listener) in config.listeners.into_iter().enumerate() {
            let (address, opened) =
                bind(listener.bind, listener.backlog, workers).map_err(|source| {
                    StartError::Bind {
                        listener: listener.name.clone(),
                        address: listener.bind,
                        source,
                    }
                })?;
            log_open(&listener, address);
            let listener = Arc::new(Listener::new(index, listener, address, now));
            for (worker, socket) in opened.into_iter().enumerate() {
                sockets[worker].push((socket, Arc::clone(&listener)));
            }
            listeners.push(listener);
        }
        let shared = Arc::new(Shared::new(
            listeners,
            config.limits,
            config.mqtt,
            workers,
            parts.clock,
            parts.registry,
        ));
        register_gauges(&shared);

        let (stop_accepting, accepting) = watch::channel(false);
        let (finish, finishing) = watch::channel(false);
        let mut handles = Vec::new();
        let mut worker_parts = Vec::new();
        for (index, intake) in parts.intakes.into_iter().enumerate() {
            let mailbox = Arc::clone(&shared.mailboxes[index]);
            intake.set_wake(Arc::new(MailboxWake(Arc::clone(&mailbox))));
            let worker = WorkerHandle::new(Worker::new(
                u16::try_from(index).expect("the number of workers was checked"),
                Arc::clone(&shared),
                intake,
                SeededEntropy::from_os(),
            ));
            handles.push(worker.clone());
            worker_parts.push(WorkerParts {
                worker,
                mailbox,
                sockets: std::mem::take(&mut sockets[index]),
                shared: Arc::clone(&shared),
                stop_accepting: accepting.clone(),
                finish: finishing.clone(),
            });
        }
        let threads = start(worker_parts).map_err(StartError::Thread)?;
        Ok(RunningBroker {
            shared,
            workers: handles,
            threads,
            stop_accepting,
            finish,
        })
    }
}

fn check(config: &BrokerConfig, workers: usize) -> Result<(), StartError> {
    if workers == 0 || workers > WORKERS_MAX {
        return Err(StartError::Workers {
            workers,
            max: WORKERS_MAX,
        });
    }
    if config.listeners.is_empty() {
        return Err(StartError::NoListener);
    }
    for listener in &config.listeners {
        if !listener.allow_anonymous && !listener.bind.ip().is_loopback() {
            return Err(StartError::Anonymous {
                listener: listener.name.clone(),
                address: listener.bind,
            });
        }
    }
    Ok(())
}

fn log_open(listener: &ListenerConfig, address: SocketAddr) {
    let versions: Vec<&str> = listener
        .versions
        .iter()
        .map(|version| version.as_str())
        .collect();
    info!(
        listener = %listener.name,
        %address,
        versions = versions.join(","),
        "listener open"
    );
}

impl RunningBroker {
    /// Where each listener really listens, in the order of the configuration.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.shared
            .listeners
            .iter()
            .map(|listener| listener.address)
            .collect()
    }

    /// A handle that only looks, for the admin server.
    pub fn observer(&self) -> BrokerObserver {
        BrokerObserver::new(Arc::clone(&self.shared))
    }

    /// Takes messages that came without an MQTT connection.
    pub fn direct_port(&self, limits: DirectLimits) -> DirectPort {
        DirectPort::new(Arc::clone(&self.shared), limits)
    }

    /// True when a thread of the broker has ended although nobody closed it: nothing that it carried is served.
    pub fn has_failed(&self) -> bool {
        !*self.finish.borrow() && self.threads.iter().any(JoinHandle::is_finished)
    }

    /// First step of a stop: no new connection is taken in.
    pub fn stop_accepting(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
        self.stop_accepting.send_replace(true);
    }

    /// Second step: no connection is read any more. Answers of what was read are still written.
    pub fn stop_reading(&self) {
        self.shared.reading_stopped.store(true, Ordering::SeqCst);
        for worker in &self.workers {
            worker.lock().wake_all(None);
        }
    }

    /// Publishes of connected clients that are not answered yet.
    pub fn unanswered(&self) -> usize {
        for worker in &self.workers {
            worker.lock().publish_load();
        }
        let loads = self.shared.loads.iter();
        loads
            .map(|load| load.inflight_in.load(Ordering::Relaxed))
            .sum()
    }

    /// Last step: tells every client that the server shuts down, and closes.
    pub fn close_all(&self) {
        self.stop_accepting();
        self.finish.send_replace(true);
        for worker in &self.workers {
            worker.lock().wake_all(Some(Cause::Shutdown));
        }
        for mailbox in &self.shared.mailboxes {
            mailbox.notify();
        }
    }

    /// Closes everything that is still open and waits for the threads.
    pub fn join(mut self) {
        self.close_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                error!("an ingest thread panicked");
            }
        }
    }
}

impl Drop for RunningBroker {
    fn drop(&mut self) {
        self.close_all();
    }
}
