//! Start, accept, stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_core::SystemClock;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::connection::{self, ResetSwitch, Socket, stopped};
use crate::error::ServerError;
use crate::faults::{DownMode, FaultControl};
use crate::http::{self, Http};
use crate::log::Collector;
use crate::service::{ClockDebug, Service};
use crate::stats::Stats;
use crate::stream::StoredRecord;

/// Connections at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// How long connections get to finish what they do when the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How often records that are too old are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The address to listen on; port 0 takes a free one. `127.0.0.1:4567`.
    pub bind: SocketAddr,
    /// Where the streams are kept. `None`, the default, keeps them in memory.
    pub data_dir: Option<PathBuf>,
    /// Whether the service's rate limits hold. On.
    pub limits: bool,
    /// How old a record gets; at least a second. 24 hours.
    pub retention: Duration,
    /// Bytes of all streams together, at least 1 MiB; above, the oldest segments go. 1 GiB.
    pub retention_bytes: u64,
    /// The region in ARNs. `us-east-1`.
    pub region: String,
    /// The account in ARNs, 12 digits. `000000000000`.
    pub account: String,
    /// How long a stream is being created. Zero.
    pub creating: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 4567)),
            data_dir: None,
            limits: true,
            retention: Duration::from_secs(24 * 3600),
            retention_bytes: 1 << 30,
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            creating: Duration::ZERO,
        }
    }
}

impl ServerConfig {
    fn check(&self) -> Result<(), ServerError> {
        let refuse = |key, value: String, allowed| {
            Err(ServerError::Setting {
                key,
                value,
                allowed,
            })
        };
        if self.retention < Duration::from_secs(1) {
            return refuse("retention", format!("{:?}", self.retention), "at least 1 s");
        }
        if self.retention_bytes < 1 << 20 {
            return refuse(
                "retention_bytes",
                self.retention_bytes.to_string(),
                "at least 1 MiB",
            );
        }
        if self.account.len() != 12 || !self.account.bytes().all(|b| b.is_ascii_digit()) {
            return refuse("account", self.account.clone(), "12 digits");
        }
        let region = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if self.region.is_empty() || !self.region.bytes().all(region) {
            return refuse("region", self.region.clone(), "letters, digits and -");
        }
        Ok(())
    }
}

/// Starts servers.
#[derive(Debug, Clone, Copy)]
pub struct StreamServer;

impl StreamServer {
    /// Opens the data directory, binds the address and serves on the runtime that this is called on.
    ///
    /// # Errors
    /// When a setting is out of range, the data directory cannot be used or is in use, or the address cannot be bound.
    pub async fn start(config: ServerConfig) -> Result<RunningServer, ServerError> {
        Self::start_at(config, Arc::new(SystemClock::new())).await
    }

    /// Starts a server that takes its time from `clock`: for tests of limits, expiry and retention. Delays and the
    /// end of hanging connections follow the runtime's timers all the same.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with_clock<C>(
        config: ServerConfig,
        clock: Arc<C>,
    ) -> Result<RunningServer, ServerError>
    where
        C: forebay_core::Clock + std::fmt::Debug,
    {
        Self::start_at(config, clock).await
    }

    async fn start_at(
        config: ServerConfig,
        clock: Arc<dyn ClockDebug>,
    ) -> Result<RunningServer, ServerError> {
        config.check()?;
        let addr = config.bind;
        let bound = async {
            let listener = TcpListener::bind(addr).await?;
            let local = listener.local_addr()?;
            Ok((listener, local))
        };
        let (listener, addr) = bound
            .await
            .map_err(|source| ServerError::Bind { addr, source })?;
        // Reading the logs back takes a while, so it is kept away from the runtime's own threads.
        let opened = tokio::task::spawn_blocking(move || Service::open(&config, clock)).await;
        let service = match opened {
            Ok(service) => Arc::new(service?),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let (stop, stopping) = watch::channel(false);
        let acceptor = Acceptor::new(Arc::clone(&service), stopping);
        let task = tokio::spawn(acceptor.run(listener));
        tracing::info!(
            %addr,
            streams = service.registry().all().len(),
            "embedded stream server started; it is made for tests and demonstrations, not for production"
        );
        Ok(RunningServer {
            service,
            addr,
            stop,
            task: Some(task),
        })
    }
}

/// A server that runs. Dropping it ends it at once, without flushing.
#[derive(Debug)]
pub struct RunningServer {
    service: Arc<Service>,
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl RunningServer {
    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL that clients take as their endpoint.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The handle to its faults.
    pub fn faults(&self) -> FaultControl {
        FaultControl::new(Arc::clone(&self.service))
    }

    /// Its counters.
    pub fn stats(&self) -> Stats {
        self.service.stats()
    }

    /// Switches the rate limits. A write rate per second and shard that is not given is the service's.
    pub fn set_limits(&self, enabled: bool, records: Option<u32>, bytes: Option<u32>) {
        self.service.limits().set(enabled, records, bytes);
    }

    /// Creates a provisioned stream, evenly split into `shards`.
    ///
    /// # Errors
    /// [`ServerError::Refused`] with the code of the API, such as `ResourceInUseException` when it exists.
    pub fn create_stream(&self, name: &str, shards: u32) -> Result<(), ServerError> {
        self.service.create_stream(name, shards)
    }

    /// The records of one shard, oldest first, at most `limit`: all behind `after`, a sequence number, or from the
    /// oldest on. Rate limits and faults do not apply.
    ///
    /// # Errors
    /// When there is no such stream or shard, `after` is no sequence number, or the log cannot be read.
    pub fn read_shard(
        &self,
        stream: &str,
        shard: u32,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, ServerError> {
        let account = self.service.account();
        let opened = self.service.stream(stream)?;
        if shard >= opened.meta().shards {
            let id = crate::sequence::shard_id(shard);
            return Err(crate::error::ApiError::shard_not_found(&id, stream, account).into());
        }
        let from = after.map_or(Ok(0), |after| {
            let number = crate::sequence::SequenceNumber::parse(after);
            number.map(|number| number.counter + 1).ok_or_else(|| {
                let text = format!("{after} is no sequence number of this server");
                crate::error::ApiError::invalid_argument(text)
            })
        })?;
        let mut found = Collector::new(from, 0, limit, usize::MAX);
        let read = opened.log().collect(shard, &mut found);
        read.map_err(|error| crate::error::ApiError::storage(&error))?;
        Ok(opened.stored(shard, &found))
    }

    /// Stops: no further connections, the open ones get five seconds to finish, then the logs are flushed.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
        let service = Arc::clone(&self.service);
        let flushed = tokio::task::spawn_blocking(move || service.registry().sync()).await;
        if let Err(error) = flushed {
            std::panic::resume_unwind(error.into_panic());
        }
        tracing::info!(addr = %self.addr, "embedded stream server stopped");
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Accepts connections and owns their tasks.
struct Acceptor {
    service: Arc<Service>,
    http: Arc<Http>,
    stopping: watch::Receiver<bool>,
    permits: Arc<Semaphore>,
    connections: JoinSet<()>,
}

impl Acceptor {
    fn new(service: Arc<Service>, stopping: watch::Receiver<bool>) -> Self {
        Self {
            http: Arc::new(Http::new(Arc::clone(&service), stopping.clone())),
            service,
            stopping,
            permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            connections: JoinSet::new(),
        }
    }

    async fn run(mut self, listener: TcpListener) {
        let mut expire = tokio::time::interval(EXPIRE_EVERY);
        let mut stopping = self.stopping.clone();
        loop {
            tokio::select! {
                () = stopped(&mut stopping) => break,
                _ = expire.tick() => self.service.registry().expire(self.service.wall_ms()),
                Some(_) = self.connections.join_next() => {}
                accepted = accept(&listener, &self.permits) => self.serve(accepted),
            }
        }
        drop(listener);
        let drained = async { while self.connections.join_next().await.is_some() {} };
        // What is still open when the time is over is dropped with the set.
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::debug!("connections were still open when the server stopped");
        }
    }

    fn serve(&mut self, accepted: Option<(TcpStream, OwnedSemaphorePermit)>) {
        let Some((stream, permit)) = accepted else {
            return;
        };
        let service = Arc::clone(&self.service);
        let http = Arc::clone(&self.http);
        let stopping = self.stopping.clone();
        let open = OpenConnection::new(service, permit);
        self.connections.spawn(async move {
            connect(&open.service, http, stream, stopping).await;
        });
    }
}

/// Counts a connection for as long as it lives, however it ends.
struct OpenConnection {
    service: Arc<Service>,
    _permit: OwnedSemaphorePermit,
}

impl OpenConnection {
    fn new(service: Arc<Service>, permit: OwnedSemaphorePermit) -> Self {
        service
            .counters()
            .connections
            .fetch_add(1, Ordering::Relaxed);
        Self {
            service,
            _permit: permit,
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.service
            .counters()
            .connections
            .fetch_sub(1, Ordering::Relaxed);
    }
}

/// The next connection, once there is room for one.
///
/// # Cancel safety
/// A connection that was accepted is returned at once; nothing is lost when this is dropped.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            // Out of descriptors, most likely: the wait keeps the loop from spinning until some are free.
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

/// Serves one connection to its end, unless the server is out of reach.
async fn connect(
    service: &Service,
    http: Arc<Http>,
    stream: TcpStream,
    stopping: watch::Receiver<bool>,
) {
    if let Some((mode, _)) = service.faults().down(service.now()) {
        service.counters().injected.add("SinkDown", 1);
        if mode == DownMode::Hang {
            http::hang(service, stopping).await;
        }
        connection::reset(&stream);
        return;
    }
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "small answers may be delayed");
    }
    serve(http, stream, stopping).await;
}

async fn serve(http: Arc<Http>, stream: TcpStream, mut stopping: watch::Receiver<bool>) {
    let switch = Arc::new(ResetSwitch::default());
    let socket = Socket::new(stream, Arc::clone(&switch));
    let answer_switch = Arc::clone(&switch);
    let answer = service_fn(move |request| {
        let (http, switch) = (Arc::clone(&http), Arc::clone(&answer_switch));
        async move { http.answer(request, &switch).await }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection(TokioIo::new(socket), answer);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = switch.pressed() => return,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = switch.pressed() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "connection ended");
    }
}
