//! Records that the service refuses for their rate: at random, of one key, of one shard.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use forebay_stream::{FaultEffect, FaultRule};
use forebay_tests::mqtt::Version;
use forebay_tests::oracle::{Numbered, vectors};
use forebay_tests::wait;

use crate::gateway::Exchange;
use crate::load::{self, Answer, Device, Running, answered, finish_all};
use crate::stand::{Judgement, LIMIT, PUT, Plan, Stand, THROTTLED, devices, vectors_of};

const STREAM: &str = "telemetry";
const SHARDS: u32 = 4;

fn throttle(fraction: Option<f64>) -> FaultRule {
    let effect = FaultEffect::RecordError {
        code: THROTTLED.to_owned(),
        message: None,
        fraction,
        records: None,
    };
    FaultRule::new(effect).operation(PUT)
}

/// Nothing is lost or duplicated, and every refusal is counted: by the program, by the stream and
/// as an injected fault.
fn expect_only_refusals(judgement: &Judgement) -> Result<()> {
    let findings = &judgement.findings;
    ensure!(
        findings.duplicated.is_empty(),
        "{:?}",
        findings.duplicated.first()
    );
    ensure!(judgement.possible_duplicates() == 0.0);
    ensure!(judgement.request_errors() == 0.0);
    let refused = judgement.stats.records_refused[THROTTLED];
    ensure!(refused == judgement.stats.injected["RecordError"]);
    let counted = judgement.record_errors(THROTTLED);
    ensure!(
        counted == refused as f64,
        "{counted} refusals counted, {refused} injected"
    );
    let errors = judgement
        .metrics
        .sum("forebay_kinesis_record_errors_total", &[]);
    ensure!(errors == counted, "{errors} refusals of any kind");
    Ok(())
}

/// Publishes with 200 keys while 30 % of the records are refused for three seconds.
fn a_third_refused(ordering: &str) -> Result<(Stand, Judgement)> {
    let stand = Plan::new(STREAM, SHARDS)?
        .set("kinesis.ordering", &format!("{ordering:?}"))?
        .observed()
        .start()?;
    // Answers are late at first, so that the requests in which the refusals begin are full of
    // messages of the same keys.
    let late = FaultEffect::Delay {
        millis: 300,
        jitter_millis: 0,
    };
    stand.inject([
        FaultRule::new(late).operation(PUT).window(0, 1000),
        throttle(Some(0.3)).window(600, 3000),
    ])?;
    let start = Instant::now();
    let devices = devices(STREAM, 8)?
        .into_iter()
        .enumerate()
        .map(|(place, device)| {
            let device = device.window(150).version(Version::ALL[place % 2]);
            device.start(stand.forebay.mqtt())
        })
        .collect::<Result<Vec<_>>>()?;
    wait::until_true("the end of the refusals", LIMIT, || {
        ensure!(!devices.iter().any(Running::has_ended), "a device gave up");
        Ok(start.elapsed() > Duration::from_millis(3700))
    })?;
    let deliveries = finish_all(devices)?;
    deliveries
        .iter()
        .try_for_each(load::Delivery::expect_success)?;
    let judgement = stand.judge(STREAM, &deliveries)?;
    expect_only_refusals(&judgement)?;
    let refused = judgement.record_errors(THROTTLED);
    ensure!(refused > 300.0, "only {refused} records were refused");
    Ok((stand, judgement))
}

#[test]
fn refusals_at_random_lose_duplicate_and_in_strict_reorder_nothing() -> Result<()> {
    let (stand, judgement) = a_third_refused("strict")?;
    judgement.findings.expect_ordered()?;
    ensure!(judgement.inversions() == 0.0);
    println!(
        "strict: {} stored, {} refused",
        judgement.records.len(),
        judgement.record_errors(THROTTLED)
    );
    stand.stop()
}

#[test]
fn refusals_at_random_reorder_in_key_only_within_the_request_that_was_refused_first() -> Result<()>
{
    let (stand, judgement) = a_third_refused("key")?;
    let reordered = &judgement.findings.reordered;
    ensure!(!reordered.is_empty(), "the refusals met no key twice");
    ensure!(
        judgement.inversions() == reordered.len() as f64,
        "{} inversions counted, {} are there",
        judgement.inversions(),
        reordered.len()
    );
    let exchanges = stand.gateway()?.exchanges();
    let overtaken: BTreeSet<Numbered> = exchanges
        .iter()
        .flat_map(Exchange::overtaken)
        .cloned()
        .collect();
    ensure!(overtaken == reordered.iter().cloned().collect());
    expect_confined(&exchanges, &judgement)?;
    println!(
        "key: {} stored, {} refused, {} inversions",
        judgement.records.len(),
        judgement.record_errors(THROTTLED),
        reordered.len()
    );
    stand.stop()
}

/// Records were overtaken only in the first request that had a record of their shard refused.
fn expect_confined(exchanges: &[Exchange], judgement: &Judgement) -> Result<()> {
    let records = judgement.records.iter();
    let shards: BTreeMap<&str, &str> = records
        .map(|record| (record.partition_key.as_str(), record.shard.as_str()))
        .collect();
    let mut refused_before = BTreeSet::new();
    for exchange in exchanges {
        for (key, number) in exchange.overtaken() {
            ensure!(
                !refused_before.contains(shards[key.as_str()]),
                "{key:?} {number} was overtaken although its shard had refused before"
            );
        }
        let refused = exchange.refused().into_iter();
        refused_before.extend(refused.map(|(key, _)| shards[key.as_str()]));
    }
    Ok(())
}

#[test]
fn one_refused_key_among_many_holds_up_no_other() -> Result<()> {
    let stand = Plan::new(STREAM, SHARDS)?.start()?;
    let vectors = vectors()?;
    let (hot, rest) = vectors.split_first().expect("there are vectors");
    stand.inject([throttle(None).partition_key(&hot.key)])?;

    let broker = stand.forebay.mqtt();
    let hot = Device::new(STREAM, "hot", vec![hot.key.clone()])
        .messages(200)
        .start(broker)?;
    let others = (0..7)
        .map(|place| {
            let keys = rest.iter().skip(place).step_by(7);
            let keys = keys.map(|vector| vector.key.clone()).collect();
            let device = Device::new(STREAM, &format!("device-{place}"), keys);
            device.messages(600).start(broker)
        })
        .collect::<Result<Vec<_>>>()?;
    wait::until_true("the messages of all other keys", LIMIT, || {
        Ok(others.iter().all(Running::has_ended))
    })?;
    ensure!(
        hot.answered() == 0,
        "a message was answered that was refused"
    );
    stand.server.faults().clear();

    let mut deliveries = finish_all(others)?;
    deliveries.push(hot.finish()?);
    deliveries
        .iter()
        .try_for_each(load::Delivery::expect_success)?;
    let judgement = stand.judge(STREAM, &deliveries)?;
    expect_only_refusals(&judgement)?;
    // All of the key's records were refused, so that none could overtake another.
    judgement.findings.expect_ordered()?;
    ensure!(judgement.inversions() == 0.0);
    stand.stop()
}

/// Answers of messages that were due in a time, and their latencies' 99th percentile.
fn flow(answers: &[Answer], from: Instant, to: Instant) -> (usize, Duration) {
    let in_time = answers
        .iter()
        .filter(|answer| (from..to).contains(&answer.due) && answer.done < to);
    let mut latencies: Vec<Duration> = in_time.map(|answer| answer.done - answer.due).collect();
    latencies.sort_unstable();
    let p99 = latencies.get(latencies.len() * 99 / 100).copied();
    (latencies.len(), p99.unwrap_or_default())
}

#[test]
fn connections_of_other_shards_are_answered_while_one_is_refused_measured() -> Result<()> {
    const BEFORE: Duration = Duration::from_secs(4);
    const REFUSED: Duration = Duration::from_secs(10);
    const DEVICES_PER_SHARD: usize = 4;

    let stand = Plan::new(STREAM, SHARDS)?.start()?;
    let start = Instant::now();
    let mut by_shard = Vec::new();
    for shard in 0..SHARDS as usize {
        let vectors = vectors_of(shard, SHARDS)?;
        let devices = (0..DEVICES_PER_SHARD).map(|place| {
            let keys = vectors.iter().skip(place).step_by(DEVICES_PER_SHARD);
            let keys = keys.map(|vector| vector.key.clone()).collect();
            Device::new(STREAM, &format!("device-{shard}-{place}"), keys)
                .window(200)
                .pace(Duration::from_millis(10))
                .start(stand.forebay.mqtt())
        });
        by_shard.push(devices.collect::<Result<Vec<_>>>()?);
    }
    let refused = by_shard.remove(0);
    let others: Vec<Running> = by_shard.into_iter().flatten().collect();
    wait::until_true("a time without faults", LIMIT, || {
        Ok(start.elapsed() >= BEFORE)
    })?;
    let throttled = Instant::now();
    stand.inject([throttle(None)
        .shard(0)
        .window(0, REFUSED.as_millis() as u64)])?;
    let stuck_before = answered(&refused);
    wait::until_true("the end of the refusals", LIMIT, || {
        Ok(throttled.elapsed() >= REFUSED)
    })?;
    // Only what was under way when the refusals began, at 400 messages a second, was answered.
    let stuck = answered(&refused) - stuck_before;

    let others = finish_all(others)?;
    let answers: Vec<Answer> = others.iter().flat_map(|d| d.answers.clone()).collect();
    let (count_before, p99_before) = flow(&answers, throttled - BEFORE / 2, throttled);
    let (count, p99) = flow(&answers, throttled, throttled + REFUSED);
    let ratio = count as f64 / REFUSED.as_secs_f64() / (count_before as f64 / 2.0);
    println!(
        "others: {count_before} answers in 2 s before, p99 {p99_before:?}; {count} in 10 s while a shard \
         was refused, p99 {p99:?}; rate {ratio:.3} of before; {stuck} answers of the refused shard"
    );
    ensure!(ratio >= 0.95, "{ratio:.3} of the rate before");
    // Whoever waits for the refused shard is answered after the refusals; of the others nobody is.
    let ended = throttled + REFUSED;
    let early = throttled..throttled + REFUSED / 2;
    let held_back = answers
        .iter()
        .filter(|answer| early.contains(&answer.due) && answer.done >= ended);
    let held_back = held_back.count();
    ensure!(
        held_back == 0,
        "{held_back} answers waited for the refused shard"
    );
    ensure!(stuck <= 100, "{stuck} answers");

    let mut deliveries = finish_all(refused)?;
    deliveries.extend(others);
    deliveries
        .iter()
        .try_for_each(load::Delivery::expect_success)?;
    let judgement = stand.judge(STREAM, &deliveries)?;
    expect_only_refusals(&judgement)?;
    judgement.findings.expect_ordered()?;
    stand.stop()
}
