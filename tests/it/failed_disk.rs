//! A disk that cannot be written, under the program as it is: what publishes wait for meanwhile, and that everything goes
//! on by itself when the disk is well again. At a kill the disk loses what was not flushed.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use forebay_tests::forebay::{Builder, Forebay, field};
use forebay_tests::kinesis::{self, Record};
use forebay_tests::metrics::Metrics;
use forebay_tests::mqtt::{Client, Packet, Publish, Received, Version};
use forebay_tests::oracle::{Findings, Numbered, compare};
use forebay_tests::streams::{StreamServer, lasting_address};
use forebay_tests::{http, wait};
use serde_json::Value;
use tempfile::TempDir;

use crate::bed::{self, LIMIT};

const STREAM: &str = "kept";
/// The file whose existence makes the disk fail, and how.
const CONTROL: &str = "control";
const BROKEN: &str = "EIO";
const FULL: &str = "ENOSPC";
/// How long a client listens for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(300);
/// Without an answer for so long, a publisher that always has something to say is waiting.
const STALL: Duration = Duration::from_secs(2);
/// Time between two bursts.
const PAUSE: Duration = Duration::from_millis(10);
/// Messages of a burst.
const BURST: u64 = 20;

/// A broker on a disk that can be told to fail, the stream behind it, and what both keep.
struct Bench {
    folder: TempDir,
    stream_data: TempDir,
    address: SocketAddr,
    on_failure: &'static str,
    life: u64,
}

impl Bench {
    fn new(on_failure: &'static str) -> Result<Self> {
        Ok(Self {
            folder: TempDir::with_prefix("forebay-test-disk-")?,
            stream_data: TempDir::with_prefix("forebay-test-stream-")?,
            address: lasting_address()?,
            on_failure,
            life: 0,
        })
    }

    fn control(&self) -> PathBuf {
        self.folder.path().join(CONTROL)
    }

    fn fail(&self, how: &str) -> Result<()> {
        Ok(fs::write(self.control(), how)?)
    }

    fn heal(&self) -> Result<()> {
        Ok(fs::remove_file(self.control())?)
    }

    fn streams(&self) -> Result<StreamServer> {
        let stream = format!("{STREAM}:2");
        let arguments = ["--limits", "off", "--stream", &stream];
        StreamServer::embedded_at(self.address, self.stream_data.path(), &arguments)
    }

    /// Starts the broker with what the last one left.
    fn start(&mut self) -> Result<Forebay> {
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

fn identify(record: &Record) -> Result<Numbered> {
    let json = record.json()?;
    let key = json["key"].as_str().context("a record without key")?;
    let number = json["number"].as_u64().context("no number")?;
    Ok((key.to_owned(), number))
}

fn message(key: &str, number: u64) -> Publish {
    padded(key, number, "")
}

fn padded(key: &str, number: u64, padding: &str) -> Publish {
    let payload = format!(r#"{{"key":"{key}","number":{number},"padding":"{padding}"}}"#);
    Publish::new("dt/a", payload, 1)
}

/// Publishes messages of a key, which must all be answered.
fn publish(forebay: &Forebay, key: &str, numbers: std::ops::Range<u64>) -> Result<()> {
    let mut client = Client::simple(forebay.mqtt(), Version::V5, key)?;
    let messages = numbers.map(|number| message(key, number));
    for outcome in client.publish_all(messages, 10)? {
        ensure!(outcome.reason < 0x80, "{outcome:?}");
    }
    client.disconnect()
}

/// A client that publishes without end, and sees the answers come in order.
struct Publisher {
    key: String,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Result<u64>>,
}

impl Publisher {
    fn start(forebay: &Forebay, key: &str, version: Version, padding: usize) -> Self {
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

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    /// Waits for `more` answers.
    fn progress(&self, more: u64) -> Result<()> {
        let from = self.answered();
        wait::until_true("more answers", LIMIT, || {
            ensure!(!self.thread.is_finished(), "the publisher has ended");
            Ok(self.answered() >= from + more)
        })
    }

    /// Waits until no answer comes any more.
    fn until_it_waits(&self) -> Result<()> {
        let (mut last, mut since) = (self.answered(), Instant::now());
        wait::until_true("a publisher that waits", 2 * LIMIT, || {
            let now = self.answered();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            Ok(now > 0 && since.elapsed() >= STALL)
        })
    }

    /// Ends it; its key and how many messages it has published, all of them answered.
    fn finish(self) -> Result<(String, u64)> {
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
fn judge(
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
fn until_writable(forebay: &Forebay, wanted: bool) -> Result<Metrics> {
    bed::until_metrics(forebay, "what the disk does", |metrics| {
        metrics.value("forebay_spool_writable", &[]).ok() == Some(f64::from(u8::from(wanted)))
    })
}

fn fallback(metrics: &Metrics) -> Result<f64> {
    metrics.value("forebay_spool_fallback_records_total", &[])
}

/// What the status page says of the writer of the spool.
fn writer(forebay: &Forebay) -> Result<Value> {
    let status: Value = serde_json::from_str(&forebay.get("/statusz")?.body)?;
    Ok(status["spool"]["writer"].clone())
}

fn is_ready(forebay: &Forebay) -> Result<bool> {
    let answer = http::get(forebay.admin(), "/readyz")?;
    let ready = answer.status == 200;
    ensure!(
        ready || answer.status == 503 && answer.body.contains("spool"),
        "{answer:?}"
    );
    Ok(ready)
}

/// How often it said that the disk failed, and that it was well again.
fn said(forebay: &Forebay) -> [u32; 2] {
    ["spool cannot be written", "spool can be written again"]
        .map(|message| forebay.events(message).len() as u32)
}

/// Publishes one message and sees that no answer comes.
fn unanswered(forebay: &Forebay, key: &str) -> Result<Client> {
    let mut client = Client::simple(forebay.mqtt(), Version::V5, key)?;
    let mut waiting = message(key, 0);
    waiting.id = 1;
    client.send(&forebay_tests::mqtt::publish(Version::V5, &waiting))?;
    let answer = client.read(SILENCE)?;
    ensure!(answer == Received::Nothing, "{answer:?}");
    Ok(client)
}

fn expect_answer(client: &mut Client) -> Result<()> {
    let answer = client.read(LIMIT)?;
    let answered = matches!(&answer, Received::Packet(Packet::PubAck(ack)) if ack.id == 1 && ack.reason < 0x80);
    ensure!(answered, "{answer:?}");
    Ok(())
}

/// Publishes are answered when Kinesis has them, in the order of their keys, and nobody else must do anything.
#[test]
fn publishes_go_on_through_kinesis_and_return_to_the_disk() -> Result<()> {
    let mut bench = Bench::new("stored")?;
    let streams = bench.streams()?;
    let forebay = bench.start()?;
    let publishers: Vec<Publisher> = Version::ALL
        .into_iter()
        .map(|version| Publisher::start(&forebay, &format!("device-{version:?}"), version, 0))
        .collect();
    let progress = || {
        publishers
            .iter()
            .try_for_each(|publisher| publisher.progress(100))
    };
    let mut before = 0.0;
    for round in 1..=3 {
        progress()?;
        bench.fail(BROKEN)?;
        until_writable(&forebay, false)?;
        progress()?;
        ensure!(is_ready(&forebay)?, "it serves");
        let failed = until_writable(&forebay, false)?;
        ensure!(fallback(&failed)? >= before + 100.0, "{failed:?}");
        ensure!(failed.value("forebay_spool_flush_errors_total", &[])? >= f64::from(round));
        ensure!(said(&forebay) == [round, round - 1]);
        let failed = writer(&forebay)?;
        ensure!(failed["condition"] == "failed", "{failed:#}");
        ensure!(
            failed["fallback_records"].as_f64() >= Some(before + 100.0),
            "{failed:#}"
        );
        let error = failed["last_error"].as_str().unwrap_or_default();
        ensure!(error.contains("told to fail"), "{failed:#}");

        bench.heal()?;
        before = fallback(&until_writable(&forebay, true)?)?;
        ensure!(said(&forebay) == [round; 2]);
        ensure!(writer(&forebay)?["condition"] == "writing");
        progress()?;
        let healed = forebay.metrics()?;
        ensure!(fallback(&healed)? == before, "it is not back on the disk");
    }
    let errors = forebay.events("spool cannot be written");
    ensure!(
        field(&errors[0], "on_failure") == Some("stored"),
        "{errors:?}"
    );
    let error = field(&errors[0], "error").unwrap_or_default();
    ensure!(error.contains("told to fail"), "{errors:?}");
    let published = publishers
        .into_iter()
        .map(Publisher::finish)
        .collect::<Result<_>>()?;
    // Nothing was in doubt, so nothing may have come twice.
    judge(&forebay, &streams, &published)?.expect_exact()?;
    bed::stop(forebay)
}

/// An answer during the fallback means that Kinesis has the message: neither a kill nor a power cut takes it, and what
/// was answered before by the disk is still there.
#[test]
fn a_kill_while_the_disk_fails_loses_nothing() -> Result<()> {
    let mut bench = Bench::new("stored")?;
    let streams = bench.streams()?;
    let forebay = bench.start()?;
    publish(&forebay, "before", 0..50)?;
    bench.fail(BROKEN)?;
    publish(&forebay, "meanwhile", 0..50)?;
    until_writable(&forebay, false)?;
    forebay.kill()?;
    let stored = kinesis::read_stream(&streams.endpoint(), STREAM)?;
    let meanwhile = [("meanwhile".to_owned(), 50)].into();
    let own: Vec<Record> = stored
        .into_iter()
        .filter(|record| record.partition_key == "meanwhile")
        .collect();
    compare(&meanwhile, &own, identify)?.expect_complete()?;

    bench.heal()?;
    let forebay = bench.start()?;
    publish(&forebay, "after", 0..50)?;
    let published: BTreeMap<String, u64> = ["before", "meanwhile", "after"]
        .map(|key| (key.to_owned(), 50))
        .into();
    let findings = judge(&forebay, &streams, &published)?;
    findings.expect_complete()?;
    findings.expect_ordered()?;
    bed::stop(forebay)
}

/// What of the backlog can be read is sent. What was written last may not be on the disk, so it waits until it is, and
/// so does what must not overtake it.
#[test]
fn a_start_on_a_failed_disk_drains_what_it_can_read() -> Result<()> {
    let mut bench = Bench::new("stored")?;
    let forebay = bench.start()?;
    publish(&forebay, "backlog", 0..400)?;
    forebay.kill()?;
    bench.fail(BROKEN)?;
    let streams = bench.streams()?;
    let forebay = bench.start()?;
    let said = forebay.events("the spool cannot be written; what is owed in it is sent");
    ensure!(said.len() == 1, "{said:?}");
    ensure!(is_ready(&forebay)?);
    let arrived = kinesis::read_until(&streams.endpoint(), STREAM, 100, LIMIT)?;
    ensure!(arrived.len() <= 400, "{}", arrived.len());
    let mut client = unanswered(&forebay, "backlog-too")?;
    bench.heal()?;
    expect_answer(&mut client)?;
    until_writable(&forebay, true)?;
    publish(&forebay, "after", 0..50)?;
    let published = [("backlog", 400), ("backlog-too", 1), ("after", 50)];
    let published = published.map(|(key, count)| (key.to_owned(), count)).into();
    let findings = judge(&forebay, &streams, &published)?;
    findings.expect_complete()?;
    findings.expect_ordered()?;
    bed::stop(forebay)
}

/// Where nothing is owed, a start on a disk that fails is as good as any other.
#[test]
fn a_start_on_a_failed_disk_serves_where_nothing_is_owed() -> Result<()> {
    let mut bench = Bench::new("stored")?;
    let streams = bench.streams()?;
    let forebay = bench.start()?;
    publish(&forebay, "before", 0..50)?;
    judge(&forebay, &streams, &[("before".to_owned(), 50)].into())?;
    bed::stop(forebay)?;
    bench.fail(BROKEN)?;
    let forebay = bench.start()?;
    until_writable(&forebay, false)?;
    publish(&forebay, "meanwhile", 0..50)?;
    bench.heal()?;
    until_writable(&forebay, true)?;
    publish(&forebay, "after", 0..50)?;
    let published = ["before", "meanwhile", "after"].map(|key| (key.to_owned(), 50));
    judge(&forebay, &streams, &published.into())?.expect_exact()?;
    bed::stop(forebay)
}

/// A whole handshake, also of packet ids that are used again and again.
#[test]
fn qos_2_goes_on_while_the_disk_fails() -> Result<()> {
    let mut bench = Bench::new("stored")?;
    let streams = bench.streams()?;
    let forebay = bench.start()?;
    let mut client = Client::simple(forebay.mqtt(), Version::V5, "exactly-once")?;
    let mut number = 0;
    let mut publish_all = |client: &mut Client| -> Result<()> {
        let messages = (number..number + 50).map(|number| Publish {
            qos: 2,
            ..message("exactly-once", number)
        });
        for outcome in client.publish_all(messages, 5)? {
            ensure!(outcome.reason < 0x80, "{outcome:?}");
        }
        number += 50;
        Ok(())
    };
    publish_all(&mut client)?;
    bench.fail(BROKEN)?;
    // The first to meet it is held until the disk is well, with the packet ids that are in its frame.
    publish(&forebay, "first", 0..1)?;
    until_writable(&forebay, false)?;
    publish_all(&mut client)?;
    bed::until_metrics(&forebay, "the fallback", |metrics| {
        fallback(metrics).is_ok_and(|records| records >= 51.0)
    })?;
    bench.heal()?;
    until_writable(&forebay, true)?;
    publish_all(&mut client)?;
    let published = [("exactly-once".to_owned(), number), ("first".to_owned(), 1)].into();
    judge(&forebay, &streams, &published)?.expect_exact()?;
    bed::stop(forebay)
}

/// With neither disk nor stream nothing is answered, and nothing is forgotten.
#[test]
fn without_disk_and_stream_publishes_wait() -> Result<()> {
    let mut bench = Bench::new("stored")?;
    let forebay = bench.start()?;
    bench.fail(BROKEN)?;
    let mut client = unanswered(&forebay, "patient")?;
    until_writable(&forebay, false)?;
    ensure!(
        is_ready(&forebay)?,
        "it waits for the stream and not for the disk"
    );
    let streams = bench.streams()?;
    expect_answer(&mut client)?;
    ensure!(fallback(&until_writable(&forebay, false)?)? == 1.0);
    bench.heal()?;
    until_writable(&forebay, true)?;
    let published = [("patient".to_owned(), 1)].into();
    judge(&forebay, &streams, &published)?.expect_complete()?;
    bed::stop(forebay)
}

/// Publishes wait for the disk, whatever the stream does, and whoever balances load can see it.
#[test]
fn publishes_wait_for_the_disk_where_that_is_asked_for() -> Result<()> {
    let mut bench = Bench::new("stall")?;
    let streams = bench.streams()?;
    let forebay = bench.start()?;
    let mut published: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..2 {
        let key = format!("well-{round}");
        publish(&forebay, &key, 0..50)?;
        published.insert(key, 50);
        ensure!(is_ready(&forebay)?);

        bench.fail(BROKEN)?;
        let key = format!("waiting-{round}");
        let mut client = unanswered(&forebay, &key)?;
        published.insert(key, 1);
        let failed = until_writable(&forebay, false)?;
        ensure!(fallback(&failed)? == 0.0, "{failed:?}");
        ensure!(!is_ready(&forebay)?, "it cannot take anything");
        let failed = writer(&forebay)?;
        ensure!(
            failed["condition"] == "failed" && failed["fallback_records"] == 0,
            "{failed:#}"
        );
        ensure!(failed["waiting_records"] == 1, "{failed:#}");
        ensure!(http::get(forebay.admin(), "/livez")?.status == 200);
        // More of them wait as well, also for QoS 2.
        let mut others = Vec::new();
        for number in 0..5 {
            let key = format!("another-{round}-{number}");
            others.push(unanswered(&forebay, &key)?);
            published.insert(key, 1);
        }
        bench.heal()?;
        for client in std::iter::once(&mut client).chain(&mut others) {
            expect_answer(client)?;
        }
        until_writable(&forebay, true)?;
        ensure!(is_ready(&forebay)?);
        ensure!(said(&forebay) == [round + 1; 2]);
    }
    let errors = forebay.events("spool cannot be written");
    ensure!(
        field(&errors[0], "on_failure") == Some("stall"),
        "{errors:?}"
    );
    judge(&forebay, &streams, &published)?.expect_exact()?;
    bed::stop(forebay)
}

/// What waited for the disk was never answered, so a kill may take it; what was answered it may not.
#[test]
fn a_kill_while_publishes_wait_for_the_disk_loses_no_answer() -> Result<()> {
    let mut bench = Bench::new("stall")?;
    let streams = bench.streams()?;
    let forebay = bench.start()?;
    publish(&forebay, "answered", 0..100)?;
    bench.fail(BROKEN)?;
    let _waiting = unanswered(&forebay, "waiting")?;
    until_writable(&forebay, false)?;
    forebay.kill()?;
    bench.heal()?;
    let forebay = bench.start()?;
    publish(&forebay, "waiting", 0..1)?;
    let published = [("answered".to_owned(), 100), ("waiting".to_owned(), 1)].into();
    let findings = judge(&forebay, &streams, &published)?;
    findings.expect_complete()?;
    findings.expect_ordered()?;
    bed::stop(forebay)
}

/// A disk without room is not a failed one: publishes wait, whatever is to be done about failures, and nobody is sent
/// elsewhere.
#[test]
fn a_disk_without_room_makes_publishes_wait_and_is_no_failure() -> Result<()> {
    for on_failure in ["stored", "stall"] {
        let mut bench = Bench::new(on_failure)?;
        let forebay = bench.start()?;
        bench.fail(FULL)?;
        let publisher = Publisher::start(&forebay, "device", Version::V5, 4000);
        publisher.until_it_waits()?;
        ensure!(is_ready(&forebay)?);
        ensure!(said(&forebay) == [0, 0]);
        let full = until_writable(&forebay, true)?;
        ensure!(fallback(&full)? == 0.0, "{full:?}");
        bench.heal()?;
        publisher.progress(100)?;
        let streams = bench.streams()?;
        let published = [publisher.finish()?].into();
        judge(&forebay, &streams, &published)?.expect_exact()?;
        bed::stop(forebay)?;
    }
    Ok(())
}
