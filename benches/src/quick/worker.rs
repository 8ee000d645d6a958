//! A generator thread: many connections, one poll.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_core::{Clock, QoS, SystemClock};
use mio::{Events, Poll, Token, Waker};

use super::publisher::{Key, Publisher, Recorder, Tally};
use crate::latency::Latencies;
use crate::mqtt::{Connection, Incoming, PublishTemplate, SCRATCH_BYTES, Version, push_disconnect};
use crate::run_id::RunId;
use crate::usage::thread_cpu;

/// Seconds; the loop never idles that long, so no PINGREQ is needed besides those of QoS 0.
const KEEP_ALIVE_SECONDS: u16 = 300;
/// Connections of a thread that are being established at a time: more could overrun the broker's backlog.
const CONNECTING_MAX: usize = 128;
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
const WAKER: Token = Token(usize::MAX);

/// What all threads do at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Connect = 0,
    WarmUp = 1,
    Measure = 2,
    Drain = 3,
    Stop = 4,
}

/// What a thread shares with the one that directs the run.
#[derive(Debug)]
pub(super) struct Shared {
    phase: AtomicU8,
    pub(super) done: AtomicU64,
    wakers: Mutex<Vec<Waker>>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            phase: AtomicU8::new(Phase::Connect as u8),
            done: AtomicU64::new(0),
            wakers: Mutex::default(),
        }
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Connect,
            1 => Phase::WarmUp,
            2 => Phase::Measure,
            3 => Phase::Drain,
            _ => Phase::Stop,
        }
    }

    /// Moves all threads on to `phase`.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        let wakers = self.wakers.lock().expect("no panic while locked");
        for waker in wakers.iter() {
            // The threads look at the phase at every poll time-out as well.
            waker.wake().ok();
        }
    }
}

/// What a thread tells while it runs.
#[derive(Debug)]
pub(super) enum News {
    /// All its connections are open.
    Connected,
    /// Its last connection is gone.
    Lost(String),
}

/// What a thread did.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) keys: Vec<Key>,
    pub(super) latencies: Latencies,
    pub(super) refused: u64,
    pub(super) in_flight: u64,
    pub(super) connections_lost: Vec<String>,
    /// CPU time of the thread in the measured window.
    pub(super) cpu: Option<Duration>,
}

struct Peer {
    connection: Option<Connection>,
    publisher: Publisher,
}

/// What all threads of a run have in common.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) address: SocketAddr,
    pub(super) version: Version,
    pub(super) qos: QoS,
    pub(super) window: u16,
    pub(super) run: RunId,
    pub(super) template: PublishTemplate,
    pub(super) shared: Arc<Shared>,
    /// Must have room for two messages of every connection.
    pub(super) news: SyncSender<News>,
}

/// A generator thread before and while it runs.
pub(super) struct Worker {
    plan: Plan,
    name: String,
    clock: SystemClock,
    poll: Poll,
    peers: Vec<Peer>,
    started: usize,
    open: usize,
    alive: usize,
    phase: Phase,
    recorder: Recorder,
    refused: u64,
    lost: Vec<String>,
    cpu_at_start: Option<Duration>,
    cpu: Option<Duration>,
}

impl Worker {
    /// A thread for the connections whose keys are given.
    pub(super) fn new(index: usize, plan: Plan, keys: Vec<Vec<Key>>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        plan.shared
            .wakers
            .lock()
            .expect("no panic while locked")
            .push(waker);
        let peers = keys.into_iter().map(|keys| Peer {
            connection: None,
            publisher: Publisher::new(plan.qos, plan.window, keys),
        });
        Ok(Self {
            peers: peers.collect(),
            name: format!("bench-{}-{index}", plan.run),
            plan,
            clock: SystemClock::new(),
            poll,
            started: 0,
            open: 0,
            alive: 0,
            phase: Phase::Connect,
            recorder: Recorder::new(),
            refused: 0,
            lost: Vec::new(),
            cpu_at_start: None,
            cpu: None,
        })
    }

    /// Runs until the phase is [`Phase::Stop`], or [`Phase::Drain`] and everything is answered.
    pub(super) fn run(mut self) -> io::Result<Outcome> {
        let mut events = Events::with_capacity(1024);
        let mut scratch = vec![0; SCRATCH_BYTES];
        loop {
            self.enter_phase();
            if self.phase == Phase::Stop || self.phase == Phase::Drain && self.in_flight() == 0 {
                break;
            }
            self.connect_more()?;
            match self.poll.poll(&mut events, Some(POLL_TIMEOUT)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            self.recorder.now = self.clock.now();
            self.plan.template.set_millis(self.clock.wall_millis());
            let mut done = 0;
            for event in &events {
                if event.token() != WAKER {
                    done += self.turn(event.token().0, &mut scratch);
                }
            }
            self.recorder.flush();
            self.plan.shared.done.fetch_add(done, Ordering::Relaxed);
        }
        Ok(self.finish())
    }

    fn enter_phase(&mut self) {
        let phase = self.plan.shared.phase();
        if phase == self.phase {
            return;
        }
        if phase >= Phase::Measure && self.cpu_at_start.is_none() {
            self.cpu_at_start = thread_cpu();
        }
        if phase > Phase::Measure && self.cpu.is_none() {
            let spent = thread_cpu().zip(self.cpu_at_start);
            self.cpu = spent.map(|(now, start)| now.saturating_sub(start));
        }
        let begins = self.phase == Phase::Connect && phase < Phase::Drain;
        self.phase = phase;
        self.recorder.measuring = phase == Phase::Measure;
        if begins {
            self.recorder.now = self.clock.now();
            self.plan.template.set_millis(self.clock.wall_millis());
            for index in 0..self.peers.len() {
                self.send(index);
            }
        }
    }

    fn connect_more(&mut self) -> io::Result<()> {
        while self.started < self.peers.len() && self.started - self.open < CONNECTING_MAX {
            let connection = Connection::open(
                self.plan.address,
                self.poll.registry(),
                Token(self.started),
                self.plan.version,
                &format!("{}-{}", self.name, self.started),
                KEEP_ALIVE_SECONDS,
            )?;
            self.peers[self.started].connection = Some(connection);
            self.started += 1;
            self.alive += 1;
        }
        Ok(())
    }

    /// Reads a connection's answers and fills its window again. Returns how many messages came to their end.
    fn turn(&mut self, index: usize, scratch: &mut [u8]) -> u64 {
        let Peer {
            connection: Some(connection),
            publisher,
        } = &mut self.peers[index]
        else {
            return 0;
        };
        let was_open = publisher.open;
        let mut tally = Tally::default();
        let mut failed = None;
        let mut replies = Vec::new();
        let recorder = &mut self.recorder;
        let received = connection.receive(scratch, |incoming| {
            let taken = match incoming {
                Incoming::ConnAck {
                    code,
                    receive_maximum,
                } => publisher.accepted(code, receive_maximum),
                answer => publisher.answered(answer, &mut replies, recorder, &mut tally),
            };
            if let Err(reason) = taken {
                failed.get_or_insert(reason);
            }
        });
        connection.out().append(&mut replies);
        let opened = publisher.open && !was_open;
        self.refused += tally.refused;
        if let Some(reason) = failed.or_else(|| received.err().map(|error| error.to_string())) {
            self.lose(index, reason);
        } else {
            if opened {
                self.open += 1;
                if self.open == self.peers.len() {
                    self.tell(News::Connected);
                }
            }
            self.send(index);
        }
        tally.done
    }

    /// Fills the window, if messages are wanted, and writes.
    fn send(&mut self, index: usize) {
        let Peer {
            connection: Some(connection),
            publisher,
        } = &mut self.peers[index]
        else {
            return;
        };
        let wanted = matches!(self.phase, Phase::WarmUp | Phase::Measure) && publisher.open;
        let mut more = true;
        while more {
            let (template, now) = (&self.plan.template, self.recorder.now);
            let filled = wanted && publisher.fill(connection.out(), template, now);
            if let Err(error) = connection.flush() {
                return self.lose(index, error.to_string());
            }
            more = filled && connection.out().is_empty();
        }
    }

    fn lose(&mut self, index: usize, reason: String) {
        if let Some(mut connection) = self.peers[index].connection.take() {
            connection.deregister(self.poll.registry());
            self.alive -= 1;
        }
        self.lost.push(reason.clone());
        if self.phase == Phase::Connect || self.alive == 0 {
            self.tell(News::Lost(reason));
        }
    }

    fn tell(&self, news: News) {
        // A full channel means that the end of the run is decided already.
        self.plan.news.try_send(news).ok();
    }

    fn in_flight(&self) -> u64 {
        let connected = self.peers.iter().filter(|peer| peer.connection.is_some());
        connected.map(|peer| peer.publisher.in_flight()).sum()
    }

    fn finish(mut self) -> Outcome {
        let in_flight = self
            .peers
            .iter()
            .map(|peer| peer.publisher.in_flight())
            .sum();
        for peer in &mut self.peers {
            if let Some(connection) = &mut peer.connection {
                push_disconnect(connection.out());
                // Best effort: the socket is closed in the next moment in any case.
                connection.flush().ok();
            }
        }
        let keys = self
            .peers
            .into_iter()
            .map(|peer| peer.publisher.into_keys());
        Outcome {
            keys: keys.flatten().collect(),
            latencies: self.recorder.latencies,
            refused: self.refused,
            in_flight,
            connections_lost: self.lost,
            cpu: self.cpu,
        }
    }
}
