//! Threads and runtimes of the ingest workers: the one place that knows what carries the connections.

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::error;

use crate::direct_publish::carry;
use crate::listener::accept;
use crate::mailbox::Mailbox;
use crate::shared::{Listener, Shared};
use crate::worker::WorkerHandle;

/// How often a worker without work takes a turn, so that others see that it lives.
const TICK: Duration = Duration::from_secs(1);

/// What one worker runs with.
pub(crate) struct WorkerParts {
    pub(crate) worker: WorkerHandle,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) sockets: Vec<(StdListener, Arc<Listener>)>,
    pub(crate) shared: Arc<Shared>,
    /// True: accept no more.
    pub(crate) stop_accepting: watch::Receiver<bool>,
    /// True: end when the last connection has.
    pub(crate) finish: watch::Receiver<bool>,
}

/// Starts the threads of all workers: each has a runtime of its own and listening sockets of its own, so a connection
/// stays on the thread that accepted it and its worker is never waited for.
///
/// # Errors
/// When the system refuses a thread or a runtime.
pub(crate) fn start(workers: Vec<WorkerParts>) -> io::Result<Vec<JoinHandle<()>>> {
    workers
        .into_iter()
        .enumerate()
        .map(|(index, parts)| {
            let runtime = Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build()?;
            let name = format!("ingest-{index}");
            std::thread::Builder::new()
                .name(name)
                .spawn(move || runtime.block_on(run(parts)))
        })
        .collect()
}

/// Accepts for one worker and takes its turns, until it is to finish and its connections have ended.
async fn run(parts: WorkerParts) {
    for (socket, listener) in parts.sockets {
        match TcpListener::from_std(socket) {
            Ok(socket) => drop(tokio::spawn(accept(
                socket,
                listener,
                parts.worker.clone(),
                Arc::clone(&parts.shared),
                parts.stop_accepting.clone(),
            ))),
            Err(failure) => error!(%failure, "listening socket not usable"),
        }
    }
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ticked = tokio::select! {
            biased;
            () = parts.mailbox.notified() => false,
            _ = tick.tick() => true,
        };
        for message in parts.mailbox.take_direct() {
            let (worker, shared) = (parts.worker.clone(), Arc::clone(&parts.shared));
            drop(tokio::spawn(carry(worker, shared, message)));
        }
        let now = parts.shared.clock.now();
        let mut worker = parts.worker.lock();
        worker.turn(now);
        if ticked {
            worker.publish_load();
        }
        if *parts.finish.borrow() && worker.is_idle() {
            return;
        }
    }
}
