//! The devices' thread: one poll, one schedule.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forebay_core::{Clock, SeededEntropy, SystemClock, Time};
use mio::{Events, Poll, Token, Waker};

use super::config::{DevicesConfig, DevicesError};
use super::device::{Device, Link, Style};
use super::handle::Shared;
use crate::ledger::Ledger;
use crate::mqtt::{Connection, Incoming, PINGREQ, SCRATCH_BYTES, push_disconnect};

const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// A device that has sent nothing for that long sends a PINGREQ.
const PING_AFTER: Duration = Duration::from_secs(25);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
const WAKER: Token = Token(usize::MAX);

/// All devices and their schedule.
pub(super) struct Fleet {
    config: DevicesConfig,
    style: Style,
    addresses: Vec<SocketAddr>,
    attempts: usize,
    shared: Arc<Shared>,
    clock: SystemClock,
    entropy: SeededEntropy,
    poll: Poll,
    devices: Vec<Device>,
    schedule: BinaryHeap<Reverse<(Time, usize)>>,
    now: Time,
}

impl Fleet {
    /// The devices, and what wakes their thread. First turns are spread over one interval.
    pub(super) fn new(
        config: DevicesConfig,
        shared: Arc<Shared>,
    ) -> Result<(Self, Waker), DevicesError> {
        let failed = |error: io::Error| DevicesError::Thread(error.to_string());
        let addresses = config.broker.resolve();
        let addresses = addresses.map_err(|source| DevicesError::Resolve {
            broker: config.broker.clone(),
            source,
        })?;
        let poll = Poll::new().map_err(failed)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(failed)?;
        let clock = SystemClock::new();
        let mut entropy = SeededEntropy::new(config.seed);
        let style = Style {
            run: config.run,
            version: config.version,
            topic: config.topic.clone(),
            size: config.size,
            interval: config.interval(),
        };
        let digits = (config.devices - 1).to_string().len();
        let step = style.interval.div_f64(config.devices as f64);
        let now = clock.now();
        let devices: Vec<Device> = (0..config.devices)
            .map(|index| {
                let due = now + step.mul_f64(index as f64);
                Device::new(format!("d-{index:0digits$}"), &style, due, &mut entropy)
            })
            .collect();
        let mut fleet = Self {
            style,
            addresses,
            attempts: 0,
            shared,
            clock,
            entropy,
            poll,
            schedule: BinaryHeap::with_capacity(2 * devices.len()),
            devices,
            now,
            config,
        };
        for index in 0..fleet.devices.len() {
            fleet.schedule(index, now);
        }
        Ok((fleet, waker))
    }

    /// Runs until it is told to stop and the drain is over. Returns what was published, and how many messages are
    /// unanswered.
    pub(super) fn run(mut self) -> io::Result<(Ledger, u64)> {
        let mut events = Events::with_capacity(1024);
        let mut scratch = vec![0; SCRATCH_BYTES];
        let mut drained_by: Option<Time> = None;
        loop {
            let next = self
                .schedule
                .peek()
                .map_or(POLL_TIMEOUT, |Reverse((at, _))| {
                    at.since(self.clock.now()).min(POLL_TIMEOUT)
                });
            match self.poll.poll(&mut events, Some(next)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            self.now = self.clock.now();
            for event in &events {
                if event.token() != WAKER {
                    self.receive(event.token().0, &mut scratch);
                }
            }
            if drained_by.is_none() && self.shared.stop.load(Ordering::Acquire) {
                let drain = *self.shared.drain.lock().expect("no panic while locked");
                drained_by = Some(self.now + drain);
            }
            self.run_schedule(drained_by.is_none());
            if drained_by.is_some_and(|deadline| self.now >= deadline || self.in_flight() == 0) {
                return Ok(self.end());
            }
        }
    }

    fn schedule(&mut self, index: usize, at: Time) {
        self.devices[index].wake = at;
        self.schedule.push(Reverse((at, index)));
    }

    fn run_schedule(&mut self, publishing: bool) {
        while let Some(Reverse((at, index))) = self.schedule.peek().copied()
            && at <= self.now
        {
            self.schedule.pop();
            if self.devices[index].wake == at {
                self.wake(index, publishing);
            }
        }
    }

    fn wake(&mut self, index: usize, publishing: bool) {
        match &mut self.devices[index].link {
            Link::Down => self.connect(index),
            Link::Connecting(_) => {
                self.lose(index, format!("no CONNACK for {CONNECT_TIMEOUT:?}"));
            }
            Link::Up(_) => self.publish(index, publishing),
        }
    }

    fn connect(&mut self, index: usize) {
        // A name such as `localhost` has several addresses, and the broker may listen on one of them.
        let address = self.addresses[self.attempts % self.addresses.len()];
        self.attempts += 1;
        let device = &mut self.devices[index];
        let opened = Connection::open(
            address,
            self.poll.registry(),
            Token(index),
            self.config.version,
            &format!("{}-{}", self.config.run, device.name),
            KEEP_ALIVE.as_secs() as u16,
        );
        match opened {
            Ok(connection) => {
                device.link = Link::Connecting(connection);
                self.schedule(index, self.now + CONNECT_TIMEOUT);
            }
            Err(error) => self.lose(index, error.to_string()),
        }
    }

    fn publish(&mut self, index: usize, publishing: bool) {
        let device = &mut self.devices[index];
        if publishing {
            let millis = self.clock.wall_millis();
            let published = device.publish_due(&self.style, self.now, millis, &mut self.entropy);
            add(&self.shared.published, published.messages);
            add(&self.shared.skipped, published.skipped);
        }
        if self.now.since(device.last_sent) >= PING_AFTER
            && let Some(connection) = device.link.connection()
        {
            connection.out().extend(PINGREQ);
            device.last_sent = self.now;
        }
        let ping = device.last_sent + PING_AFTER;
        let next = if publishing {
            device.due.min(ping)
        } else {
            ping
        };
        self.schedule(index, next);
        self.flush(index);
    }

    fn flush(&mut self, index: usize) {
        if let Some(connection) = self.devices[index].link.connection()
            && let Err(error) = connection.flush()
        {
            self.lose(index, error.to_string());
        }
    }

    fn receive(&mut self, index: usize, scratch: &mut [u8]) {
        let Some(connection) = self.devices[index].link.connection() else {
            return;
        };
        let mut answers = Vec::new();
        let received = connection.receive(scratch, |incoming| answers.push(incoming));
        for answer in answers {
            if let Err(reason) = self.answered(index, answer) {
                return self.lose(index, reason);
            }
        }
        match received {
            Ok(()) => self.flush(index),
            Err(error) => self.lose(index, error.to_string()),
        }
    }

    fn answered(&mut self, index: usize, answer: Incoming) -> Result<(), String> {
        let device = &mut self.devices[index];
        match answer {
            Incoming::ConnAck {
                code: 0,
                receive_maximum,
            } if matches!(device.link, Link::Connecting(_)) => {
                let again = device.opened(&self.style, receive_maximum, self.now);
                add(&self.shared.republished, again);
                add(&self.shared.connected, 1);
                // What came due while there was no link is not made up for.
                while device.due <= self.now {
                    device.due += self.style.interval;
                }
                let at = device.due;
                self.schedule(index, at);
                Ok(())
            }
            Incoming::ConnAck { code, .. } => Err(format!("refused with CONNACK code {code:#04x}")),
            Incoming::PubAck { id, refused } => {
                let latency = device
                    .answered(id, refused, self.now)
                    .ok_or_else(|| format!("PUBACK {id} for nothing in flight"))?;
                let counter = if refused {
                    &self.shared.refused
                } else {
                    &self.shared.acknowledged
                };
                add(counter, 1);
                let mut latencies = self.shared.latencies.lock().expect("no panic while locked");
                latencies.record(latency, 1);
                Ok(())
            }
            Incoming::PingResp => Ok(()),
            Incoming::Disconnect { code } => Err(format!("DISCONNECT with reason {code:#04x}")),
            other => Err(format!("unexpected {other:?}")),
        }
    }

    fn lose(&mut self, index: usize, reason: String) {
        let device = &mut self.devices[index];
        let was_up = matches!(device.link, Link::Up(_));
        if let Some(connection) = device.link.connection() {
            connection.deregister(self.poll.registry());
        }
        device.link = Link::Down;
        let again = self.now + device.next_backoff(&mut self.entropy);
        self.schedule(index, again);
        if was_up {
            self.shared.connected.fetch_sub(1, Ordering::Relaxed);
        }
        add(&self.shared.connections_lost, 1);
        *self.shared.last_loss.lock().expect("no panic while locked") = Some(reason);
    }

    fn in_flight(&self) -> u64 {
        self.devices.iter().map(Device::in_flight).sum()
    }

    fn end(mut self) -> (Ledger, u64) {
        let unanswered = self.in_flight();
        let mut ledger = Ledger::default();
        for mut device in std::mem::take(&mut self.devices) {
            if let Link::Up(connection) = &mut device.link {
                push_disconnect(connection.out());
                // Best effort: the socket is closed in the next moment in any case.
                connection.flush().ok();
            }
            *ledger.key(&device.name) = device.ledger;
        }
        self.shared.connected.store(0, Ordering::Relaxed);
        (ledger, unanswered)
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
