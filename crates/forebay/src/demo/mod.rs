//! `demo`: the whole way in one process over real sockets.
//!
//! Simulated devices publish over TCP connections to the server that `run` starts, an AWS rule document selects, and
//! the records land in an embedded stream, from which they are read back while the demo goes on. The end is a verdict:
//! what was acknowledged and is not in the stream is lost, whatever the server believes.

mod setup;
mod summary;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use forebay_bench::devices::{Devices, DevicesConfig};
use forebay_bench::verify::{Follower, FollowerConfig, From, StreamTarget};
use forebay_bench::{BrokerUrl, RunId};
use forebay_core::SeededEntropy;
use tokio::runtime::Runtime;

use crate::cli::{Exit, Failure, Stop, remark, style};
use crate::config::units::DisplayDuration;
use crate::logging;
use crate::server::{Server, end_process_when_vital_threads_panic};
use setup::{Setup, TOPIC};
pub use summary::Summary;

/// The stream of the demo's rule.
const STREAM: &str = "telemetry";
/// How long devices wait for the answers to what they have published.
const DRAIN: Duration = Duration::from_secs(15);
/// How long the stream may bring nothing new before what is missing counts as lost.
const SETTLE: Duration = Duration::from_secs(5);
/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What the demo is asked for.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// How long; until a signal when `None`.
    pub duration: Option<Duration>,
    /// Simulated devices.
    pub devices: u32,
    /// Messages per second of each device.
    pub rate: f64,
    /// Shards of the stream.
    pub shards: u32,
    /// Stored records that the check is not shown: its negative control.
    pub inject_loss: u64,
    /// Settings of the server, `KEY=VALUE`.
    pub set: Vec<String>,
}

/// Runs the demo to its end.
///
/// # Errors
/// When something could not be started, or the stream could not be read back.
pub fn run(options: &DemoOptions) -> Result<Summary, Failure> {
    let runtime = runtime()?;
    let mut stop = runtime.block_on(async { Stop::listen() })?;
    let setup = Setup::prepare(options)?;
    let stream = runtime.block_on(setup.start_stream(options.shards))?;
    let endpoint = stream.endpoint_url();
    let config = setup.config(&endpoint, &options.set)?;
    logging::install(&config.log, style())
        .map_err(|error| Failure::new(Exit::InputOutput, format!("cannot log: {error}")))?;
    end_process_when_vital_threads_panic(|_| ());
    let server = setup.start_server(config, &endpoint, &options.set)?;
    setup.announce(&server, &endpoint, options);

    let run = RunId::new(&mut SeededEntropy::from_os());
    let mut following = FollowerConfig::new(
        StreamTarget::local(STREAM, &endpoint),
        From::TrimHorizon,
        run,
    );
    following.discard = options.inject_loss;
    let follower = Follower::start(following).map_err(unreadable)?;
    let devices = start_devices(options, &server, run)?;

    let elapsed = watch(&runtime, &mut stop, options.duration, &devices, &follower);
    remark("stopping: waiting for what is on its way");
    let devices = devices
        .finish(DRAIN)
        .map_err(|error| Failure::new(Exit::InputOutput, error.to_string()))?;
    let stored = follower
        .finish(devices.ledger, SETTLE)
        .map_err(unreadable)?;
    let stopped = server.stop(&|| false);
    runtime.block_on(stream.shutdown());
    Ok(Summary {
        elapsed,
        options: options.clone(),
        devices: devices.snapshot,
        unanswered: devices.unanswered,
        stream: stored,
        unsent: stopped.unsent,
        in_spool: stopped.in_spool,
    })
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("stream")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::InputOutput, format!("cannot start: {error}")))
}

fn unreadable(error: forebay_bench::verify::VerifyError) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("the stream cannot be read back: {error}"),
    )
}

fn start_devices(options: &DemoOptions, server: &Server, run: RunId) -> Result<Devices, Failure> {
    let broker = server
        .listeners()
        .first()
        .map(|(_, address)| BrokerUrl::from(*address))
        .ok_or_else(|| Failure::new(Exit::Configuration, "no listener is open"))?;
    let mut config = DevicesConfig::new(broker, run);
    config.devices = options.devices as usize;
    config.rate = options.rate;
    config.topic = TOPIC.to_owned();
    Devices::start(config).map_err(|error| Failure::new(Exit::Usage, error.to_string()))
}

/// Shows what happens until the time is over or somebody stops it. Returns how long that was.
fn watch(
    runtime: &Runtime,
    stop: &mut Stop,
    duration: Option<Duration>,
    devices: &Devices,
    follower: &Follower,
) -> Duration {
    let mut progress = Progress::new();
    let mut elapsed = Duration::ZERO;
    let mut published_before = 0;
    loop {
        let left = duration.map_or(PROGRESS_EVERY, |duration| duration.saturating_sub(elapsed));
        if left.is_zero() {
            break;
        }
        let turn = left.min(PROGRESS_EVERY);
        let stopped =
            runtime.block_on(async { tokio::time::timeout(turn, stop.wait()).await.is_ok() });
        elapsed += turn;
        let (now, stored) = (devices.snapshot(), follower.progress());
        let rate = (now.published - published_before) as f64 / turn.as_secs_f64();
        published_before = now.published;
        let latency = now
            .latency
            .map(|latency| {
                format!(
                    "   PUBACK p50 {:.1} ms, p99 {:.1} ms",
                    latency.p50_ms, latency.p99_ms
                )
            })
            .unwrap_or_default();
        progress.show(&format!(
            "{:>5}  {:>3} devices  {rate:>7.0}/s   published {}   acknowledged {}   stored {}{latency}",
            DisplayDuration(Duration::from_secs(elapsed.as_secs())).to_string(),
            now.connected,
            now.published,
            now.acknowledged,
            stored.stored,
        ));
        if stopped {
            break;
        }
    }
    progress.end();
    elapsed
}

/// One line that is written over on a terminal, and one line per second elsewhere.
struct Progress {
    in_place: bool,
}

impl Progress {
    fn new() -> Self {
        Self {
            in_place: std::io::stderr().is_terminal(),
        }
    }

    fn show(&mut self, text: &str) {
        if !self.in_place {
            remark(text);
            return;
        }
        let mut err = std::io::stderr().lock();
        // Carriage return, the text, and whatever was longer before is cleared. Nobody to tell when that fails.
        write!(err, "\r{text}\x1b[K")
            .and_then(|()| err.flush())
            .unwrap_or_default();
    }

    fn end(&mut self) {
        if self.in_place {
            remark("");
        }
    }
}
