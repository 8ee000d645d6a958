//! `stream tail`: prints the records of a stream as they come.

use std::collections::VecDeque;
use std::str::FromStr;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::{DateTime, DateTimeFormat};
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use serde_json::json;

use super::describe::list_shards;
use super::service::{Service, failure};
use crate::cli::args::TailArguments;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output;
use crate::cli::signals::Stop;

/// Between two rounds in which nothing came. A shard answers five reads a second (Kinesis API reference, GetRecords).
const IDLE: Duration = Duration::from_millis(250);
/// After the service said that we read too often.
const THROTTLED: Duration = Duration::from_secs(1);

/// Runs the command.
pub(crate) async fn run(arguments: &TailArguments) -> Outcome {
    let from = Position::from_str(&arguments.from)?;
    let client = Service::from(&arguments.service).client().await?;
    let mut tail = Tail {
        client,
        arguments,
        shards: VecDeque::new(),
        left: arguments.count,
    };
    let mut stop = Stop::listen()?;
    tokio::select! {
        ended = tail.run(&from) => ended,
        _ = stop.wait() => Ok(Exit::Done),
    }
}

/// Where reading begins.
#[derive(Debug, Clone, PartialEq)]
enum Position {
    Latest,
    TrimHorizon,
    Time(DateTime),
}

impl FromStr for Position {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        match text.to_ascii_lowercase().as_str() {
            "latest" => return Ok(Self::Latest),
            "trim_horizon" => return Ok(Self::TrimHorizon),
            _ => {}
        }
        // A bare number is what `date +%s` prints.
        if let Ok(seconds) = text.parse::<i64>() {
            return Ok(Self::Time(DateTime::from_secs(seconds)));
        }
        DateTime::from_str(text, DateTimeFormat::DateTimeWithOffset)
            .map(Self::Time)
            .map_err(|_| {
                Failure::new(
                    Exit::Usage,
                    format!(
                        "--from {text:?}: allowed are latest, trim_horizon, a time as in 2026-01-31T12:00:00Z, or seconds since 1970"
                    ),
                )
            })
    }
}

/// A shard that is read.
struct Reading {
    id: String,
    iterator: String,
}

struct Tail<'a> {
    client: Client,
    arguments: &'a TailArguments,
    shards: VecDeque<Reading>,
    left: Option<u64>,
}

impl Tail<'_> {
    async fn run(&mut self, from: &Position) -> Outcome {
        self.open_all(from).await?;
        while !self.shards.is_empty() {
            let mut came = false;
            for _ in 0..self.shards.len() {
                let Some(shard) = self.shards.pop_front() else {
                    break;
                };
                came |= self.read(shard).await?;
                if self.left == Some(0) {
                    return Ok(Exit::Done);
                }
            }
            if !came {
                tokio::time::sleep(IDLE).await;
            }
        }
        // Every shard is closed and read to its end: nothing can come any more.
        Ok(Exit::Done)
    }

    async fn open_all(&mut self, from: &Position) -> Result<(), Failure> {
        let shards = list_shards(&self.client, &self.arguments.name).await?;
        let wanted = self.arguments.shard.as_deref();
        for shard in &shards {
            if wanted.is_none_or(|wanted| wanted == shard.shard_id()) {
                self.open(shard.shard_id().to_owned(), from).await?;
            }
        }
        match wanted {
            Some(wanted) if self.shards.is_empty() => Err(Failure::new(
                Exit::Usage,
                format!("stream {} has no shard {wanted}", self.arguments.name),
            )),
            _ => Ok(()),
        }
    }

    async fn open(&mut self, id: String, from: &Position) -> Result<(), Failure> {
        let request = self
            .client
            .get_shard_iterator()
            .stream_name(&self.arguments.name)
            .shard_id(&id);
        let request = match from {
            Position::Latest => request.shard_iterator_type(ShardIteratorType::Latest),
            Position::TrimHorizon => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Position::Time(time) => request
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(*time),
        };
        let answer = request
            .send()
            .await
            .map_err(|error| failure("GetShardIterator", error))?;
        if let Some(iterator) = answer.shard_iterator {
            self.shards.push_back(Reading { id, iterator });
        }
        Ok(())
    }

    /// Reads a shard once; true when something came.
    async fn read(&mut self, shard: Reading) -> Result<bool, Failure> {
        let answer = self
            .client
            .get_records()
            .shard_iterator(&shard.iterator)
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(SdkError::ServiceError(error))
                if error.err().code() == Some("ProvisionedThroughputExceededException") =>
            {
                self.shards.push_back(shard);
                tokio::time::sleep(THROTTLED).await;
                return Ok(false);
            }
            Err(error) => return Err(failure("GetRecords", error)),
        };
        for record in answer.records() {
            self.print(&shard.id, record)?;
            if let Some(left) = &mut self.left {
                *left -= 1;
                if *left == 0 {
                    return Ok(true);
                }
            }
        }
        let came = !answer.records().is_empty();
        match answer.next_shard_iterator {
            Some(iterator) => self.shards.push_back(Reading {
                id: shard.id,
                iterator,
            }),
            // The shard was split or merged: its children begin where it ended.
            None if self.arguments.shard.is_none() => {
                for child in answer.child_shards.unwrap_or_default() {
                    let id = child.shard_id().to_owned();
                    if self.shards.iter().all(|known| known.id != id) {
                        self.open(id, &Position::TrimHorizon).await?;
                    }
                }
            }
            None => {}
        }
        Ok(came)
    }

    fn print(&self, shard: &str, record: &Record) -> std::io::Result<()> {
        let data = record.data().as_ref();
        if self.arguments.raw {
            return output::bytes(data);
        }
        let arrived = record
            .approximate_arrival_timestamp()
            .and_then(|time| time.fmt(DateTimeFormat::DateTimeWithOffset).ok());
        if self.arguments.json {
            let value = json!({
                "shard": shard,
                "sequence_number": record.sequence_number(),
                "partition_key": record.partition_key(),
                "arrived": arrived,
                "bytes": data.len(),
                "data": std::str::from_utf8(data).ok(),
                "data_hex": std::str::from_utf8(data).is_err().then(|| hexadecimal(data)),
            });
            return output::line(&value.to_string());
        }
        let mut line = format!(
            "{shard} {} {} ",
            arrived.as_deref().unwrap_or("-"),
            record.partition_key().unwrap_or("-")
        )
        .into_bytes();
        line.extend_from_slice(data);
        output::bytes(&line)
    }
}

fn hexadecimal(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_words_or_times() {
        assert_eq!("LATEST".parse::<Position>().unwrap(), Position::Latest);
        assert_eq!(
            "trim_horizon".parse::<Position>().unwrap(),
            Position::TrimHorizon
        );
        let time = DateTime::from_secs(1_769_860_800);
        assert_eq!(
            "1769860800".parse::<Position>().unwrap(),
            Position::Time(time)
        );
        assert_eq!(
            "2026-01-31T12:00:00Z".parse::<Position>().unwrap(),
            Position::Time(time)
        );
        let refused = "yesterday".parse::<Position>().unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
    }
}
