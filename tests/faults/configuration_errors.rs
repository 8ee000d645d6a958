//! What only a person can repair: credentials that are refused, a stream that does not exist. The
//! records are held, the service is asked rarely, and the repair is noticed without a restart.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use forebay_stream::{FaultEffect, FaultRule};
use forebay_tests::forebay::field;
use forebay_tests::metrics::Metrics;
use forebay_tests::wait;

use crate::load::{self, Running, answered, finish_all};
use crate::stand::{LIMIT, PUT, Plan, Stand, devices};

const BLOCKED: &str = "forebay_kinesis_blocked";

/// The log lines with this message about a stream.
fn lines_about(stand: &Stand, message: &str, stream: &str) -> usize {
    let events = stand.forebay.events(message);
    let about = |event: &&serde_json::Value| field(event, "stream") == Some(stream);
    events.iter().filter(about).count()
}

fn is_blocked(metrics: &Metrics, stream: &str, reason: &str) -> bool {
    metrics.sum(BLOCKED, &[("stream", stream), ("reason", reason)]) == 1.0
}

/// The devices of a stream at work, 50 messages per second each.
fn start(stand: &Stand, stream: &str, count: usize) -> Result<Vec<Running>> {
    let devices = devices(stream, count)?.into_iter();
    devices
        .map(|mut device| {
            device.name = format!("{stream}-{}", device.name);
            let device = device.window(100).pace(Duration::from_millis(20));
            device.start(stand.forebay.mqtt())
        })
        .collect()
}

/// Ends the load of all streams, and then judges each.
fn judge_exact(stand: &Stand, streams: Vec<(&str, Vec<Running>)>) -> Result<()> {
    let finished = streams
        .into_iter()
        .map(|(stream, devices)| Ok((stream, finish_all(devices)?)))
        .collect::<Result<Vec<_>>>()?;
    for (stream, deliveries) in finished {
        deliveries
            .iter()
            .try_for_each(load::Delivery::expect_success)?;
        let judgement = stand.judge(stream, &deliveries)?;
        judgement.findings.expect_exact()?;
        ensure!(judgement.possible_duplicates() == 0.0);
    }
    Ok(())
}

#[test]
fn refused_credentials_are_waited_for_and_hold_up_nobody_else() -> Result<()> {
    const REFUSED: Duration = Duration::from_secs(5);
    const CODES: [&str; 2] = ["UnrecognizedClientException", "ExpiredTokenException"];
    let stand = Plan::new("unrecognized", 2)?
        .stream("expired", Some(2))?
        .stream("fine", Some(2))?
        .start()?;
    let refused = ["unrecognized", "expired"];
    let devices = refused
        .iter()
        .map(|stream| start(&stand, stream, 2))
        .collect::<Result<Vec<_>>>()?;
    let fine = start(&stand, "fine", 2)?;
    wait::until_true("a good start", LIMIT, || {
        Ok(devices.iter().all(|devices| answered(devices) > 50))
    })?;

    let rules = refused.iter().zip(CODES).map(|(stream, code)| {
        let effect = FaultEffect::RequestError {
            code: code.to_owned(),
            message: None,
            status: None,
        };
        FaultRule::new(effect)
            .stream(*stream)
            .window(0, REFUSED.as_millis() as u64)
    });
    let since = Instant::now();
    stand.inject(rules.collect::<Vec<_>>())?;
    let fine_before = answered(&fine);
    stand.until_metrics("both streams to be blocked", |metrics| {
        is_blocked(metrics, refused[0], CODES[0]) && is_blocked(metrics, refused[1], CODES[1])
    })?;
    // Answers that were on their way have arrived long before this.
    wait::until_true("two seconds", LIMIT, || {
        Ok(since.elapsed() >= Duration::from_secs(2))
    })?;
    let held = |devices: &[Vec<Running>]| devices.iter().map(|d| answered(d)).sum::<usize>();
    let stuck = held(&devices);
    wait::until_true("the end of the refusals", LIMIT, || {
        let answered = held(&devices);
        let over = since.elapsed() >= REFUSED;
        ensure!(over || answered == stuck, "answered without being stored");
        Ok(over)
    })?;
    let fine_meanwhile = answered(&fine) - fine_before;
    ensure!(
        fine_meanwhile > 400,
        "{fine_meanwhile} answers of the stream that works"
    );
    // At most what was under way for each shard when it began, and a few probes.
    let asked = stand.injected("RequestError");
    println!("{asked} requests refused in 5 s on two streams of two shards");
    ensure!(asked <= 8, "{asked} requests were refused");

    // The last probe may have been just before the end.
    stand.until_metrics("both streams to work again", |metrics| {
        metrics.sum(BLOCKED, &[]) == 0.0
    })?;
    let mut streams: Vec<_> = refused.into_iter().zip(devices).collect();
    streams.push(("fine", fine));
    judge_exact(&stand, streams)?;
    for stream in refused {
        let entries = lines_about(
            &stand,
            "stream blocked: records are held, one probes",
            stream,
        );
        let exits = lines_about(&stand, "stream works again", stream);
        ensure!(
            (entries, exits) == (1, 1),
            "{stream}: {entries} lines on entry, {exits} on exit"
        );
    }
    stand.stop()
}

#[test]
fn a_stream_that_appears_after_ten_seconds_gets_what_was_held_for_it() -> Result<()> {
    const MISSING: Duration = Duration::from_secs(10);
    let stand = Plan::new("there", 2)?.stream("late", None)?.start()?;
    let since = Instant::now();
    let late = start(&stand, "late", 2)?;
    let there = start(&stand, "there", 2)?;
    stand.until_metrics("the missing stream to be noticed", |metrics| {
        is_blocked(metrics, "late", "ResourceNotFoundException")
    })?;
    wait::until_true("ten seconds", LIMIT, || {
        ensure!(answered(&late) == 0, "answered without being stored");
        Ok(since.elapsed() >= MISSING)
    })?;
    let meanwhile = answered(&there);
    ensure!(
        meanwhile > 900,
        "{meanwhile} answers of the stream that is there"
    );
    let requests = stand.server.stats().requests;
    let looks = requests["ListShards"];
    println!("{looks} looks in 10 s, one of them for the stream that is there");
    ensure!(looks <= 12, "{looks} looks for shards");

    stand.server.create_stream("late", 3)?;
    stand.until_metrics("the new stream to work", |metrics| {
        metrics.sum(BLOCKED, &[]) == 0.0
    })?;
    judge_exact(&stand, vec![("late", late), ("there", there)])?;
    let held = "stream blocked: records are held, one probes";
    let entries = lines_about(&stand, held, "late");
    let exits = lines_about(&stand, "stream works again", "late");
    ensure!(
        (entries, exits) == (1, 1),
        "{entries} lines on entry, {exits} on exit"
    );
    ensure!(stand.server.stats().requests.contains_key(PUT));
    stand.stop()
}
