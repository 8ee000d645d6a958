//! A broker on a disk that can be told to fail, the stream behind it, and clients that see the answers.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use forebay_tests::forebay::{Builder, Forebay};
use forebay_tests::kinesis::{self, Record};
use forebay_tests::metrics::Metrics;
use forebay_tests::mqtt::{Client, Packet, Publish, Received, Version};
use forebay_tests::oracle::{Findings, Numbered, compare};
use forebay_tests::streams::{StreamServer, lasting_address};
use forebay_tests::{http, wait};
use serde_json::Value;
use tempfile::TempDir;

use crate::bed::{self, LIMIT};

pub(super) const STREAM: &str = "kept";
/// The file whose existence makes the disk fail, and how.
const CONTROL: &str = "control";
pub(super) const BROKEN: &str = "EIO";
pub(super) const FULL: &str = "ENOSPC";
/// How long a client listens for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(300);
/// Without an answer for so long, a publisher that always has something to say is waiting.
const STALL: Duration = Duration::from_secs(2);
/// Time between two bursts.
const PAUSE: Duration = Duration::from_millis(10);
/// Messages of a burst.
const BURST: u64 = 20;

/// A broker on a disk that can be told to fail, the stream behind it, and what both keep.
pub(super) struct Bench {
    folder: TempDir,
    stream_data: TempDir,
    address: SocketAddr,
    on_failure: &'static str,
    life: u64,
}

impl Bench {
    pub(super) fn new(on_failure: &'static str) -> Result<Self> {
        Ok(Self {
            folder: TempDir::with_prefix("forebay-test-disk-")?,
            stream_data: TempDir::with_prefix("forebay-test-stream-")?,
            address: lasting_address()?,
            on_failure,
            life: 0,
        })
    }

    pub(super) fn control(&self) -> PathBuf {
        self.folder.path().join(CONTROL)
    }

    pub(super) fn fail(&self, how: &str) -> Result<()> {
        Ok(fs::write(self.control(), how)?)
    }

    pub(super) fn heal(&self) -> Result<()> {
        Ok(fs::remove_file(self.control())?)
    }

    pub(super) fn streams(&self) -> Result<StreamServer> {
        let stream = format!("{STREAM}:2");
        let arguments = ["--limits", "off", "--stream", &stream];
        StreamServer::embedded_at(self.address, self.stream_data.path(), &arguments)
    }

    /// Starts the broker with what the last one left.
    pub(super) fn start(&mut self) -> Result<Forebay> {
        self.life += 1;
        let text = |path: PathBuf| format!("{:?}", path.display().to_string());
        Builder::new()?
            .spooled()
            .endpoint(&format!("http://{}", self.address))
            .set("server.data_dir", &text(self.folder.path().join("data")))
            .set("admin.token_file", "\"data/admin-token\"")
            .set("spool.on_failure", &format!("{:?}", self.on_failure))
            .set("kinesis.rate_limit", "\"off\"")
            .env("FOREBAY_TEST_LOSSY_DISK", &self.life.to_string())
            .env(
                "FOREBAY_TEST_FAILING_DISK",
                &self.control().display().to_string(),
            )
            .kinesis_rule("keep", "SELECT * FROM 'dt/#'", STREAM, "${key}")?
            .start()
    }
}

pub(super) fn identify(record: &Record) -> Result<Numbered> {
    let json = record.json()?;
    let key = json["key"].as_str().context("a record without key")?;
    let number = json["number"].as_u64().context("no number")?;
    Ok((key.to_owned(), number))
}

pub(super) fn message(key: &str, number: u64) -> Publish {
    padded(key, number, "")
}

fn padded(key: &str, number: u64, padding: &str) -> Publish {
    let payload = format!(r#"{{"key":"{key}","number":{number},"padding":"{padding}"}}"#);
    Publish::new("dt/a", payload, 1)
}

/// Publishes messages of a key, which must all be answered.
pub(super) fn publish(forebay: &Forebay, key: &str, numbers: std::ops::Range<u64>) -> Result<()> {
    let mut client = Client::simple(forebay.mqtt(), Version::V5, key)?;
    let messages = numbers.map(|number| message(key, number));
    for outcome in client.publish_all(messages, 10)? {
        ensure!(outcome.reason < 0x80, "{outcome:?}");
    }
    client.disconnect()
}

/// A client that publishes without end, and sees the answers come in order.
pub(super) struct Publisher {
    key: String,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Result<u64>>,
}

impl Publisher {
    pub(super) fn start(forebay: &Forebay, key: &str, version: Version, padding: usize) -> Self {
        let padding = "x".repeat(padding);
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&answered));
        let (address, name) = (forebay.mqtt(), key.to_owned());
        let thread = thread::spawn(move || {
            publish_until(address, &name, version, &padding, &stopped, &counted)
        });
        Self {
            key: key.to_owned(),
            stop,
            answered,
            thread,
        }
    }

    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    /// Waits for `more` answers.
    pub(super) fn progress(&self, more: u64) -> Result<()> {
        let from = self.answered();
        wait::until_true("more answers", LIMIT, || {
            ensure!(!self.thread.is_finished(), "the publisher has ended");
            Ok(self.answered() >= from + more)
        })
    }

    /// Waits until no answer comes any more.
    pub(super) fn until_it_waits(&self) -> Result<()> {
        let answered = || Ok(self.answered());
        let last = wait::until_still("a publisher that waits", 2 * LIMIT, STALL, answered)?;
        ensure!(last > 0, "nothing was answered");
        Ok(())
    }

    /// Ends it; its key and how many messages it has published, all of them answered.
    pub(super) fn finish(self) -> Result<(String, u64)> {
        self.stop.store(true, Ordering::SeqCst);
        let ended = self.thread.join();
        let published = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((self.key, published))
    }
}

fn publish_until(
    address: SocketAddr,
    key: &str,
    version: Version,
    padding: &str,
    stop: &AtomicBool,
    answered: &AtomicU64,
) -> Result<u64> {
    let mut client = Client::simple(address, version, key)?;
    client.set_limit(LIMIT);
    let mut published = 0;
    while !stop.load(Ordering::SeqCst) {
        let numbers = published..published + BURST;
        let burst = numbers.map(|number| padded(key, number, padding));
        for outcome in client.publish_all(burst, BURST as usize)? {
            ensure!(outcome.reason < 0x80, "{outcome:?}");
        }
        published += BURST;
        answered.store(published, Ordering::SeqCst);
        let unasked = client.read(PAUSE)?;
        ensure!(unasked == Received::Nothing, "{unasked:?}");
    }
    client.disconnect()?;
    Ok(published)
}

/// What the stream has of the messages of each key, once everything has arrived.
pub(super) fn judge(
    forebay: &Forebay,
    streams: &StreamServer,
    published: &BTreeMap<String, u64>,
) -> Result<Findings> {
    bed::until_metrics(forebay, "the arrival of what is owed", |metrics| {
        metrics.sum("forebay_records_pending", &[]) == 0.0
            && metrics.sum("forebay_spool_unsettled_records", &[]) == 0.0
    })?;
    let records = kinesis::read_stream(&streams.endpoint(), STREAM)?;
    compare(published, &records, identify)
}

/// Waits until the spool can be written, or not.
pub(super) fn until_writable(forebay: &Forebay, wanted: bool) -> Result<Metrics> {
    bed::until_metrics(forebay, "what the disk does", |metrics| {
        metrics.value("forebay_spool_writable", &[]).ok() == Some(f64::from(u8::from(wanted)))
    })
}

pub(super) fn fallback(metrics: &Metrics) -> Result<f64> {
    metrics.value("forebay_spool_fallback_records_total", &[])
}

/// What the status page says of the writer of the spool.
pub(super) fn writer(forebay: &Forebay) -> Result<Value> {
    let status: Value = serde_json::from_str(&forebay.get("/statusz")?.body)?;
    Ok(status["spool"]["writer"].clone())
}

pub(super) fn is_ready(forebay: &Forebay) -> Result<bool> {
    let answer = http::get(forebay.admin(), "/readyz")?;
    let ready = answer.status == 200;
    ensure!(
        ready || answer.status == 503 && answer.body.contains("spool"),
        "{answer:?}"
    );
    Ok(ready)
}

/// How often it said that the disk failed, and that it was well again.
pub(super) fn said(forebay: &Forebay) -> [u32; 2] {
    ["spool cannot be written", "spool can be written again"]
        .map(|message| forebay.events(message).len() as u32)
}

/// Publishes one message and sees that no answer comes.
pub(super) fn unanswered(forebay: &Forebay, key: &str) -> Result<Client> {
    let mut client = Client::simple(forebay.mqtt(), Version::V5, key)?;
    let mut waiting = message(key, 0);
    waiting.id = 1;
    client.send(&forebay_tests::mqtt::publish(Version::V5, &waiting))?;
    let answer = client.read(SILENCE)?;
    ensure!(answer == Received::Nothing, "{answer:?}");
    Ok(client)
}

pub(super) fn expect_answer(client: &mut Client) -> Result<()> {
    let answer = client.read(LIMIT)?;
    let answered = matches!(&answer, Received::Packet(Packet::PubAck(ack)) if ack.id == 1 && ack.reason < 0x80);
    ensure!(answered, "{answer:?}");
    Ok(())
}
