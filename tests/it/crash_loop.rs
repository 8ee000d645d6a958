//! Starts that fail again and again: what the fourth does, and what it leaves alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use forebay_tests::forebay::{Builder, Forebay};
use forebay_tests::kinesis;
use forebay_tests::mqtt::{Client, Publish, Version};
use forebay_tests::process::{Finished, Process};
use forebay_tests::streams::{StreamServer, free_address};
use serde_json::Value;
use tempfile::TempDir;

use crate::bed::{self, LIMIT};

const STREAM: &str = "kept";
/// Decoding a frame of the spool that contains its value panics.
const UNDECODABLE: &str = "FOREBAY_TEST_UNDECODABLE";
/// What the starts that failed leave behind.
const RECORD: &str = "data/failed-starts.json";
/// A panic that ends the process.
const PANICKED: i32 = 101;
/// The recovery gave up, or could not begin.
const INPUT_OUTPUT: i32 = 74;

/// A program with a spool, whose stream is at `endpoint`.
fn builder(endpoint: &str) -> Result<Builder> {
    Builder::new()?.spooled().endpoint(endpoint).kinesis_rule(
        "keep",
        "SELECT * FROM 'dt/#'",
        STREAM,
        "${topic()}",
    )
}

/// A start that ends by itself.
fn start(builder: &Builder) -> Result<Finished> {
    builder.run_to_end()
}

fn expect(finished: &Finished, code: i32, parts: &[&str]) -> Result<()> {
    ensure!(finished.code() == Some(code), "not {code}: {finished:?}");
    for part in parts {
        ensure!(
            finished.stderr.contains(part),
            "no {part:?} in {finished:?}"
        );
    }
    Ok(())
}

fn record(folder: &Path) -> Result<Value> {
    let text = fs::read_to_string(folder.join(RECORD))?;
    serde_json::from_str(&text).context(text)
}

/// Publishes each message and waits for its answer, so that each has a frame of its own.
fn publish(forebay: &Forebay, messages: &[&str]) -> Result<()> {
    let mut client = Client::simple(forebay.mqtt(), Version::V5, "device")?;
    for message in messages {
        let outcome = client.publish(Publish::new("dt/a", *message, 1))?;
        ensure!(outcome.reason == 0, "{outcome:?}");
    }
    client.disconnect()
}

/// What the stream holds when it has `count` records.
fn stored(streams: &StreamServer, count: usize) -> Result<Vec<String>> {
    let records = kinesis::read_until(&streams.endpoint(), STREAM, count, LIMIT)?;
    let texts = records.into_iter();
    texts
        .map(|record| Ok(String::from_utf8(record.data)?))
        .collect()
}

fn quarantined(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder.join("data/spool"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("quarantine-"))
    });
    Ok(files)
}

#[test]
fn the_fourth_start_with_a_directory_that_cannot_be_read_gives_up_and_a_repaired_one_starts()
-> Result<()> {
    let builder = builder("http://127.0.0.1:1")?;
    let meta = builder.folder().join("data/spool/META");
    fs::create_dir_all(&meta)?;
    for _ in 0..3 {
        let finished = start(&builder)?;
        expect(&finished, INPUT_OUTPUT, &["META"])?;
        ensure!(!finished.stderr.contains("giving up"), "{finished:?}");
    }
    let kept = record(builder.folder())?;
    ensure!(
        kept["failures"].as_array().map(Vec::len) == Some(3),
        "{kept:#}"
    );
    for _ in 0..2 {
        let finished = start(&builder)?;
        let parts = [
            "giving up",
            "`directory`",
            "the last error was",
            "META",
            "what to do",
        ];
        expect(&finished, INPUT_OUTPUT, &parts)?;
    }
    let kept = record(builder.folder())?;
    ensure!(
        kept["failures"].as_array().map(Vec::len) == Some(3),
        "{kept:#}"
    );

    // Repaired, it starts at once and forgets.
    fs::remove_dir(&meta)?;
    let folder = builder.folder().to_owned();
    let forebay = builder.start()?;
    ensure!(!folder.join(RECORD).exists());
    bed::stop(forebay)
}

#[test]
fn a_wrong_configuration_never_becomes_a_crash_loop() -> Result<()> {
    let builder = builder("http://127.0.0.1:1")?.set("spool.max_bytes", "\"1MiB\"");
    for _ in 0..5 {
        let finished = start(&builder)?;
        expect(&finished, 78, &["spool.max_bytes"])?;
    }
    ensure!(!builder.folder().join(RECORD).exists());
    Ok(())
}

/// Kills say nothing about the starts that they hit.
#[test]
fn kills_are_no_failures() -> Result<()> {
    let builder = builder("http://127.0.0.1:1")?;
    for _ in 0..5 {
        let mut process = Process::spawn("forebay", &mut builder.command()?)?;
        process.wait_for_line("a sign of life", LIMIT, |line| line.contains("\"forebay\""))?;
        process.kill()?;
        ensure!(!builder.folder().join(RECORD).exists());
    }
    bed::stop(builder.start()?)
}

/// The frame at which three starts panicked costs its own record, which is kept for people to look at.
#[test]
fn a_frame_that_cannot_be_decoded_is_put_into_quarantine_by_the_fourth_start() -> Result<()> {
    let address = free_address()?;
    let endpoint = format!("http://{address}");
    let first = builder(&endpoint)?.start()?;
    publish(&first, &["one", "two", "a poisonous one", "four"])?;
    let folder = first.kill()?;

    let poisoned = builder(&endpoint)?
        .set(
            "server.data_dir",
            &format!("{:?}", folder.path().join("data").display().to_string()),
        )
        .env(UNDECODABLE, "a poisonous one");
    for count in 1..=3 {
        let finished = start(&poisoned)?;
        expect(&finished, PANICKED, &["is a trap"])?;
        let kept = record(folder.path())?;
        let failures = kept["failures"].as_array().context("no list")?;
        ensure!(failures.len() == count, "{kept:#}");
        ensure!(failures[count - 1]["phase"] == "decode", "{kept:#}");
        ensure!(
            failures[count - 1]["frame"]["offset"].as_u64() > Some(0),
            "{kept:#}"
        );
    }

    let data = TempDir::new()?;
    let streams = StreamServer::embedded_at(
        address,
        data.path(),
        &["--limits", "off", "--stream", &format!("{STREAM}:1")],
    )?;
    let forebay = poisoned.start()?;
    ensure!(stored(&streams, 3)? == ["one", "two", "four"]);
    let said = forebay
        .events("starts fail while they decode this frame of the spool: it is put into quarantine");
    ensure!(said.len() == 1, "{said:?}");
    let metrics = forebay.metrics()?;
    ensure!(metrics.value("forebay_spool_records_lost_total", &[])? == 1.0);
    ensure!(metrics.value("forebay_spool_frames_damaged_total", &[])? == 1.0);
    let files = quarantined(folder.path())?;
    ensure!(files.len() == 1, "{files:?}");
    let bytes = fs::read(&files[0])?;
    ensure!(bytes.windows(15).any(|window| window == b"a poisonous one"));

    // It goes on as if nothing had been, also after another kill.
    publish(&forebay, &["five"])?;
    ensure!(stored(&streams, 4)?.contains(&"five".to_owned()));
    let poisoned_folder = forebay.kill()?;
    let again = builder(&endpoint)?
        .set(
            "server.data_dir",
            &format!("{:?}", folder.path().join("data").display().to_string()),
        )
        .env(UNDECODABLE, "a poisonous one")
        .start()?;
    drop(poisoned_folder);
    ensure!(
        again
            .metrics()?
            .value("forebay_spool_records_lost_total", &[])?
            == 0.0
    );
    bed::stop(again)
}
