//! The service out of reach: memory stays within its budgets, acknowledgements stop or, where
//! nothing is promised, do not, and everything that was promised is kept.

use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use forebay_stream::{DownMode, FaultEffect, FaultRule};
use forebay_tests::mqtt::{Client, Publish, Version, publish};
use forebay_tests::wait;

use crate::load::{self, Device, Running, answered, finish_all};
use crate::stand::{LIMIT, Plan, devices};

const STREAM: &str = "telemetry";
const MIB: u64 = 1 << 20;

fn down(mode: DownMode) -> FaultRule {
    FaultRule::new(FaultEffect::SinkDown { mode })
}

/// A client that writes QoS 0 messages as fast as the broker reads them. Nothing is owed for them,
/// but they must not grow the process.
struct Flood {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: thread::JoinHandle<Result<()>>,
}

impl Flood {
    fn start(broker: SocketAddr, name: &str) -> Result<Self> {
        let client = Client::simple(broker, Version::V3, name)?;
        client
            .stream()
            .set_write_timeout(Some(Duration::from_millis(100)))?;
        let (stop, written) = (Arc::default(), Arc::default());
        let message = Publish::new(&format!("flood/{name}"), vec![b'x'; 4000], 0);
        let message = publish(Version::V3, &message);
        let (until, count) = (Arc::clone(&stop), Arc::clone(&written));
        Ok(Self {
            stop,
            written,
            thread: thread::spawn(move || write_until(&client, &message, &until, &count)),
        })
    }

    /// Stops in the middle of whatever it writes, and fails if the broker had closed.
    fn finish(self) -> Result<u64> {
        self.stop.store(true, Ordering::SeqCst);
        let ended = self.thread.join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(self.written.load(Ordering::SeqCst))
    }
}

fn write_until(
    client: &Client,
    message: &[u8],
    stop: &AtomicBool,
    written: &AtomicU64,
) -> Result<()> {
    let mut stream = client.stream();
    let mut rest = message;
    while !stop.load(Ordering::SeqCst) {
        match stream.write(rest) {
            Ok(length) => {
                rest = &rest[length..];
                written.fetch_add(length as u64, Ordering::SeqCst);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("a flooding client was closed"),
        }
        if rest.is_empty() {
            rest = message;
        }
    }
    Ok(())
}

#[test]
fn twenty_seconds_without_the_service_cost_no_message_and_no_memory_beyond_the_budgets()
-> Result<()> {
    const DOWN: Duration = Duration::from_secs(20);
    const SHARDS: u32 = 2;
    const DEVICES: usize = 16;
    const FLOODS: usize = 4;
    const LANES: u64 = SHARDS as u64 + FLOODS as u64;
    // The budgets and what the program needs besides them.
    const BUDGETS: u64 = (4 + 4 + 1) * MIB;
    const BASE: u64 = 48 * MIB;
    const PER_CONNECTION: u64 = 16 * 1024;

    let mut stand = Plan::new(STREAM, SHARDS)?
        .stream("flood", Some(FLOODS as u32))?
        .configure(|builder| {
            builder.kinesis_rule("flood", "SELECT * FROM 'flood/#'", "flood", "${topic()}")
        })?
        .set("memory.ingest", "\"4MiB\"")?
        .set("memory.lanes", "\"4MiB\"")?
        .set("memory.partial_packets", "\"1MiB\"")?
        .set("memory.per_stream_share", "0.5")?
        .start()?;
    let broker = stand.forebay.mqtt();
    let devices = devices(STREAM, DEVICES)?
        .into_iter()
        .map(|device| device.window(200).padding(1000).start(broker))
        .collect::<Result<Vec<_>>>()?;
    wait::until_true("a good start", LIMIT, || Ok(answered(&devices) > 2000))?;
    let resident_before = stand.forebay.process().resident_bytes()?;

    let since = Instant::now();
    stand.inject([down(DownMode::Close).window(0, DOWN.as_millis() as u64)])?;
    let floods = (0..FLOODS)
        .map(|place| Flood::start(broker, &format!("flood-{place}")))
        .collect::<Result<Vec<_>>>()?;
    wait::until_true("five seconds", LIMIT, || {
        Ok(since.elapsed() >= Duration::from_secs(5))
    })?;
    let asked = stand.injected("SinkDown");
    println!("{asked} requests or connections to the dead endpoint in 5 s for {LANES} lanes");
    ensure!(asked <= 12 * LANES, "{asked} in five seconds");

    // Everything is full and nothing moves.
    let stuck = answered(&devices);
    let parked = stand
        .forebay
        .metrics()?
        .value("forebay_ingest_parked_messages", &[])?;
    ensure!(parked > 0.0, "the load did not fill the budget");
    wait::until_true("the end of the outage", LIMIT, || {
        ensure!(!devices.iter().any(Running::has_ended), "a device gave up");
        let connections = stand.forebay.metrics()?.sum("forebay_connections", &[]);
        ensure!(
            connections == (DEVICES + FLOODS) as f64,
            "{connections} connections"
        );
        let answered = answered(&devices);
        let over = since.elapsed() >= DOWN;
        ensure!(over || answered == stuck, "answered without being stored");
        Ok(over)
    })?;

    // It works again: the devices go on, and what was published meanwhile arrives.
    wait::until_true("answers after the outage", LIMIT, || {
        Ok(answered(&devices) > stuck + 4000)
    })?;
    let flooded = floods.into_iter().map(Flood::finish).sum::<Result<u64>>()?;
    let deliveries = finish_all(devices)?;
    deliveries
        .iter()
        .try_for_each(load::Delivery::expect_success)?;
    let most = stand.forebay.process().resident_bytes_max()?;
    let allowed = BASE + BUDGETS + (DEVICES + FLOODS) as u64 * PER_CONNECTION;
    println!(
        "resident: {} MiB under load before, {} MiB at most, {} MiB allowed; {} MiB of QoS 0 written",
        resident_before / MIB,
        most / MIB,
        allowed / MIB,
        flooded / MIB
    );
    ensure!(
        most <= allowed,
        "{} MiB > {} MiB",
        most / MIB,
        allowed / MIB
    );
    let judgement = stand.judge(STREAM, &deliveries)?;
    judgement.findings.expect_exact()?;
    ensure!(judgement.inversions() == 0.0);
    stand.stop()
}

#[test]
fn a_dead_endpoint_is_asked_at_most_twelve_times_in_five_seconds() -> Result<()> {
    const WATCHED: Duration = Duration::from_secs(5);
    let stand = Plan::new(STREAM, 1)?.start()?;
    let device = devices(STREAM, 1)?.remove(0);
    let devices = vec![device.start(stand.forebay.mqtt())?];
    wait::until_true("a good start", LIMIT, || Ok(answered(&devices) > 100))?;
    let since = Instant::now();
    stand.inject([down(DownMode::Close)])?;
    let asked = wait::until("five seconds", LIMIT, || {
        let asked = stand.injected("SinkDown");
        Ok((since.elapsed() >= WATCHED).then_some(asked))
    })?;
    println!("{asked} requests or connections to the dead endpoint in 5 s for 1 lane");
    ensure!((2..=12).contains(&asked), "{asked} in five seconds");
    stand.server.faults().clear();
    let deliveries = finish_all(devices)?;
    let judgement = stand.judge(STREAM, &deliveries)?;
    judgement.findings.expect_exact()?;
    stand.stop()
}

#[test]
fn accept_answers_at_once_and_a_stop_says_how_much_was_lost() -> Result<()> {
    const MESSAGES: u64 = 300;
    let stand = Plan::new(STREAM, 2)?
        .set("server.ack", "\"accept\"")?
        .set("shutdown.deadline", "\"1s\"")?
        .start()?;
    stand.inject([down(DownMode::Hang)])?;
    let devices = [Version::V3, Version::V5].map(|version| {
        let name = format!("device-{version:?}");
        Device::new(STREAM, &name, vec![name.clone()])
            .messages(MESSAGES)
            .window(10)
            .version(version)
            .start(stand.forebay.mqtt())
    });
    let devices = devices.into_iter().collect::<Result<Vec<_>>>()?;
    let deliveries = finish_all(devices)?;
    deliveries
        .iter()
        .try_for_each(load::Delivery::expect_success)?;
    let answers = deliveries.iter().flat_map(|delivery| &delivery.answers);
    let slowest = answers.map(|answer| answer.done - answer.due).max();
    println!("slowest answer of `accept` without a service: {slowest:?}");
    ensure!(slowest < Some(Duration::from_secs(1)), "{slowest:?}");
    ensure!(stand.server.stats().records_stored == 0);

    let finished = stand.end()?;
    ensure!(finished.code() == Some(1), "{finished:?}");
    let lost = finished
        .stderr
        .lines()
        .find(|line| line.contains("are lost"));
    let count = format!("\"records\":{}", 2 * MESSAGES);
    ensure!(
        lost.is_some_and(|line| line.contains(&count)),
        "{}",
        finished.stderr
    );
    Ok(())
}

#[test]
fn stored_is_not_answered_and_not_lost_when_the_program_stops_without_the_service() -> Result<()> {
    let stand = Plan::new(STREAM, 2)?
        .set("shutdown.deadline", "\"1s\"")?
        .start()?;
    stand.inject([down(DownMode::Hang)])?;
    let broker = stand.forebay.mqtt();
    let device = Device::new(STREAM, "device", vec!["key".to_owned()])
        .messages(20)
        .start(broker)?;
    stand.until_metrics("messages on their way", |metrics| {
        metrics.sum("forebay_records_pending", &[]) == 20.0
    })?;
    let finished = stand.end()?;
    // Nothing was promised: the device has all of it still.
    ensure!(finished.code() == Some(0), "{finished:?}");
    ensure!(device.answered() == 0);
    let error = device.finish().map(drop).expect_err("it was closed");
    ensure!(format!("{error:#}").contains("Disconnect"), "{error:#}");
    Ok(())
}
