//! The listener's thread: accepts, limits and ends connections.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::{Extension, Router};
use forebay_metrics::Counter;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time;

use crate::access::Access;
use crate::config::{AdminConfig, AdminLimits};
use crate::guard::{Guard, Peer};
use crate::routes;
use crate::state::AdminState;

/// Sent without reading the request: a client beyond the limit must not cost a parse.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\nCache-Control: no-store\r\n\r\n";
/// Pause after an accept that failed because the process is out of descriptors: retrying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the admin listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is reachable from other machines, and nothing keeps them out.
    #[error(
        "admin.bind = {address} is not a loopback address: that needs access keys or tokens, and insecure = true"
    )]
    NotLoopback {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The address is taken or not ours.
    #[error("cannot bind the admin listener to {address}: {source}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// No thread or no runtime for it.
    #[error("cannot start the admin thread: {0}")]
    Thread(#[source] io::Error),
}

/// The admin listener before it is open.
#[derive(Debug)]
pub struct AdminServer;

impl AdminServer {
    /// Binds, starts the admin thread and returns once connections are accepted. Logs `admin open`.
    ///
    /// # Errors
    /// When the address is open to others and nothing keeps them out, when it cannot be bound, or when the thread cannot
    /// be started.
    pub fn start(config: AdminConfig, state: AdminState) -> Result<RunningAdmin, StartError> {
        let bind = config.bind;
        if !(is_loopback(bind) || config.access.is_guarded() && config.insecure) {
            return Err(StartError::NotLoopback { address: bind });
        }
        let limits = config.limits;
        let failed = |source| StartError::Bind {
            address: bind,
            source,
        };
        let listener = StdListener::bind(bind).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener).map_err(failed)?
        };
        let refused = state.registry.counter(
            "forebay_limit_hits_total",
            "Times a limit was reached.",
            &[("limit", "admin.connections")],
        );
        let (stop, stopped) = watch::channel(false);
        let acceptor = Acceptor {
            listener,
            router: router_of(config, address, state),
            limits,
            slots: Arc::new(Semaphore::new(limits.connections)),
            refused,
            stopped,
        };
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || runtime.block_on(acceptor.run()))
            .map_err(StartError::Thread)?;
        tracing::info!(%address, "admin open");
        Ok(RunningAdmin {
            address,
            stop,
            thread: Some(thread),
        })
    }
}

/// The routes as a listener that is bound to `address` serves them.
pub(crate) fn router_of(config: AdminConfig, address: SocketAddr, mut state: AdminState) -> Router {
    let AdminConfig {
        hosts,
        access,
        limits,
        ..
    } = config;
    state.access = Access {
        loopback: is_loopback(address),
        ..access
    };
    state.limits = limits;
    let guard = Guard::new(address, &hosts, limits.body_bytes, state.access.has_keys());
    routes::router(state, guard)
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// The admin listener while it is open. Dropping it closes the listener without waiting.
#[derive(Debug)]
pub struct RunningAdmin {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl RunningAdmin {
    /// The address it listens on, with the port it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener, lets answers under way finish for the close grace, and joins the thread. Blocks for that
    /// long: not from within an async task.
    pub fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admin thread panicked");
        }
        tracing::info!(address = %self.address, "admin closed");
    }
}

impl Drop for RunningAdmin {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// The accept loop and what every connection gets from it.
struct Acceptor {
    listener: TcpListener,
    router: Router,
    limits: AdminLimits,
    slots: Arc<Semaphore>,
    refused: Counter,
    stopped: watch::Receiver<bool>,
}

impl Acceptor {
    async fn run(self) {
        let mut connections = JoinSet::new();
        let mut stopped = self.stopped.clone();
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stopped.wait_for(|stop| *stop) => break,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, peer)) => {
                    failing = false;
                    self.admit(stream, peer, &mut connections);
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "admin connections cannot be accepted");
                    }
                    failing = true;
                    time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr, connections: &mut JoinSet<()>) {
        match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(slot) => {
                connections.spawn(serve(
                    stream,
                    self.router.clone().layer(Extension(Peer(peer))),
                    self.limits,
                    self.stopped.clone(),
                    slot,
                ));
            }
            Err(_) => {
                self.refused.increment(1);
                if let Err(error) = stream.try_write(FULL) {
                    tracing::debug!(%error, "refused admin connection not told");
                }
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    router: Router,
    limits: AdminLimits,
    mut stopped: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(limits.header_bytes)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "admin connection ended");
            }
            return;
        }
        () = time::sleep(limits.connection_lifetime) => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    if time::timeout(limits.close_grace, connection).await.is_err() {
        tracing::debug!("admin connection cut: its answer was not read in time");
    }
}
