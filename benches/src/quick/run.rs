//! Directs a run: threads, phases, measurements.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use forebay_core::{Clock, SeededEntropy, SystemClock, Time};

use super::config::{QuickConfig, QuickError};
use super::publisher::Key;
use super::report::{BrokerReport, QuickReport};
use super::worker::{News, Outcome, Phase, Plan, Shared, Worker};
use crate::environment::Environment;
use crate::latency::Latencies;
use crate::ledger::{KeyLedger, Ledger};
use crate::mqtt::PublishTemplate;
use crate::run_id::RunId;
use crate::usage::{Sample, Usage};
use crate::verify::{Follower, FollowerConfig, From};

const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
const DRAIN_DEADLINE: Duration = Duration::from_secs(15);
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The run so far, once a second.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Time in the measured window.
    pub elapsed: Duration,
    /// Messages that came to their end in it.
    pub messages: u64,
    /// The rate since the last report.
    pub messages_per_second: f64,
}

/// Runs to the end and reports. Blocks the calling thread for warm-up, duration, drain and reading back; it must not
/// be one of an async runtime. `progress` is called on it once a second of the measured window.
///
/// # Errors
/// When parameters are out of range, the broker cannot be reached or goes away, or the process or stream that was to
/// be looked at cannot be read.
pub fn run(
    config: &QuickConfig,
    progress: &mut dyn FnMut(Progress),
) -> Result<QuickReport, QuickError> {
    config.check()?;
    let run = RunId::new(&mut SeededEntropy::from_os());
    let follower = match &config.stream {
        Some(target) => Some(Follower::start(FollowerConfig::new(
            target.clone(),
            From::Latest,
            run,
        ))?),
        None => None,
    };
    let fleet = Fleet::launch(config, run)?;
    fleet.wait_connected()?;
    fleet.shared.enter(Phase::WarmUp);
    fleet.wait(config.warmup)?;
    let window = fleet.measure(progress)?;
    fleet.shared.enter(Phase::Drain);
    let outcomes = fleet.join()?;
    let mut report = assemble(config, run, &window, &outcomes);
    let mut ledger = Ledger::default();
    for outcome in outcomes {
        for Key {
            number,
            ledger: key,
        } in outcome.keys
        {
            *ledger.key(&window.template.device(number)) = key;
        }
    }
    report.published = ledger.published();
    report.acknowledged = ledger.acknowledged();
    report.stream = follower
        .map(|follower| follower.finish(ledger, config.settle))
        .transpose()?;
    Ok(report)
}

/// What was read at both ends of the measured window.
struct Window {
    template: PublishTemplate,
    length: Duration,
    messages: u64,
    broker: Option<Usage>,
}

struct Fleet<'a> {
    config: &'a QuickConfig,
    clock: SystemClock,
    template: PublishTemplate,
    shared: Arc<Shared>,
    news: Receiver<News>,
    threads: Vec<JoinHandle<std::io::Result<Outcome>>>,
}

impl<'a> Fleet<'a> {
    fn launch(config: &'a QuickConfig, run: RunId) -> Result<Self, QuickError> {
        let addresses = config.broker.resolve();
        let addresses = addresses.map_err(|source| QuickError::Resolve {
            broker: config.broker.clone(),
            source,
        })?;
        let template = PublishTemplate::new(
            run,
            config.version,
            config.qos,
            &config.topic,
            (config.keys - 1).to_string().len(),
            config.size,
        )?;
        let shared = Arc::new(Shared::new());
        let (sender, news) = sync_channel(2 * config.connections);
        let plan = Plan {
            address: reachable(&addresses),
            version: config.version,
            qos: config.qos,
            window: config.window,
            run,
            template: template.clone(),
            shared: Arc::clone(&shared),
            news: sender,
        };
        let mut fleet = Self {
            config,
            clock: SystemClock::new(),
            template,
            shared,
            news,
            threads: Vec::new(),
        };
        for (index, keys) in deal(config).into_iter().enumerate() {
            let failed = |error: std::io::Error| QuickError::Thread(error.to_string());
            let worker = Worker::new(index, plan.clone(), keys).map_err(failed)?;
            let thread = std::thread::Builder::new()
                .name(format!("bench-{index}"))
                .spawn(move || worker.run())
                .map_err(failed)?;
            fleet.threads.push(thread);
        }
        Ok(fleet)
    }

    fn wait_connected(&self) -> Result<(), QuickError> {
        let deadline = self.clock.now() + CONNECT_DEADLINE;
        let failed = |reason: String| QuickError::Connect {
            broker: self.config.broker.clone(),
            reason,
        };
        for _ in 0..self.threads.len() {
            match self.news.recv_timeout(deadline - self.clock.now()) {
                Ok(News::Connected) => {}
                Ok(News::Lost(reason)) => return Err(failed(reason)),
                Err(_) => return Err(failed(format!("no answer for {CONNECT_DEADLINE:?}"))),
            }
        }
        Ok(())
    }

    /// Lets time pass, until all connections are gone at the latest.
    fn wait(&self, duration: Duration) -> Result<(), QuickError> {
        let deadline = self.clock.now() + duration;
        let mut gone = 0;
        loop {
            match self.news.recv_timeout(deadline - self.clock.now()) {
                Ok(News::Connected) => {}
                Ok(News::Lost(reason)) => {
                    gone += 1;
                    if gone == self.threads.len() {
                        let broker = self.config.broker.clone();
                        return Err(QuickError::Lost { broker, reason });
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(QuickError::Thread("it ended early".to_owned()));
                }
            }
        }
    }

    fn measure(&self, progress: &mut dyn FnMut(Progress)) -> Result<Window, QuickError> {
        let done = || self.shared.done.load(Ordering::Relaxed);
        let sample = || self.config.pid.map(Sample::take).transpose();
        self.shared.enter(Phase::Measure);
        let (start, first, before) = (self.clock.now(), done(), sample()?);
        let end = start + self.config.duration;
        let mut last: (Time, u64) = (start, first);
        while self.clock.now() < end {
            self.wait(PROGRESS_EVERY.min(end - self.clock.now()))?;
            let now = (self.clock.now(), done());
            progress(Progress {
                elapsed: now.0 - start,
                messages: now.1 - first,
                messages_per_second: (now.1 - last.1) as f64 / (now.0 - last.0).as_secs_f64(),
            });
            last = now;
        }
        let (after, length, messages) = (sample()?, self.clock.now() - start, done() - first);
        Ok(Window {
            template: self.template.clone(),
            length,
            messages,
            broker: before
                .zip(after)
                .map(|(before, after)| Usage::between(&before, &after)),
        })
    }

    /// Waits for the drain; what is not answered by its deadline stays unanswered.
    fn join(mut self) -> Result<Vec<Outcome>, QuickError> {
        let deadline = self.clock.now() + DRAIN_DEADLINE;
        while self.clock.now() < deadline && !self.threads.iter().all(JoinHandle::is_finished) {
            // The channel ends when the last thread does.
            match self.news.recv_timeout(deadline - self.clock.now()) {
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.shared.enter(Phase::Stop);
        let threads = std::mem::take(&mut self.threads);
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(error)) => Err(QuickError::Thread(error.to_string())),
            Err(_) => Err(QuickError::Thread("it panicked".to_owned())),
        });
        joined.collect()
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        self.shared.enter(Phase::Stop);
    }
}

/// The first address that takes a connection, else the first: a name such as `localhost` has two.
fn reachable(addresses: &[std::net::SocketAddr]) -> std::net::SocketAddr {
    let timeout = Duration::from_secs(2);
    let open = addresses
        .iter()
        .find(|address| std::net::TcpStream::connect_timeout(address, timeout).is_ok());
    *open.unwrap_or(&addresses[0])
}

/// Deals keys to connections and connections to threads, each in turn.
fn deal(config: &QuickConfig) -> Vec<Vec<Vec<Key>>> {
    let threads = config.threads.min(config.connections);
    let mut dealt: Vec<Vec<Vec<Key>>> = (0..threads).map(|_| Vec::new()).collect();
    for connection in 0..config.connections {
        let keys = (connection..config.keys).step_by(config.connections);
        let keys = keys.map(|number| Key {
            number: u32::try_from(number).expect("keys are limited to ten million"),
            ledger: KeyLedger::default(),
        });
        dealt[connection % threads].push(keys.collect());
    }
    dealt
}

fn assemble(
    config: &QuickConfig,
    run: RunId,
    window: &Window,
    outcomes: &[Outcome],
) -> QuickReport {
    let mut latencies = Latencies::new();
    for outcome in outcomes {
        latencies.add(&outcome.latencies);
    }
    let cpu: Option<Duration> = outcomes.iter().map(|outcome| outcome.cpu).sum();
    let lost = || {
        outcomes
            .iter()
            .flat_map(|outcome| &outcome.connections_lost)
    };
    let messages = window.messages;
    QuickReport {
        run: run.to_string(),
        broker: config.broker.to_string(),
        version: config.version.to_string(),
        qos: config.qos.level(),
        connections: config.connections,
        window: config.window,
        keys: config.keys,
        size: config.size,
        environment: Environment::here(),
        measured_seconds: window.length.as_secs_f64(),
        messages,
        messages_per_second: messages as f64 / window.length.as_secs_f64(),
        latency: latencies.percentiles(),
        published: 0,
        acknowledged: 0,
        refused: outcomes.iter().map(|outcome| outcome.refused).sum(),
        unanswered: outcomes.iter().map(|outcome| outcome.in_flight).sum(),
        connections_lost: lost().count(),
        lost_reasons: lost().take(5).cloned().collect(),
        broker_process: config.pid.zip(window.broker).filter(|_| messages > 0).map(
            |(pid, usage)| BrokerReport {
                pid,
                micros_per_message: usage.micros_per_message(messages),
                usage,
            },
        ),
        generator_micros_per_message: cpu
            .filter(|_| messages > 0)
            .map(|cpu| cpu.as_secs_f64() * 1e6 / messages as f64),
        stream: None,
    }
}
