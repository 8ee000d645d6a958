//! The sender: the thread that drives the state machines of all streams.
//!
//! It has a runtime of its own, so that neither HTTP nor signing runs on an ingest worker. Everything happens in one
//! task, in turns: take the pipeline's events and the answers that have arrived, let every stream that has something to
//! do go on, send what they put together, settle, sleep until the next answer, event or deadline.

mod stream;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use forebay_core::{Clock, SeededEntropy, Time};
use forebay_metrics::Registry;
use forebay_pipeline::{Inherited, Settlement, SinkEvent, SinkPort, Wake};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use self::stream::{Call, StreamSink};
use crate::aggregator::Permits;
use crate::api::KinesisApi;
use crate::body_pool::BodyPool;
use crate::config::KinesisConfig;
use crate::metrics::SinkMetrics;
use crate::sdk::SdkKinesis;
use crate::status::{Board, StreamStatus};

/// Longest sleep: the heartbeat keeps beating.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Shortest time between two publications of a stream's figures.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);

/// What the sender needs.
pub struct SenderSetup {
    /// The pipeline's sink end.
    pub port: SinkPort,
    /// Settings; the endpoint is checked already.
    pub config: KinesisConfig,
    /// Where the metrics go.
    pub registry: Registry,
    /// The clock that records are stamped with.
    pub clock: Arc<dyn Clock>,
    /// Called on every turn, at least once a second: a heartbeat.
    pub tick: Box<dyn Fn() + Send>,
}

impl std::fmt::Debug for SenderSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SenderSetup")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// A running sender. Dropping it stops the thread: what is in flight or queued then is not settled, except that queued
/// records that were promised to nobody are counted as failed. Drain the pipeline first.
pub struct SenderThread {
    thread: Option<JoinHandle<()>>,
    mailbox: Arc<Mailbox>,
    board: Arc<Board>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for SenderThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SenderThread")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// How others reach the thread.
#[derive(Debug, Default)]
struct Mailbox {
    notify: Notify,
    stop: AtomicBool,
}

impl Wake for Mailbox {
    fn wake(&self) {
        self.notify.notify_one();
    }
}

impl SenderThread {
    /// Starts the thread, with the AWS SDK as the service.
    ///
    /// # Errors
    /// When the operating system refuses a thread or a runtime.
    pub fn start(setup: SenderSetup) -> io::Result<Self> {
        let config = setup.config.clone();
        Self::start_with(
            setup,
            move || async move { SdkKinesis::connect(&config).await },
        )
    }

    /// Starts the thread with the service that `connect` makes.
    ///
    /// # Errors
    /// When the operating system refuses a thread or a runtime.
    ///
    /// # Panics
    /// A panic of a state machine ends the thread; whoever starts it must make that end the process, because nothing
    /// that is acknowledged later could be kept.
    pub fn start_with<A, F, C>(setup: SenderSetup, connect: C) -> io::Result<Self>
    where
        A: KinesisApi,
        F: Future<Output = A>,
        C: FnOnce() -> F + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mailbox = Arc::new(Mailbox::default());
        let board = Arc::new(Board::default());
        let clock = Arc::clone(&setup.clock);
        setup.port.set_wake(Arc::clone(&mailbox) as Arc<dyn Wake>);
        let (inside, shown) = (Arc::clone(&mailbox), Arc::clone(&board));
        let thread = std::thread::Builder::new()
            .name("sender".into())
            .spawn(move || {
                runtime.block_on(async move {
                    let api = connect().await;
                    Sender::new(setup, api, inside, shown).run().await;
                });
            })?;
        Ok(Self {
            thread: Some(thread),
            mailbox,
            board,
            clock,
        })
    }

    /// True when the thread has ended although nobody stopped it.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The streams in use, by name.
    pub fn status(&self) -> Vec<StreamStatus> {
        self.board.read(self.clock.now())
    }

    /// A handle that only looks.
    pub fn viewer(&self) -> SenderViewer {
        SenderViewer {
            board: Arc::clone(&self.board),
            clock: Arc::clone(&self.clock),
        }
    }
}

/// Sees the status of a sender, also after the sender was stopped.
#[derive(Clone)]
pub struct SenderViewer {
    board: Arc<Board>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for SenderViewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SenderViewer")
    }
}

impl SenderViewer {
    /// The streams in use, by name.
    pub fn status(&self) -> Vec<StreamStatus> {
        self.board.read(self.clock.now())
    }
}

impl Drop for SenderThread {
    fn drop(&mut self) {
        self.mailbox.stop.store(true, Ordering::SeqCst);
        self.mailbox.wake();
        if let Some(thread) = self.thread.take() {
            // A panic was reported by the hook when it happened.
            drop(thread.join());
        }
    }
}

/// The state of the thread.
struct Sender<A> {
    api: Arc<A>,
    port: SinkPort,
    settlement: Settlement,
    config: KinesisConfig,
    clock: Arc<dyn Clock>,
    tick: Box<dyn Fn() + Send>,
    metrics: SinkMetrics,
    mailbox: Arc<Mailbox>,
    board: Arc<Board>,
    entropy: SeededEntropy,
    bodies: BodyPool,
    /// By stream index.
    streams: Vec<Option<StreamSink>>,
    /// Tells apart the streams that used an index one after another.
    generation: u64,
    calls: JoinSet<Call>,
    /// When which stream has something to do by itself.
    timers: BTreeSet<(Time, usize)>,
    /// Streams that have something to do in this turn.
    dirty: Vec<usize>,
    /// Streams that wait for permits, longest first.
    starved: VecDeque<usize>,
    in_flight: Permits,
    /// Records that all streams hold, as they were counted last.
    held: usize,
    draining: bool,
    /// What the log owes from earlier processes, less what was counted.
    inherited: Option<Inherited>,
}

impl<A: KinesisApi> Sender<A> {
    fn new(setup: SenderSetup, api: A, mailbox: Arc<Mailbox>, board: Arc<Board>) -> Self {
        Self {
            api: Arc::new(api),
            settlement: setup.port.settlement(),
            inherited: setup.port.inherited(),
            port: setup.port,
            metrics: SinkMetrics::new(setup.registry, setup.config.shard_label_limit),
            config: setup.config,
            clock: setup.clock,
            tick: setup.tick,
            mailbox,
            board,
            entropy: SeededEntropy::from_os(),
            bodies: BodyPool::default(),
            streams: Vec::new(),
            generation: 0,
            calls: JoinSet::new(),
            timers: BTreeSet::new(),
            dirty: Vec::new(),
            starved: VecDeque::new(),
            in_flight: Permits {
                requests: 0,
                bytes: 0,
            },
            held: 0,
            draining: false,
        }
    }

    async fn run(mut self) {
        while !self.mailbox.stop.load(Ordering::SeqCst) {
            (self.tick)();
            let sleep = self.turn();
            self.wait(sleep).await;
        }
        self.abandon();
    }

    /// One turn. Returns how long nothing will happen by itself.
    fn turn(&mut self) -> Duration {
        let now = self.clock.now();
        while let Some(event) = self.port.next_event() {
            self.event(event, now);
        }
        while let Some(call) = self.calls.try_join_next() {
            self.returned(call.expect("a call neither panics nor is cancelled"), now);
        }
        while let Some((due, index)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, index));
            if let Some(sink) = self.stream_mut(index) {
                sink.timer = Time::NEVER;
            }
            self.mark(index);
        }
        self.serve_dirty(now);
        self.settlement.flush();
        let next = self.timers.first().map_or(Time::NEVER, |(due, _)| *due);
        next.since(self.clock.now()).min(SLEEP_MAX)
    }

    /// Sleeps until something happens: an event, an answer, or `sleep` is over.
    async fn wait(&mut self, sleep: Duration) {
        tokio::select! {
            biased;
            () = self.mailbox.notify.notified() => {}
            call = self.calls.join_next(), if !self.calls.is_empty() => {
                let now = self.clock.now();
                let call = call.expect("there are calls");
                self.returned(call.expect("a call neither panics nor is cancelled"), now);
            }
            () = tokio::time::sleep(sleep) => {}
        }
    }

    fn event(&mut self, event: SinkEvent, now: Time) {
        match event {
            SinkEvent::Opened(stream) => {
                let index = stream.id().index();
                if self.streams.len() <= index {
                    self.streams.resize_with(index + 1, || None);
                }
                self.generation += 1;
                let mut opened =
                    StreamSink::new(stream, self.generation, &self.config, &self.metrics, now);
                if let Some(inherited) = &self.inherited {
                    opened.aggregator.set_inherited_below(inherited.below);
                }
                if self.draining {
                    opened.aggregator.set_flush(true, now);
                }
                self.streams[index] = Some(opened);
                self.mark(index);
            }
            SinkEvent::Lanes { stream, table } => {
                let index = stream.id().index();
                if let Some(sink) = self.streams.get_mut(index).and_then(Option::as_mut) {
                    sink.metrics.set_map(&mut self.metrics, &table.map);
                    sink.lanes(table, now);
                }
                self.mark(index);
            }
            SinkEvent::Ready(stream) => {
                let index = stream.id().index();
                if let Some(sink) = self.stream_mut(index) {
                    sink.aggregator.ready(now);
                }
                self.mark(index);
            }
            SinkEvent::Closed(id) => self.close(id.index()),
            SinkEvent::Drain => {
                self.draining = true;
                for index in 0..self.streams.len() {
                    if let Some(sink) = self.stream_mut(index) {
                        sink.aggregator.set_flush(true, now);
                    }
                    self.mark(index);
                }
            }
        }
    }

    fn close(&mut self, index: usize) {
        if let Some(sink) = self.streams.get_mut(index).and_then(Option::take) {
            self.timers.remove(&(sink.timer, index));
            self.held -= sink.held;
            sink.metrics.show_lanes(&[], Time::ZERO);
            sink.metrics.show_stream(0, 0, 0, 0);
            self.board.remove(index);
        }
    }

    fn stream_mut(&mut self, index: usize) -> Option<&mut StreamSink> {
        self.streams.get_mut(index).and_then(Option::as_mut)
    }

    fn mark(&mut self, index: usize) {
        if let Some(sink) = self.stream_mut(index)
            && !sink.marked
        {
            sink.marked = true;
            self.dirty.push(index);
        }
    }
}
