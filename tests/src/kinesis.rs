//! Kinesis streams as boto3 sees them: creating, listing shards and reading everything back.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::{foreign, process, wait};

const LIMIT: Duration = Duration::from_secs(120);

/// A record as a consumer gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub shard: String,
    pub sequence_number: String,
    pub partition_key: String,
    pub data: Vec<u8>,
    /// When the service took it, in milliseconds since the epoch.
    pub arrival_ms: u64,
}

/// A shard and the inclusive bounds of its hash key range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    pub id: String,
    pub hash_first: u128,
    pub hash_last: u128,
}

impl Record {
    /// The data as JSON.
    ///
    /// # Errors
    /// If it is not.
    pub fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.data)?)
    }
}

/// Creates a stream and waits until it is active.
///
/// # Errors
/// If the service refuses, or the stream is not active within a minute.
pub fn create_stream(endpoint: &str, name: &str, shards: u32) -> Result<()> {
    run(boto3("create", endpoint, name)?.arg(shards.to_string())).map(drop)
}

/// Deletes a stream.
///
/// # Errors
/// If the service refuses.
pub fn delete_stream(endpoint: &str, name: &str) -> Result<()> {
    run(&mut boto3("delete", endpoint, name)?).map(drop)
}

/// Splits the open shard with the widest range of a stream in the middle, and waits until the stream is active.
///
/// # Errors
/// If the service refuses.
pub fn split_shard(endpoint: &str, name: &str) -> Result<()> {
    run(&mut boto3("split", endpoint, name)?).map(drop)
}

/// Merges the two neighbouring open shards with the narrowest range, and waits until the stream is active. An only shard
/// is split instead.
///
/// # Errors
/// If the service refuses.
pub fn merge_shards(endpoint: &str, name: &str) -> Result<()> {
    run(&mut boto3("merge", endpoint, name)?).map(drop)
}

/// The shards of a stream, those that take no more records too.
///
/// # Errors
/// If the service refuses.
pub fn shards(endpoint: &str, name: &str) -> Result<Vec<Shard>> {
    let lines = run(&mut boto3("shards", endpoint, name)?)?;
    lines
        .iter()
        .map(|line| {
            Ok(Shard {
                id: text(line, "shard")?,
                hash_first: text(line, "first")?.parse()?,
                hash_last: text(line, "last")?.parse()?,
            })
        })
        .collect()
}

/// Everything in a stream: shard by shard, in the order of each.
///
/// # Errors
/// If the service refuses, or reading takes longer than two minutes.
pub fn read_stream(endpoint: &str, name: &str) -> Result<Vec<Record>> {
    let mut command = foreign::python("read_stream.py")?;
    let lines = run(command.args([endpoint, name]))?;
    lines.iter().map(record).collect()
}

/// Reads a stream again and again until it holds at least `count` records.
///
/// # Errors
/// As [`read_stream`], or if there are fewer after `limit`.
pub fn read_until(
    endpoint: &str,
    name: &str,
    count: usize,
    limit: Duration,
) -> Result<Vec<Record>> {
    wait::until(&format!("{count} records in {name}"), limit, || {
        let records = read_stream(endpoint, name)?;
        Ok((records.len() >= count).then_some(records))
    })
}

fn boto3(verb: &str, endpoint: &str, name: &str) -> Result<Command> {
    let mut command = foreign::python("stream.py")?;
    command.args([verb, endpoint, name]);
    Ok(command)
}

fn run(command: &mut Command) -> Result<Vec<Value>> {
    let finished = process::run("boto3", command, LIMIT)?.expect_success()?;
    let lines = finished.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}

fn record(line: &Value) -> Result<Record> {
    Ok(Record {
        shard: text(line, "shard")?,
        sequence_number: text(line, "seq")?,
        partition_key: text(line, "pk")?,
        data: STANDARD.decode(text(line, "data_b64")?)?,
        arrival_ms: line["at"].as_u64().context("no arrival time")?,
    })
}

fn text(line: &Value, key: &str) -> Result<String> {
    let text = line[key].as_str().map(str::to_owned);
    text.with_context(|| format!("no {key} in {line}"))
}
