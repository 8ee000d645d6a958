//! `stream list`, `describe`, `tail` and `serve`.

use anyhow::{Context as _, Result, ensure};
use forebay_tests::forebay;
use forebay_tests::kinesis;
use forebay_tests::mqtt::{Client, Publish, Version};
use forebay_tests::process::Process;
use forebay_tests::streams::StreamServer;
use serde_json::Value;
use tempfile::TempDir;

use super::{expect_code, expect_text, json_of, output_of, run};
use crate::bed::{Bed, LIMIT};

#[test]
fn list_names_every_stream() -> Result<()> {
    let data = TempDir::new()?;
    let server = StreamServer::embedded(data.path(), &["--stream", "b:1", "--stream", "a:2"])?;
    let endpoint = server.endpoint();
    ensure!(output_of(["stream", "list", "--endpoint", &endpoint])? == "a\nb\n");
    let names: Value = serde_json::from_str(&output_of([
        "stream",
        "list",
        "--json",
        "--endpoint",
        &endpoint,
    ])?)?;
    ensure!(names == serde_json::json!(["a", "b"]));
    expect_code(&server.stop(LIMIT)?, 0)
}

#[test]
fn describe_shows_the_shards_as_boto3_sees_them() -> Result<()> {
    let data = TempDir::new()?;
    let server = StreamServer::embedded(data.path(), &["--stream", "three:3"])?;
    let endpoint = server.endpoint();
    let finished = run([
        "stream",
        "describe",
        "three",
        "--json",
        "--endpoint",
        &endpoint,
    ])?;
    let described = json_of(&finished, 0)?;
    ensure!(
        described["name"] == "three" && described["status"] == "ACTIVE",
        "{described:#}"
    );
    ensure!(described["open_shards"] == 3, "{described:#}");
    let shards = described["shards"].as_array().context("shards")?;
    let seen = kinesis::shards(&endpoint, "three")?;
    ensure!(shards.len() == seen.len());
    for (shard, seen) in shards.iter().zip(seen) {
        ensure!(shard["id"] == seen.id, "{shard} {seen:?}");
        ensure!(
            shard["hash_key_start"] == seen.hash_first.to_string(),
            "{shard} {seen:?}"
        );
        ensure!(
            shard["hash_key_end"] == seen.hash_last.to_string(),
            "{shard} {seen:?}"
        );
    }
    let text = output_of(["stream", "describe", "three", "--endpoint", &endpoint])?;
    expect_text(&text, &["ACTIVE", "shardId-000000000002", "33.3 %"])?;
    let finished = run(["stream", "describe", "missing", "--endpoint", &endpoint])?;
    expect_code(&finished, 1)?;
    expect_text(&finished.stderr, &["ResourceNotFoundException", "missing"])
}

#[test]
fn tail_prints_what_was_published() -> Result<()> {
    let bed = Bed::start(&["telemetry:2"], |builder| {
        builder.kinesis_rule("all", "SELECT * FROM 'dt/#'", "telemetry", "${topic()}")
    })?;
    let endpoint = bed.streams.endpoint();
    let mut client = Client::simple(bed.forebay.mqtt(), Version::V5, "device")?;
    let mut publish = |numbers: std::ops::Range<u32>| {
        client.publish_all(numbers.map(|n| Publish::new("dt/x", n.to_string(), 1)), 10)
    };
    publish(0..3)?;
    let tail = ["stream", "tail", "telemetry", "--endpoint", &endpoint];
    let from_start = [&tail[..], &["--from", "TRIM_HORIZON", "-n", "3"]].concat();
    ensure!(output_of([&from_start[..], &["--raw"]].concat())? == "0\n1\n2\n");

    let stdout = output_of([&from_start[..], &["--json"]].concat())?;
    let records = bed.records("telemetry")?;
    ensure!(stdout.lines().count() == records.len());
    for (line, record) in stdout.lines().zip(&records) {
        let line: Value = serde_json::from_str(line)?;
        ensure!(
            line["shard"] == record.shard && line["partition_key"] == "dt/x",
            "{line}"
        );
        ensure!(
            line["sequence_number"] == record.sequence_number,
            "{line} {record:?}"
        );
        ensure!(
            line["data"].as_str().map(str::as_bytes) == Some(&record.data),
            "{line}"
        );
    }
    let one = [&from_start[..], &["--shard", &records[0].shard]].concat();
    expect_text(&output_of(one)?, &[&records[0].shard, "dt/x 0", "dt/x 2"])?;
    expect_code(
        &run([&from_start[..], &["--shard", "shardId-000000000007"]].concat())?,
        2,
    )?;
    expect_code(&run([&tail[..], &["--from", "yesterday"]].concat())?, 2)?;

    // What is there already is not the latest.
    let mut following = forebay::command([&tail[..], &["-n", "2", "--raw"]].concat())?;
    let before = calls(&bed.streams, "GetRecords")?;
    let following = Process::spawn("tail", &mut following)?;
    forebay_tests::wait::until_true("`tail` to read both shards", LIMIT, || {
        Ok(calls(&bed.streams, "GetRecords")? >= before + 2)
    })?;
    publish(3..5)?;
    let finished = following.wait(LIMIT)?.expect_success()?;
    ensure!(finished.stdout == "3\n4\n", "{finished:?}");
    bed.stop()
}

/// How often the embedded server carried out an operation.
fn calls(server: &StreamServer, operation: &str) -> Result<u64> {
    let stats = server.control("GetStats", &serde_json::json!({}))?;
    let count = &stats["Requests"][operation];
    count
        .as_u64()
        .with_context(|| format!("no {operation} in {stats:#}"))
}

#[test]
fn serve_keeps_streams_that_exist_and_says_so() -> Result<()> {
    let data = TempDir::new()?;
    let server = StreamServer::embedded(data.path(), &["--stream", "kept:2"])?;
    expect_code(&server.stop(LIMIT)?, 0)?;
    let mut server = StreamServer::embedded(data.path(), &["--stream", "kept:5"])?;
    expect_text(&server.process().stderr(), &["stream kept exists already"])?;
    ensure!(kinesis::shards(&server.endpoint(), "kept")?.len() == 2);
    expect_code(&server.stop(LIMIT)?, 0)
}

/// Two servers with one data directory would damage it.
#[test]
fn a_data_directory_in_use_ends_serve_with_74() -> Result<()> {
    let data = TempDir::new()?;
    let _server = StreamServer::embedded(data.path(), &[])?;
    let folder = data.path().to_string_lossy();
    let finished = run([
        "stream",
        "serve",
        "--bind",
        "127.0.0.1:0",
        "--data-dir",
        &folder,
    ])?;
    expect_code(&finished, 74)?;
    expect_text(&finished.stderr, &["locked"])
}
