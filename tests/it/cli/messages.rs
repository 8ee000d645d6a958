//! `pub` and `sub`.

use std::time::Duration;

use anyhow::{Result, ensure};
use forebay_tests::forebay::{self, Builder, Forebay};
use forebay_tests::process::Process;
use serde_json::{Value, json};

use super::{broker_url, expect_code, expect_text, run, run_with_input};
use crate::bed::{self, Bed, LIMIT, until_metrics};

/// A `sub` with these options that the broker has given its subscription.
fn subscriber(forebay: &Forebay, arguments: &[&str]) -> Result<Process> {
    let mut command = forebay::command(["sub", "--broker", &broker_url(forebay.mqtt())])?;
    let process = Process::spawn("sub", command.args(arguments))?;
    until_metrics(forebay, "the subscription of `sub`", |metrics| {
        metrics.sum("forebay_subscriptions", &[]) == 1.0
    })?;
    Ok(process)
}

/// Waits until the one before is gone.
fn nobody_subscribed(forebay: &Forebay) -> Result<()> {
    until_metrics(forebay, "the end of `sub`", |metrics| {
        metrics.sum("forebay_subscriptions", &[]) == 0.0
    })?;
    Ok(())
}

#[test]
fn what_pub_sends_sub_prints() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let broker = broker_url(forebay.mqtt());
    for version in ["3.1.1", "5"] {
        for qos in ["0", "1", "2"] {
            let sub = subscriber(
                &forebay,
                &["-V", version, "-q", qos, "-t", "a/+", "-v", "-n", "2"],
            )?;
            let options = ["-V", version, "-q", qos, "-t", "a/b", "--broker", &broker];
            let publish = |message: &[&str]| run([&["pub"], &options[..], message].concat());
            publish(&["-m", "héllo world", "-n", "2"])?.expect_success()?;
            let finished = sub.wait(LIMIT)?.expect_success()?;
            ensure!(
                finished.stdout == "a/b héllo world\n".repeat(2),
                "{finished:?}"
            );
            nobody_subscribed(&forebay)?;
        }
    }
    bed::stop(forebay)
}

#[test]
fn pub_takes_files_and_lines() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let broker = broker_url(forebay.mqtt());
    let file = forebay.folder().join("payload");
    std::fs::write(&file, b"\xFF\x00")?;
    let file = file.to_string_lossy();
    let sub = subscriber(&forebay, &["-q", "1", "-t", "in", "-n", "5", "--json"])?;
    let publish = ["pub", "-q", "1", "-t", "in", "--broker", &broker];
    let with = |rest: &[&str], input: &[u8]| {
        run_with_input(&[&publish[..], rest].concat(), input)?.expect_success()
    };
    with(&["-l"], b"one\n\nthree")?;
    with(&["-f", "-"], b"two\nlines")?;
    with(&["-f", &file], b"")?;
    let finished = sub.wait(LIMIT)?.expect_success()?;
    let got: Vec<Value> = finished
        .stdout
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let message = |payload: Value, bytes: usize| json!({ "topic": "in", "payload": payload, "bytes": bytes, "qos": 1, "retain": false });
    let wanted = [
        message("one".into(), 3),
        message("".into(), 0),
        message("three".into(), 5),
        message("two\nlines".into(), 9),
        message(Value::Null, 2),
    ];
    ensure!(got == wanted, "{got:#?}");
    bed::stop(forebay)
}

#[test]
fn sub_gets_what_pub_retained_and_ends_when_its_time_is_over() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let broker = broker_url(forebay.mqtt());
    run([
        "pub", "-r", "-t", "kept", "-m", "x", "-q", "1", "--broker", &broker,
    ])?
    .expect_success()?;
    let sub = ["sub", "-t", "kept", "-t", "other", "--broker", &broker];
    let with = |rest: &[&str]| run([&sub[..], rest].concat());
    let finished = with(&["-n", "1"])?.expect_success()?;
    ensure!(finished.stdout == "x\n", "{finished:?}");
    // Time is no failure, unless it was to count something.
    expect_code(&with(&["-W", "200ms"])?, 0)?;
    expect_code(&with(&["-W", "200ms", "-n", "2"])?, 1)?;
    bed::stop(forebay)
}

#[test]
fn a_refusal_ends_pub_and_sub_with_1() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let broker = broker_url(forebay.mqtt());
    let finished = run([
        "pub", "-t", "$SYS/x", "-m", "x", "-q", "1", "--broker", &broker,
    ])?;
    expect_code(&finished, 1)?;
    expect_text(&finished.stderr, &["NotAuthorized"])?;
    let finished = run(["sub", "-t", "$share/g/a", "--broker", &broker])?;
    expect_code(&finished, 1)?;
    expect_text(&finished.stderr, &["$share/g/a"])?;
    bed::stop(forebay)
}

/// `pub` is done when the message is in the stream, because that is what its PUBACK says.
#[test]
fn what_pub_sends_is_stored_when_it_ends() -> Result<()> {
    let bed = Bed::start(&["telemetry:1"], |builder| {
        builder.kinesis_rule("all", "SELECT * FROM 'dt/#'", "telemetry", "${topic()}")
    })?;
    let broker = broker_url(bed.forebay.mqtt());
    let lines: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let arguments = ["pub", "-l", "-q", "1", "-t", "dt/x", "--broker", &broker];
    run_with_input(&arguments, lines.join("\n").as_bytes())?.expect_success()?;
    let records = bed.records("telemetry")?;
    ensure!(records.len() == 500);
    for (record, line) in records.iter().zip(&lines) {
        ensure!(record.data == line.as_bytes(), "{record:?}, not {line}");
    }
    bed.stop()
}

#[test]
fn sub_ends_in_order_when_it_is_asked_to() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let sub = subscriber(&forebay, &["-t", "a"])?;
    let finished = sub.stop(Duration::from_secs(5))?;
    expect_code(&finished, 0)?;
    nobody_subscribed(&forebay)?;
    bed::stop(forebay)
}
