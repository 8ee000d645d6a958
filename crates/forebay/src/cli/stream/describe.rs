//! `stream describe`: a stream and its shards.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{Shard, StreamDescriptionSummary};
use serde_json::{Value, json};

use super::service::{Service, failure};
use crate::cli::args::DescribeArguments;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output;

/// Pages of shards that are asked for: 10 000 shards a page at most.
const PAGES_MAX: usize = 1000;

/// Runs the command.
pub(crate) async fn run(arguments: &DescribeArguments) -> Outcome {
    let client = Service::from(&arguments.service).client().await?;
    let answer = client
        .describe_stream_summary()
        .stream_name(&arguments.name)
        .send()
        .await
        .map_err(|error| failure("DescribeStreamSummary", error))?;
    let summary = answer.stream_description_summary().ok_or_else(|| {
        Failure::new(
            Exit::Unreachable,
            "DescribeStreamSummary: the answer is empty",
        )
    })?;
    let shards = list_shards(&client, &arguments.name).await?;
    if arguments.json {
        output::json(&as_json(summary, &shards))?;
    } else {
        output::line(as_text(summary, &shards).trim_end())?;
    }
    Ok(Exit::Done)
}

/// All shards of a stream, open and closed.
pub(super) async fn list_shards(client: &Client, stream: &str) -> Result<Vec<Shard>, Failure> {
    let mut shards: Vec<Shard> = Vec::new();
    let mut token: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let request = match &token {
            // With a token the stream may not be named again (Kinesis API reference, ListShards).
            Some(token) => client.list_shards().next_token(token),
            None => client.list_shards().stream_name(stream),
        };
        let page = request
            .send()
            .await
            .map_err(|error| failure("ListShards", error))?;
        shards.extend(page.shards().iter().cloned());
        token = page.next_token().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    Ok(shards)
}

fn as_text(summary: &StreamDescriptionSummary, shards: &[Shard]) -> String {
    let mode = summary
        .stream_mode_details()
        .map_or("unknown", |details| details.stream_mode().as_str());
    let mut rows = vec![
        ("name", summary.stream_name().to_owned()),
        ("arn", summary.stream_arn().to_owned()),
        ("status", summary.stream_status().as_str().to_owned()),
        ("mode", mode.to_owned()),
        (
            "retention",
            format!("{} h", summary.retention_period_hours()),
        ),
        ("open shards", summary.open_shard_count().to_string()),
    ];
    if let Some(encryption) = summary.encryption_type() {
        rows.push(("encryption", encryption.as_str().to_owned()));
    }
    if let Some(kib) = summary.max_record_size_in_kib() {
        rows.push(("record size", format!("{kib} KiB")));
    }
    let mut text = String::new();
    for (name, value) in rows {
        text.push_str(&format!("{name:<12} {value}\n"));
    }
    text.push_str("\nshard                 state   share  hash keys\n");
    for shard in shards {
        let (start, end) = range(shard);
        let share = match (start.parse::<u128>(), end.parse::<u128>()) {
            (Ok(start), Ok(end)) => format!("{:.1} %", share_percent(start, end)),
            _ => "?".to_owned(),
        };
        let state = if is_open(shard) { "open" } else { "closed" };
        text.push_str(&format!(
            "{:<21} {state:<7} {share:>6}  {start} to {end}\n",
            shard.shard_id()
        ));
    }
    text
}

fn as_json(summary: &StreamDescriptionSummary, shards: &[Shard]) -> Value {
    let shards: Vec<Value> = shards
        .iter()
        .map(|shard| {
            let (start, end) = range(shard);
            json!({
                "id": shard.shard_id(),
                "open": is_open(shard),
                "hash_key_start": start,
                "hash_key_end": end,
                "parent": shard.parent_shard_id(),
                "adjacent_parent": shard.adjacent_parent_shard_id(),
            })
        })
        .collect();
    json!({
        "name": summary.stream_name(),
        "arn": summary.stream_arn(),
        "status": summary.stream_status().as_str(),
        "mode": summary.stream_mode_details().map(|details| details.stream_mode().as_str()),
        "retention_hours": summary.retention_period_hours(),
        "open_shards": summary.open_shard_count(),
        "encryption": summary.encryption_type().map(|encryption| encryption.as_str()),
        "record_bytes_max": summary.max_record_size_in_kib().map(|kib| i64::from(kib) * 1024),
        "shards": shards,
    })
}

fn range(shard: &Shard) -> (&str, &str) {
    shard.hash_key_range().map_or(("?", "?"), |range| {
        (range.starting_hash_key(), range.ending_hash_key())
    })
}

/// A shard without a last sequence number still takes records.
fn is_open(shard: &Shard) -> bool {
    shard
        .sequence_number_range()
        .is_none_or(|range| range.ending_sequence_number().is_none())
}

/// Part of the key space in percent.
#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn share_percent(start: u128, end: u128) -> f64 {
    end.saturating_sub(start) as f64 / u128::MAX as f64 * 100.0
}
