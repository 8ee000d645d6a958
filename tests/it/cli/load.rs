//! `bench quick` and `demo`, with a few seconds of load.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use forebay_tests::forebay;
use forebay_tests::process::{self, Finished, Process};
use serde_json::Value;

use super::{broker_url, expect_code, expect_text, json_of};
use crate::bed::Bed;

/// Several times what these take: devices drain, and the stream is read to its end.
const LIMIT: Duration = Duration::from_secs(60);

fn run(arguments: &[&str]) -> Result<Finished> {
    process::run("forebay", &mut forebay::command(arguments)?, LIMIT)
}

#[test]
fn bench_quick_finds_every_message_in_the_stream() -> Result<()> {
    let mut bed = Bed::start(&["bench:3"], |builder| {
        builder.set("kinesis.rate_limit", "\"off\"").kinesis_rule(
            "bench",
            "SELECT * FROM 'dt/+/telemetry'",
            "bench",
            "${device}",
        )
    })?;
    let (broker, endpoint) = (broker_url(bed.forebay.mqtt()), bed.streams.endpoint());
    let pid = bed.forebay.process().pid().to_string();
    for (version, qos) in [("5", "1"), ("3.1.1", "2")] {
        let finished = run(&[
            "bench",
            "quick",
            "--json",
            "--broker",
            &broker,
            "--connections",
            "4",
            "--window",
            "10",
            "--keys",
            "20",
            "--size",
            "200B",
            "--duration",
            "1s",
            "-V",
            version,
            "-q",
            qos,
            "--pid",
            &pid,
            "--stream",
            "bench",
            "--endpoint",
            &endpoint,
        ])?;
        let report = json_of(&finished, 0)?;
        let count = |value: &Value| value.as_u64().with_context(|| format!("{report:#}"));
        let stream = &report["stream"];
        ensure!(count(&report["messages"])? > 100, "{report:#}");
        ensure!(count(&report["unanswered"])? == 0 && count(&report["refused"])? == 0);
        ensure!(
            count(&stream["stored"])? >= count(&report["acknowledged"])?,
            "{report:#}"
        );
        for none in ["lost", "duplicated", "reordered", "misplaced"] {
            ensure!(count(&stream[none])? == 0, "{none}: {report:#}");
        }
        let micros = report["broker_process"]["micros_per_message"].as_f64();
        ensure!(micros.is_some_and(|micros| micros > 0.0), "{report:#}");
    }
    bed.stop()
}

#[test]
fn bench_quick_fails_when_something_was_lost() -> Result<()> {
    let bed = Bed::start(&["bench:1"], |builder| {
        builder.kinesis_rule(
            "bench",
            "SELECT * FROM 'dt/+/telemetry'",
            "bench",
            "${device}",
        )
    })?;
    let drop = serde_json::json!({ "Type": "DropRecords", "Records": 2 });
    let script = serde_json::json!({ "Rules": [{ "Operation": "PutRecords", "Effect": drop }] });
    bed.streams.control("SetFaults", &script)?;
    let (broker, endpoint) = (broker_url(bed.forebay.mqtt()), bed.streams.endpoint());
    let finished = run(&[
        "bench",
        "quick",
        "--json",
        "--broker",
        &broker,
        "--connections",
        "2",
        "--window",
        "5",
        "--keys",
        "4",
        "--duration",
        "1s",
        "--stream",
        "bench",
        "--endpoint",
        &endpoint,
    ])?;
    let report = json_of(&finished, 1)?;
    ensure!(report["stream"]["lost"] == 2, "{report:#}");
    bed.stop()
}

#[test]
fn a_demo_ends_with_everything_accounted_for() -> Result<()> {
    let finished = run(&["demo", "--duration", "5s", "--devices", "20", "--json"])?;
    let summary = json_of(&finished, 0)?;
    let count = |name: &str| {
        summary[name]
            .as_u64()
            .with_context(|| format!("{summary:#}"))
    };
    ensure!(count("published")? > 500, "{summary:#}");
    ensure!(count("acknowledged")? == count("published")?, "{summary:#}");
    ensure!(count("stored")? == count("published")?, "{summary:#}");
    for none in ["lost", "duplicated", "reordered", "unanswered", "unsent"] {
        ensure!(count(none)? == 0, "{summary:#}");
    }
    ensure!(
        summary["stream"]["shards"]
            .as_array()
            .is_some_and(|shards| shards.len() == 4)
    );
    // Progress goes to standard error.
    expect_text(
        &finished.stderr,
        &["mqtt://127.0.0.1:", "published", "PUBACK p50"],
    )
}

/// The negative control: the check that finds nothing must be able to find something.
#[test]
fn a_demo_that_loses_three_records_says_so() -> Result<()> {
    let finished = run(&[
        "demo",
        "--duration",
        "5s",
        "--devices",
        "20",
        "--inject-loss",
        "3",
    ])?;
    expect_code(&finished, 1)?;
    let lost = finished
        .stdout
        .lines()
        .find(|line| line.trim_start().starts_with("lost "));
    let lost = lost.with_context(|| format!("{finished:?}"))?;
    ensure!(lost.split_whitespace().eq(["lost", "3"]), "{lost}");
    expect_text(&finished.stdout, &["reordered      0", "FAILED"])
}

/// Ctrl-C ends a demo without a duration, with the same summary.
#[test]
fn a_demo_ends_when_it_is_asked_to() -> Result<()> {
    let mut command = forebay::command(["demo", "--devices", "5", "--shards", "2"])?;
    let mut process = Process::spawn("demo", &mut command)?;
    process.wait_for_line("progress", LIMIT, |line| line.contains("PUBACK p50"))?;
    process.signal(rustix::process::Signal::INT)?;
    let finished = process.wait(LIMIT)?;
    expect_code(&finished, 0)?;
    expect_text(&finished.stdout, &["5 devices, 2 shards", "in order"])
}
