//! The spool seen from outside: when the program refuses to start without one, what a restart brings back, how a stop
//! leaves it, and the tool that looks into it.

mod damage;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use forebay_tests::forebay::{self, Builder, Forebay, field};
use forebay_tests::kinesis;
use forebay_tests::mqtt::{Client, Packet, Publish, Version};
use forebay_tests::process::{self, Finished, Process};
use forebay_tests::streams::{StreamServer, free_address};
use forebay_tests::wait;
use serde_json::Value;
use tempfile::TempDir;

use crate::bed::{self, LIMIT};

const STREAM: &str = "kept";
/// An address at which nobody answers.
const NOWHERE: &str = "127.0.0.1:1";

/// A server with a small spool, whose streams are at `endpoint`.
fn config(ack: &str, endpoint: &str) -> String {
    format!(
        "[server]\ndata_dir = \"data\"\nack = \"{ack}\"\n\n\
         [spool]\nsegment = \"16MiB\"\nmax_bytes = \"64MiB\"\nreserve = 0\nallow_volatile = true\n\n\
         [listeners.default]\nbind = \"127.0.0.1:0\"\n\n\
         [admin]\nbind = \"127.0.0.1:0\"\n\n\
         [kinesis]\nregion = \"us-east-1\"\nendpoint = \"http://{endpoint}\"\n\n\
         [log]\nformat = \"json\"\n\n\
         [shutdown]\ndeadline = \"5s\"\n\n\
         [[rules.inline]]\nname = \"keep\"\nsql = \"SELECT * FROM 'dt/#'\"\n\
         action.kinesis = {{ stream_name = \"{STREAM}\", partition_key = \"${{topic()}}\", role_arn = \"\" }}\n"
    )
}

fn with(ack: &str, endpoint: &str) -> Result<Builder> {
    Ok(Builder::new()?.config(&config(ack, endpoint)))
}

/// Starts the program in the folder of one that has ended.
fn again(folder: TempDir, ack: &str, endpoint: &str) -> Result<Forebay> {
    let file = folder.path().join("forebay.toml");
    fs::write(&file, config(ack, endpoint))?;
    let mut command = forebay::command(["run", "-c"])?;
    command.arg(file).current_dir(folder.path());
    Forebay::ready(Process::spawn("forebay", &mut command)?, folder)
}

fn publish(forebay: &Forebay, numbers: std::ops::Range<u32>) -> Result<()> {
    let mut client = Client::simple(forebay.mqtt(), Version::V5, "device")?;
    let messages = numbers.map(|n| Publish::new("dt/a", n.to_string(), 1));
    for outcome in client.publish_all(messages, 20)? {
        ensure!(outcome.reason == 0, "{outcome:?}");
    }
    client.disconnect()
}

/// Streams at an address, with the one that the rule fills.
fn streams_at(address: SocketAddr, data: &Path) -> Result<StreamServer> {
    let stream = format!("{STREAM}:2");
    StreamServer::embedded_at(address, data, &["--limits", "off", "--stream", &stream])
}

/// Waits until the stream has `count` records and returns their numbers, each once, in the order of the first time.
fn stored(streams: &StreamServer, count: usize) -> Result<Vec<u32>> {
    let records = kinesis::read_until(&streams.endpoint(), STREAM, count, LIMIT)?;
    let mut numbers: Vec<u32> = Vec::new();
    for record in records {
        let number = String::from_utf8(record.data)?.parse()?;
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    Ok(numbers)
}

fn spool<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Finished> {
    let command = ["spool"].into_iter().chain(arguments);
    process::run("forebay", &mut forebay::command(command)?, LIMIT)
}

fn json_of(finished: &Finished, code: i32) -> Result<Value> {
    expect(finished, code, &[])?;
    serde_json::from_str(&finished.stdout).with_context(|| format!("{finished:?}"))
}

fn expect(finished: &Finished, code: i32, parts: &[&str]) -> Result<()> {
    ensure!(finished.code() == Some(code), "not {code}: {finished:?}");
    for part in parts {
        let said = finished.stderr.contains(part) || finished.stdout.contains(part);
        ensure!(said, "no {part:?} in {finished:?}");
    }
    Ok(())
}

fn number(event: &Value, name: &str) -> Option<u64> {
    event["fields"][name].as_u64().or(event[name].as_u64())
}

/// The last log event of a process that has ended whose message is `wanted`.
fn event(finished: &Finished, wanted: &str) -> Result<Value> {
    let events = finished.stderr.lines().rev();
    let mut events = events.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let found = events.find(|event| field(event, "message") == Some(wanted));
    found.with_context(|| format!("no {wanted:?} in {finished:?}"))
}

/// Streams that do not answer yet, a server that has acknowledged `count` messages meanwhile, and the address at which
/// the streams will be.
fn with_backlog(count: u32) -> Result<(Forebay, SocketAddr)> {
    let address = free_address()?;
    let forebay = with("spool", &address.to_string())?.start()?;
    publish(&forebay, 0..count)?;
    Ok((forebay, address))
}

#[test]
fn without_a_directory_to_write_the_start_is_refused() -> Result<()> {
    let builder = with("spool", NOWHERE)?.file("taken", "")?;
    let builder = builder.set("server.data_dir", "\"taken/data\"");
    let finished = builder.run_to_end()?;
    let parts = [
        "taken/data",
        "refuses to start",
        "ack = \"accept\"",
        "ack = \"stored\"",
    ];
    expect(&finished, 74, &parts)?;

    let mut validate = forebay::command(["validate", "--no-network"])?;
    validate.arg(builder.write()?);
    validate.current_dir(builder.folder());
    let set = ["--set", "server.data_dir=\"taken/data\""];
    let validate = process::run("forebay", validate.args(set), LIMIT)?;
    expect(&validate, 78, &["C015", "taken"])?;

    // Nothing is promised then, so nothing is needed.
    bed::stop(builder.set("server.ack", "\"stored\"").start()?)
}

#[test]
fn a_validation_creates_nothing() -> Result<()> {
    let builder = with("spool", NOWHERE)?.set("server.data_dir", "\"new/data\"");
    let mut validate = forebay::command(["validate", "--no-network"])?;
    validate.arg(builder.write()?).current_dir(builder.folder());
    validate.args(["--set", "server.data_dir=\"new/data\""]);
    let finished = process::run("forebay", &mut validate, LIMIT)?;
    expect(&finished, 0, &["spool: new/data/spool"])?;
    ensure!(!builder.folder().join("new").exists());
    Ok(())
}

#[test]
fn a_directory_serves_one_process() -> Result<()> {
    let first = with("spool", NOWHERE)?.start()?;
    let dir = first.folder().join("data");
    let second = with("spool", NOWHERE)?.set(
        "server.data_dir",
        &format!("{:?}", dir.display().to_string()),
    );
    expect(
        &second.run_to_end()?,
        74,
        &["in use by another process", "server.data_dir"],
    )?;
    publish(&first, 0..1)?;
    bed::stop(first)
}

#[test]
fn memory_is_no_place_for_a_spool() -> Result<()> {
    let shm = Path::new("/dev/shm");
    if !shm.is_dir() {
        return Ok(());
    }
    let place = tempfile::tempdir_in(shm)?;
    let dir = format!("{:?}", place.path().join("spool").display().to_string());
    let builder = || Ok::<_, anyhow::Error>(with("spool", NOWHERE)?.set("spool.dir", &dir));
    let refused = builder()?
        .set("spool.allow_volatile", "false")
        .run_to_end()?;
    expect(&refused, 78, &["spool.allow_volatile = true"])?;
    bed::stop(builder()?.start()?)
}

#[test]
fn sizes_that_do_not_go_together_are_refused() -> Result<()> {
    let refused = with("spool", NOWHERE)?
        .set("spool.max_bytes", "\"63MiB\"")
        .run_to_end()?;
    expect(
        &refused,
        78,
        &["`spool.max_bytes`", "64MiB or more", "4 segments"],
    )?;
    let refused = with("spool", NOWHERE)?
        .set("spool.segment", "\"1MiB\"")
        .run_to_end()?;
    expect(&refused, 78, &["`spool.segment`", "16MiB to 1GiB"])?;
    let refused = with("spool", NOWHERE)?
        .set("memory.on_full", "\"drop_oldest\"")
        .run_to_end()?;
    expect(&refused, 78, &["ack = \"spool\""])
}

#[test]
fn what_is_kept_is_for_its_owner_only() -> Result<()> {
    let builder = with("spool", NOWHERE)?.set("server.data_dir", "\"made/data\"");
    let forebay = builder.start()?;
    publish(&forebay, 0..10)?;
    let data = forebay.folder().join("made/data");
    let mode =
        |path: &Path| Ok::<_, anyhow::Error>(fs::metadata(path)?.permissions().mode() & 0o777);
    ensure!(mode(&data)? == 0o700 && mode(&data.join("spool"))? == 0o700);
    for entry in fs::read_dir(data.join("spool"))? {
        let path = entry?.path();
        ensure!(mode(&path)? == 0o600, "{}", path.display());
    }
    bed::stop(forebay)
}

#[test]
fn the_contract_in_force_is_said_at_the_start() -> Result<()> {
    let forebay = with("spool", NOWHERE)?.start()?;
    let rule = forebay.events("rule in force");
    ensure!(
        rule.len() == 1 && field(&rule[0], "ack") == Some("spool on default"),
        "{rule:?}"
    );
    ensure!(
        field(&rule[0], "on_spool_failure") == Some("stored"),
        "{rule:?}"
    );
    let created = forebay.events("spool created");
    ensure!(created.len() == 1, "{created:?}");
    ensure!(
        number(&created[0], "limit_bytes") == Some(64 << 20),
        "{created:?}"
    );
    bed::stop(forebay)
}

/// Acknowledged while the stream could not be reached, killed, and delivered after a restart.
#[test]
fn a_backlog_survives_a_kill() -> Result<()> {
    let (forebay, address) = with_backlog(500)?;
    let folder = forebay.kill()?;
    let data = TempDir::new()?;
    let streams = streams_at(address, data.path())?;
    let forebay = again(folder, "spool", &address.to_string())?;
    let recovered = forebay.events("spool recovered");
    ensure!(recovered.len() == 1, "{recovered:?}");
    ensure!(
        number(&recovered[0], "records") == Some(500),
        "{recovered:?}"
    );
    ensure!(number(&recovered[0], "lost") == Some(0), "{recovered:?}");
    let numbers = stored(&streams, 500)?;
    ensure!(numbers.iter().copied().eq(0..500), "{numbers:?}");
    // What is new goes behind it.
    publish(&forebay, 500..600)?;
    let numbers = stored(&streams, 600)?;
    ensure!(numbers.iter().copied().eq(0..600), "{numbers:?}");
    bed::stop(forebay)
}

/// Data that is left in the spool is no failure of a stop.
#[test]
fn a_stop_leaves_what_could_not_be_sent() -> Result<()> {
    let address = free_address()?;
    let kept = TempDir::new()?;
    let data = format!("{:?}", kept.path().join("data").display().to_string());
    let builder = with("spool", &address.to_string())?.set("server.data_dir", &data);
    let forebay = builder.start()?;
    publish(&forebay, 0..100)?;
    let mut idle = Client::simple(forebay.mqtt(), Version::V5, "idle")?;
    let finished = forebay.stop(LIMIT)?;
    expect(&finished, 0, &[])?;
    let last = idle.read_to_close(Duration::from_secs(5))?;
    ensure!(
        matches!(last[..], [Packet::Disconnect { reason: 0x8B, .. }]),
        "{last:?}"
    );
    let stopped = event(&finished, "stopped")?;
    ensure!(number(&stopped, "in_spool") == Some(100), "{stopped}");
    ensure!(number(&stopped, "unsent") == Some(0), "{stopped}");

    let data = TempDir::new()?;
    let streams = streams_at(address, data.path())?;
    let forebay = again(kept, "spool", &address.to_string())?;
    let numbers = stored(&streams, 100)?;
    ensure!(numbers.iter().copied().eq(0..100), "{numbers:?}");
    wait::until_true("an empty spool", LIMIT, || {
        Ok(forebay
            .metrics()?
            .value("forebay_spool_unsettled_records", &[])?
            == 0.0)
    })?;
    let finished = forebay.stop(LIMIT)?;
    expect(&finished, 0, &[])?;
    ensure!(number(&event(&finished, "stopped")?, "in_spool") == Some(0));
    Ok(())
}

/// What an earlier run has acknowledged is sent, whatever the mode is now.
#[test]
fn a_backlog_is_sent_although_nothing_new_is_spooled() -> Result<()> {
    let (forebay, address) = with_backlog(50)?;
    let folder = forebay.kill()?;
    let data = TempDir::new()?;
    let streams = streams_at(address, data.path())?;
    let forebay = again(folder, "stored", &address.to_string())?;
    let numbers = stored(&streams, 50)?;
    ensure!(numbers.iter().copied().eq(0..50), "{numbers:?}");
    bed::stop(forebay)
}

#[test]
fn the_spool_is_seen_in_metrics_and_status() -> Result<()> {
    let (forebay, _) = with_backlog(25)?;
    let metrics = bed::until_metrics(&forebay, "a backlog", |metrics| {
        // What is owed per stream is looked at less often than the rest.
        metrics.sum("forebay_spool_unsettled_records", &[]) == 25.0
            && metrics.sum("forebay_spool_records", &[]) == 25.0
    })?;
    let value = |name: &str| metrics.value(name, &[]);
    ensure!(value("forebay_spool_limit_bytes")? == f64::from(64 << 20));
    ensure!(value("forebay_spool_records_lost_total")? == 0.0);
    ensure!(value("forebay_spool_flush_errors_total")? == 0.0);
    ensure!(value("forebay_spool_frames_damaged_total")? == 0.0);
    ensure!(value("forebay_overload_stage")? == 0.0);
    ensure!(value("forebay_disk_free_bytes")? > 0.0);
    ensure!(metrics.value("forebay_spool_segments", &[("state", "live")])? >= 1.0);
    let stream = [("stream", STREAM)];
    ensure!(metrics.value("forebay_spool_records", &stream)? == 25.0);
    ensure!(metrics.value("forebay_spool_bytes", &stream)? > 25.0);
    ensure!(metrics.value("forebay_spool_oldest_age_seconds", &stream)? >= 0.0);

    let status: Value = serde_json::from_str(&forebay.get("/statusz")?.body)?;
    let spool = &status["spool"];
    ensure!(spool["backlog_records"] == 25, "{spool:#}");
    ensure!(spool["streams"][0]["stream"] == STREAM, "{spool:#}");
    ensure!(spool["writer"]["condition"] == "writing", "{spool:#}");
    ensure!(spool["writer"]["overload_stage"] == 0, "{spool:#}");
    ensure!(
        spool["writer"]["flush"]["last_seconds"].as_f64() > Some(0.0),
        "{spool:#}"
    );
    let stat = forebay.get("/api/v1/spool/stat")?;
    ensure!(stat.status == 200, "{stat:?}");

    expect(&forebay.stop(LIMIT)?, 0, &[])
}

#[test]
fn a_process_without_a_spool_says_so() -> Result<()> {
    let forebay = with("stored", NOWHERE)?.start()?;
    ensure!(!forebay.folder().join("data/spool").exists());
    let status: Value = serde_json::from_str(&forebay.get("/statusz")?.body)?;
    ensure!(status.get("spool").is_none(), "{status:#}");
    let url = format!("http://{}", forebay.admin());
    let token = forebay.token_file().display().to_string();
    expect(
        &spool(["stat", "--admin", &url, "--token-file", &token])?,
        69,
        &["keeps nothing in a spool"],
    )?;
    bed::stop(forebay)
}

#[test]
fn stat_looks_into_the_directory_or_asks_the_process() -> Result<()> {
    let (forebay, _) = with_backlog(40)?;
    let url = format!("http://{}", forebay.admin());
    let token = forebay.token_file().display().to_string();
    let dir = forebay.folder().join("data/spool");
    let dir = dir.to_str().context("a path that is no text")?;
    bed::until_metrics(&forebay, "a backlog", |metrics| {
        metrics.sum("forebay_spool_unsettled_records", &[]) == 40.0
    })?;
    let online = json_of(
        &spool(["stat", "--admin", &url, "--json", "--token-file", &token])?,
        0,
    )?;
    ensure!(online["backlog_records"] == 40, "{online:#}");
    ensure!(online["writer"]["condition"] == "writing", "{online:#}");
    // The directory is in use, so the process is asked.
    let text = spool(["stat", "--dir", dir, "--admin", &url])?;
    expect(
        &text,
        0,
        &["in use by the process at", "40 records", STREAM],
    )?;
    let nobody = format!("http://{}", free_address()?);
    expect(
        &spool(["stat", "--dir", dir, "--admin", &nobody])?,
        69,
        &["no running process"],
    )?;

    let folder = forebay.kill()?;
    let offline = json_of(&spool(["stat", "--dir", dir, "--json"])?, 0)?;
    ensure!(offline["backlog_records"] == 40, "{offline:#}");
    ensure!(offline.get("writer").is_none(), "{offline:#}");
    let text = spool(["stat", "--dir", dir])?;
    expect(&text, 0, &["not in use", "40 records"])?;
    drop(folder);
    expect(&spool(["stat", "--dir", dir])?, 74, &["error: "])
}

#[test]
fn stat_finds_the_directory_by_the_configuration() -> Result<()> {
    let (forebay, _) = with_backlog(3)?;
    let folder = forebay.kill()?;
    let mut command = forebay::command(["spool", "stat"])?;
    command.current_dir(folder.path());
    let finished = process::run("forebay", &mut command, LIMIT)?;
    expect(&finished, 0, &["data/spool, not in use", "3 records"])
}

#[test]
fn a_disk_that_loses_is_announced() -> Result<()> {
    let refused = with("spool", NOWHERE)?.env("FOREBAY_TEST_LOSSY_DISK", "yes");
    expect(&refused.run_to_end()?, 78, &["FOREBAY_TEST_LOSSY_DISK"])?;
    let (folder, address) = {
        let address = free_address()?;
        let builder = with("spool", &address.to_string())?.env("FOREBAY_TEST_LOSSY_DISK", "7");
        let forebay = builder.start()?;
        publish(&forebay, 0..100)?;
        (forebay.kill()?, address)
    };
    let data = TempDir::new()?;
    let streams = streams_at(address, data.path())?;
    // Acknowledged means flushed: nothing is missing after what was a power cut.
    let forebay = again(folder, "spool", &address.to_string())?;
    let numbers = stored(&streams, 100)?;
    ensure!(numbers.iter().copied().eq(0..100), "{numbers:?}");
    bed::stop(forebay)
}
