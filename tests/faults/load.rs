//! Devices that publish numbered messages, each over a connection and a thread of its own.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use forebay_tests::mqtt::{Client, Packet, Publish, Received, Version, id, publish};
use forebay_tests::oracle::Numbered;
use serde_json::json;

/// How long a device waits for the next answer before it gives up: longer than every fault.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often an idle device looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);
/// Packet identifiers in use; more than any window.
const IDS: u64 = 60_000;

/// A device and what it publishes: message `i` has key `i % keys` and the number `i / keys`.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) topic: String,
    /// Nobody else publishes these keys, so each has one order.
    pub(crate) keys: Vec<String>,
    /// How many messages; `None` for as many as there are until the device is stopped.
    pub(crate) messages: Option<u64>,
    /// Unanswered messages at most.
    pub(crate) window: usize,
    /// Time between two messages; `None` for as fast as answers come.
    pub(crate) pace: Option<Duration>,
    /// Bytes of padding in each message.
    pub(crate) padding: usize,
}

/// One PUBACK.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) reason: u8,
    pub(crate) reason_string: Option<String>,
    /// When the message was due: its latency counts from here, also if sending it was late.
    pub(crate) due: Instant,
    pub(crate) done: Instant,
}

/// A device at work.
#[derive(Debug)]
pub(crate) struct Running {
    device: Device,
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Answer>>>,
    thread: JoinHandle<Result<()>>,
}

/// What a device published, all of it answered, in the order of publishing.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) device: Device,
    pub(crate) answers: Vec<Answer>,
}

// === impl Device ===

impl Device {
    /// A device of the stream's own rule, with a window of 50.
    pub(crate) fn new(stream: &str, name: &str, keys: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            version: Version::V5,
            topic: format!("{stream}/{name}"),
            keys,
            messages: None,
            window: 50,
            pace: None,
            padding: 0,
        }
    }

    pub(crate) fn messages(mut self, messages: u64) -> Self {
        self.messages = Some(messages);
        self
    }

    pub(crate) fn window(mut self, window: usize) -> Self {
        self.window = window;
        self
    }

    pub(crate) fn pace(mut self, pace: Duration) -> Self {
        self.pace = Some(pace);
        self
    }

    pub(crate) fn padding(mut self, padding: usize) -> Self {
        self.padding = padding;
        self
    }

    pub(crate) fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Connects and starts to publish.
    pub(crate) fn start(self, broker: SocketAddr) -> Result<Running> {
        let client = Client::simple(broker, self.version, &self.name)?;
        let stop = Arc::new(AtomicBool::new(false));
        let answers = Arc::default();
        let work = Work {
            client,
            device: self.clone(),
            stop: Arc::clone(&stop),
            answers: Arc::clone(&answers),
            in_flight: VecDeque::new(),
            published: 0,
            start: Instant::now(),
        };
        Ok(Running {
            device: self,
            stop,
            answers,
            thread: thread::spawn(move || work.run()),
        })
    }

    fn message(&self, index: u64) -> Publish {
        let (key, number) = self.numbered(index);
        let payload = json!({ "key": key, "number": number, "padding": "x".repeat(self.padding) });
        let mut message = Publish::new(&self.topic, payload.to_string(), 1);
        message.id = packet_id(index);
        message
    }

    /// Key and number of the message at this place.
    pub(crate) fn numbered(&self, index: u64) -> Numbered {
        let keys = self.keys.len() as u64;
        (self.keys[(index % keys) as usize].clone(), index / keys)
    }
}

fn packet_id(index: u64) -> u16 {
    (index % IDS + 1) as u16
}

// === impl Running ===

impl Running {
    /// How many answers have come.
    pub(crate) fn answered(&self) -> usize {
        let answers = self.answers.lock();
        answers.unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether it has ended: all answers are there, or something went wrong.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Publishes nothing more, waits for the answers that are missing, and disconnects.
    pub(crate) fn finish(self) -> Result<Delivery> {
        self.stop.store(true, Ordering::SeqCst);
        let ended = self.thread.join();
        let ended = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ended.with_context(|| self.device.name.clone())?;
        let answers =
            std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Delivery {
            device: self.device,
            answers,
        })
    }
}

// === impl Delivery ===

impl Delivery {
    /// How many messages of each key were published.
    pub(crate) fn published(&self) -> BTreeMap<String, u64> {
        let (total, keys) = (self.answers.len() as u64, self.device.keys.len() as u64);
        let key = |(place, key): (usize, &String)| {
            (key.clone(), (total + keys - 1 - place as u64) / keys)
        };
        self.device.keys.iter().enumerate().map(key).collect()
    }

    /// Every answer must be a success.
    pub(crate) fn expect_success(&self) -> Result<()> {
        let refused = self.answers.iter().position(|answer| answer.reason != 0);
        ensure!(
            refused.is_none(),
            "{}: message {refused:?} was refused",
            self.device.name
        );
        Ok(())
    }
}

/// Stops all devices and waits for what they published.
pub(crate) fn finish_all(devices: Vec<Running>) -> Result<Vec<Delivery>> {
    for device in &devices {
        device.stop.store(true, Ordering::SeqCst);
    }
    devices.into_iter().map(Running::finish).collect()
}

/// All answers of several devices.
pub(crate) fn answered(devices: &[Running]) -> usize {
    devices.iter().map(Running::answered).sum()
}

/// The thread of a device.
struct Work {
    client: Client,
    device: Device,
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Answer>>>,
    in_flight: VecDeque<(u16, Instant)>,
    published: u64,
    start: Instant,
}

impl Work {
    fn run(mut self) -> Result<()> {
        let mut last_answer = Instant::now();
        loop {
            self.publish()?;
            if self.in_flight.is_empty() {
                last_answer = Instant::now();
                if self.is_over() {
                    return self.client.disconnect();
                }
            }
            match self.client.read(self.until_due().min(LOOK))? {
                Received::Packet(Packet::PubAck(ack)) => {
                    last_answer = Instant::now();
                    let first = self.in_flight.pop_front();
                    let (id, due) = first.with_context(|| format!("answer to nothing: {ack:?}"))?;
                    ensure!(ack.id == id, "PUBACK {} before {id}", ack.id);
                    let answer = Answer {
                        reason: ack.reason,
                        reason_string: ack.properties.text(id::REASON_STRING).map(str::to_owned),
                        due,
                        done: last_answer,
                    };
                    let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
                    answers.push(answer);
                }
                Received::Nothing => ensure!(
                    last_answer.elapsed() < PATIENCE,
                    "{} messages unanswered for {PATIENCE:?}",
                    self.in_flight.len()
                ),
                Received::Closed => bail!("closed by the broker"),
                Received::Packet(other) => bail!("instead of PUBACK: {other:?}"),
            }
        }
    }

    fn is_over(&self) -> bool {
        match self.device.messages {
            Some(messages) => self.published >= messages,
            None => self.stop.load(Ordering::SeqCst),
        }
    }

    fn due(&self) -> Instant {
        match self.device.pace {
            Some(pace) => self.start + pace.mul_f64(self.published as f64),
            None => Instant::now(),
        }
    }

    /// How long until the next message may be sent, the window aside.
    fn until_due(&self) -> Duration {
        if self.in_flight.len() >= self.device.window {
            return LOOK;
        }
        self.due().saturating_duration_since(Instant::now())
    }

    /// Sends what is due. Without a pace it waits for half of the window, so that a write has many
    /// messages.
    fn publish(&mut self) -> Result<()> {
        if self.device.pace.is_none() && self.in_flight.len() > self.device.window / 2 {
            return Ok(());
        }
        let mut bytes = Vec::new();
        while self.in_flight.len() < self.device.window && !self.is_over() {
            let due = self.due();
            if due > Instant::now() {
                break;
            }
            let message = self.device.message(self.published);
            self.in_flight.push_back((message.id, due));
            bytes.extend(publish(self.device.version, &message));
            self.published += 1;
        }
        self.client.send(&bytes)
    }
}
