//! Starts that fail again and again: what the fourth does, and what it leaves alone.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use forebay_tests::forebay::{Builder, Forebay};
use forebay_tests::kinesis;
use forebay_tests::mqtt::{Client, Publish, Version};
use forebay_tests::process::{Finished, Process};
use forebay_tests::streams::{StreamServer, lasting_address};
use forebay_tests::wait;
use serde_json::Value;
use tempfile::TempDir;

use crate::bed::{self, LIMIT};

const STREAM: &str = "kept";
/// Decoding a frame of the spool that contains its value panics.
const UNDECODABLE: &str = "FOREBAY_TEST_UNDECODABLE";
const POISON: &str = "a poisonous one";
/// What a start says that leaves such a frame out.
const LEFT_OUT: &str =
    "starts fail while they decode this frame of the spool: it is put into quarantine";
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

/// The same on the data directory of another.
fn on_data_of(folder: &Path, endpoint: &str) -> Result<Builder> {
    let data = folder.join("data").display().to_string();
    Ok(builder(endpoint)?.set("server.data_dir", &format!("{data:?}")))
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

/// The last failure that is remembered, of so many.
fn last_failure(folder: &Path, count: usize) -> Result<Value> {
    let kept = record(folder)?;
    let failures = kept["failures"].as_array().context("no list")?;
    ensure!(failures.len() == count, "{kept:#}");
    Ok(failures[count - 1].clone())
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

fn streams_at(address: SocketAddr, data: &Path) -> Result<StreamServer> {
    let stream = format!("{STREAM}:1");
    StreamServer::embedded_at(address, data, &["--limits", "off", "--stream", &stream])
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
    last_failure(builder.folder(), 3)?;
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
    last_failure(builder.folder(), 3)?;

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
    let address = lasting_address()?;
    let endpoint = format!("http://{address}");
    let first = builder(&endpoint)?.start()?;
    publish(&first, &["one", "two", POISON, "four"])?;
    let folder = first.kill()?;

    let poisoned = on_data_of(folder.path(), &endpoint)?.env(UNDECODABLE, POISON);
    for count in 1..=3 {
        expect(&start(&poisoned)?, PANICKED, &["is a trap"])?;
        let last = last_failure(folder.path(), count)?;
        ensure!(
            last["phase"] == "decode" && last["in_thread"] == false,
            "{last:#}"
        );
        ensure!(last["frame"]["offset"].as_u64() > Some(0), "{last:#}");
    }

    let data = TempDir::new()?;
    let streams = streams_at(address, data.path())?;
    let forebay = poisoned.start()?;
    ensure!(stored(&streams, 3)? == ["one", "two", "four"]);
    ensure!(forebay.events(LEFT_OUT).len() == 1);
    let metrics = forebay.metrics()?;
    ensure!(metrics.value("forebay_spool_records_lost_total", &[])? == 1.0);
    ensure!(metrics.value("forebay_spool_frames_damaged_total", &[])? == 1.0);
    let files = quarantined(folder.path())?;
    ensure!(files.len() == 1, "{files:?}");
    let bytes = fs::read(&files[0])?;
    let mut windows = bytes.windows(POISON.len());
    ensure!(windows.any(|window| window == POISON.as_bytes()));

    // It goes on as if nothing had been, also after another kill.
    publish(&forebay, &["five"])?;
    ensure!(stored(&streams, 4)?.contains(&"five".to_owned()));
    forebay.kill()?;
    let again = on_data_of(folder.path(), &endpoint)?.env(UNDECODABLE, POISON);
    let again = again.start()?;
    let metrics = again.metrics()?;
    ensure!(metrics.value("forebay_spool_records_lost_total", &[])? == 0.0);
    bed::stop(again)
}

/// A frame in a segment that a start does not read is met by the thread that reads the backlog, with clients served or not yet.
#[test]
fn a_frame_that_ends_processes_that_serve_is_put_into_quarantine_as_well() -> Result<()> {
    // More than the first segment takes, which is a small one.
    const COUNT: usize = 6;
    let address = lasting_address()?;
    let endpoint = format!("http://{address}");
    let folder = TempDir::new()?;
    let healthy = || {
        let builder = on_data_of(folder.path(), &endpoint)?;
        builder.set("shutdown.deadline", "\"1s\"").start()
    };
    let large = "x".repeat(900_000);
    let mut messages = vec![large.as_str(); COUNT];
    messages[1] = POISON;
    let first = healthy()?;
    publish(&first, &messages)?;
    bed::stop(first)?;
    // What a start finds unsealed it seals, for the next.
    bed::stop(healthy()?)?;

    let poisoned = on_data_of(folder.path(), &endpoint)?.env(UNDECODABLE, POISON);
    for count in 1..=3 {
        expect(&start(&poisoned)?, PANICKED, &["is a trap"])?;
        let last = last_failure(folder.path(), count)?;
        ensure!(
            last["phase"] == "decode" && last["in_thread"] == true,
            "{last:#}"
        );
    }
    let data = TempDir::new()?;
    let streams = streams_at(address, data.path())?;
    let forebay = poisoned.start()?;
    ensure!(forebay.events(LEFT_OUT).len() == 1);
    ensure!(stored(&streams, COUNT - 1)? == vec![large; COUNT - 1]);
    let metrics = bed::until_metrics(&forebay, "a drained spool", |metrics| {
        metrics.sum("forebay_spool_unsettled_records", &[]) == 0.0
    })?;
    ensure!(metrics.value("forebay_spool_records_lost_total", &[])? == 1.0);
    wait::until_true("a quarantined frame", LIMIT, || {
        Ok(quarantined(folder.path())?.len() == 1)
    })?;
    bed::stop(forebay)
}
