//! Reads the shards of a stream, one GetRecords after the other in each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::{Record, Shard, ShardIteratorType};
use forebay_core::{Clock, ShardMap, SystemClock};
use tokio::task::JoinSet;

use super::shards::{Lineage, ShardInfo};
use super::target::StreamTarget;

/// GetRecords calls that are under way at a time.
const CALLS_MAX: usize = 16;
/// Records asked for in one call: the most that the service gives.
const RECORDS_PER_CALL: i32 = 10_000;

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// With the oldest record that the stream still has.
    TrimHorizon,
    /// Behind the newest record at the moment of asking.
    Latest,
}

/// Why a stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A call failed, retries included.
    #[error("{call} of stream {stream} failed: {reason}")]
    Call {
        /// Name of the API call.
        call: &'static str,
        /// The stream.
        stream: String,
        /// What the service or the way to it said.
        reason: String,
    },
    /// An answer lacks what its definition promises.
    #[error("{call} of stream {stream} answered without {missing}")]
    Answer {
        /// Name of the API call.
        call: &'static str,
        /// The stream.
        stream: String,
        /// The member that is not there.
        missing: &'static str,
    },
    /// The reading thread could not be started or ended early.
    #[error("the thread that reads the stream failed: {0}")]
    Thread(String),
    /// More records than the caller wants in memory.
    #[error("stream {stream} has more than {max} records")]
    TooMany {
        /// The stream.
        stream: String,
        /// The caller's limit.
        max: usize,
    },
}

/// One record as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecord {
    /// The shard it is in.
    pub shard: String,
    /// Its partition key.
    pub partition_key: String,
    /// Its sequence number.
    pub sequence_number: String,
    /// When the stream took it, in wall-clock milliseconds.
    pub arrival_millis: Option<i64>,
    /// Its data.
    pub data: Vec<u8>,
}

/// A reader's place in one shard.
#[derive(Debug, Clone)]
struct Cursor {
    shard: Arc<str>,
    from: From,
    iterator: Option<String>,
    last_read: Option<String>,
}

/// What one call to a shard brought.
struct Haul {
    cursor: Cursor,
    records: Vec<Record>,
    behind: bool,
    ended: bool,
}

/// What one pass over all shards brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pass {
    pub(super) records: u64,
    /// Whether some shard has more, as far as the service knows.
    pub(super) behind: bool,
    /// Whether a shard was read to its end, which it has only when the stream was resharded.
    pub(super) resharded: bool,
}

/// Reads a stream.
#[derive(Debug)]
pub(super) struct Reader {
    calls: Calls,
    lineage: Lineage,
    cursors: BTreeMap<Arc<str>, Cursor>,
}

#[derive(Debug, Clone)]
struct Calls {
    client: Client,
    stream: Arc<str>,
}

impl Reader {
    /// Finds the shards and takes a place in each.
    pub(super) async fn open(target: &StreamTarget, from: From) -> Result<Self, VerifyError> {
        let calls = Calls {
            client: target.client().await,
            stream: target.stream.as_str().into(),
        };
        let mut lineage = Lineage::default();
        lineage.learn(calls.list_shards().await?);
        if from == From::Latest {
            lineage.skip_closed();
        }
        let mut reader = Self {
            calls,
            lineage,
            cursors: BTreeMap::new(),
        };
        reader.start_shards(from).await?;
        Ok(reader)
    }

    /// The map by which records are placed, if that did not change since the place where reading began.
    pub(super) fn map(&self) -> Option<ShardMap> {
        self.lineage.map()
    }

    async fn start_shards(&mut self, from: From) -> Result<(), VerifyError> {
        for id in self.lineage.start() {
            let mut cursor = Cursor {
                shard: id.as_str().into(),
                from,
                iterator: None,
                last_read: None,
            };
            cursor.iterator = Some(self.calls.iterator(&cursor).await?);
            self.cursors.insert(Arc::clone(&cursor.shard), cursor);
        }
        Ok(())
    }

    /// Calls GetRecords once for every shard and hands what comes to `on`, each shard's records in their order.
    pub(super) async fn pass(
        &mut self,
        on: &mut (dyn FnMut(&str, &Record) + Send),
    ) -> Result<Pass, VerifyError> {
        let mut waiting: Vec<Cursor> = self.cursors.values().cloned().collect();
        let mut running = JoinSet::new();
        let mut pass = Pass::default();
        loop {
            while running.len() < CALLS_MAX
                && let Some(cursor) = waiting.pop()
            {
                let calls = self.calls.clone();
                running.spawn(async move { calls.get_records(cursor).await });
            }
            let Some(joined) = running.join_next().await else {
                break;
            };
            let haul = joined.map_err(|error| VerifyError::Thread(error.to_string()))??;
            pass.records += haul.records.len() as u64;
            pass.behind |= haul.behind;
            for record in &haul.records {
                on(&haul.cursor.shard, record);
            }
            if haul.ended {
                self.lineage.finish(&haul.cursor.shard);
                self.cursors.remove(&haul.cursor.shard);
                pass.resharded = true;
            } else {
                self.cursors
                    .insert(Arc::clone(&haul.cursor.shard), haul.cursor);
            }
        }
        if pass.resharded {
            self.lineage.learn(self.calls.list_shards().await?);
            self.start_shards(From::TrimHorizon).await?;
            pass.behind = true;
        }
        Ok(pass)
    }
}

impl Calls {
    async fn list_shards(&self) -> Result<Vec<ShardInfo>, VerifyError> {
        const CALL: &str = "ListShards";
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let call = self.client.list_shards();
            let call = match next.take() {
                Some(token) => call.next_token(token),
                None => call.stream_name(&*self.stream),
            };
            let answer = call
                .send()
                .await
                .map_err(|error| self.failed(CALL, error))?;
            for shard in answer.shards() {
                found.push(self.shard_info(shard)?);
            }
            match answer.next_token {
                Some(token) if !token.is_empty() => next = Some(token),
                _ => return Ok(found),
            }
        }
    }

    fn shard_info(&self, shard: &Shard) -> Result<ShardInfo, VerifyError> {
        let lacks = |missing| VerifyError::Answer {
            call: "ListShards",
            stream: self.stream.to_string(),
            missing,
        };
        let range = shard
            .hash_key_range()
            .ok_or_else(|| lacks("HashKeyRange"))?;
        let bound = |text: &str| text.parse().map_err(|_| lacks("a decimal HashKeyRange"));
        let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()];
        Ok(ShardInfo {
            id: shard.shard_id().to_owned(),
            parents: parents.into_iter().flatten().map(str::to_owned).collect(),
            closed: shard
                .sequence_number_range()
                .is_some_and(|range| range.ending_sequence_number().is_some()),
            range: (
                bound(range.starting_hash_key())?,
                bound(range.ending_hash_key())?,
            ),
        })
    }

    async fn iterator(&self, cursor: &Cursor) -> Result<String, VerifyError> {
        const CALL: &str = "GetShardIterator";
        let kind = match (&cursor.last_read, cursor.from) {
            (Some(_), _) => ShardIteratorType::AfterSequenceNumber,
            (None, From::Latest) => ShardIteratorType::Latest,
            (None, From::TrimHorizon) => ShardIteratorType::TrimHorizon,
        };
        let answer = self
            .client
            .get_shard_iterator()
            .stream_name(&*self.stream)
            .shard_id(&*cursor.shard)
            .shard_iterator_type(kind)
            .set_starting_sequence_number(cursor.last_read.clone())
            .send()
            .await
            .map_err(|error| self.failed(CALL, error))?;
        answer.shard_iterator.ok_or_else(|| VerifyError::Answer {
            call: CALL,
            stream: self.stream.to_string(),
            missing: "ShardIterator",
        })
    }

    async fn get_records(&self, mut cursor: Cursor) -> Result<Haul, VerifyError> {
        let answer = match self.try_get_records(&cursor).await {
            Ok(answer) => answer,
            // An iterator is good for five minutes. One that was taken at the end of the stream and never brought a
            // record cannot be taken again at the same place, so it fails.
            Err((true, _)) if cursor.last_read.is_some() || cursor.from == From::TrimHorizon => {
                cursor.iterator = Some(self.iterator(&cursor).await?);
                self.try_get_records(&cursor)
                    .await
                    .map_err(|(_, error)| error)?
            }
            Err((_, error)) => return Err(error),
        };
        if let Some(record) = answer.records.last() {
            cursor.last_read = Some(record.sequence_number.clone());
        }
        cursor.iterator = answer.next_shard_iterator;
        Ok(Haul {
            behind: answer.millis_behind_latest.unwrap_or(0) > 0,
            ended: cursor.iterator.is_none(),
            records: answer.records,
            cursor,
        })
    }

    /// The error says first whether the iterator has expired.
    async fn try_get_records(
        &self,
        cursor: &Cursor,
    ) -> Result<GetRecordsOutput, (bool, VerifyError)> {
        self.client
            .get_records()
            .set_shard_iterator(cursor.iterator.clone())
            .limit(RECORDS_PER_CALL)
            .send()
            .await
            .map_err(|error| {
                let expired = error
                    .as_service_error()
                    .is_some_and(|error| error.is_expired_iterator_exception());
                (expired, self.failed("GetRecords", error))
            })
    }

    fn failed(&self, call: &'static str, error: impl std::error::Error) -> VerifyError {
        VerifyError::Call {
            call,
            stream: self.stream.to_string(),
            reason: causes(&error),
        }
    }
}

/// An error and what caused it, without saying anything twice. The SDK's own long form also prints whole answers.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

/// Reads what a stream has: until it brings nothing new for `settle`. Records come grouped by shard, in their order
/// within each.
///
/// # Errors
/// When a call fails, or the stream has more than `max` records.
pub async fn read_all(
    target: &StreamTarget,
    settle: Duration,
    max: usize,
) -> Result<Vec<StoredRecord>, VerifyError> {
    let clock = SystemClock::new();
    let mut reader = Reader::open(target, From::TrimHorizon).await?;
    let mut shards: BTreeMap<String, Vec<StoredRecord>> = BTreeMap::new();
    let mut count = 0;
    let mut last_new = clock.now();
    loop {
        let pass = reader
            .pass(&mut |shard, record| {
                let records = shards.entry(shard.to_owned()).or_default();
                records.push(stored(shard, record));
            })
            .await?;
        count += pass.records;
        if count > max as u64 {
            return Err(VerifyError::TooMany {
                stream: target.stream.clone(),
                max,
            });
        }
        if pass.records > 0 {
            last_new = clock.now();
        } else if !pass.behind && clock.now() - last_new >= settle {
            return Ok(shards.into_values().flatten().collect());
        } else {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Pause after a pass that brought nothing: the service allows five calls a second on a shard.
pub(super) const PAUSE: Duration = Duration::from_millis(210);

fn stored(shard: &str, record: &Record) -> StoredRecord {
    StoredRecord {
        shard: shard.to_owned(),
        partition_key: record.partition_key().unwrap_or_default().to_owned(),
        sequence_number: record.sequence_number.clone(),
        arrival_millis: arrival_millis(record),
        data: record.data.as_ref().to_vec(),
    }
}

/// When the stream took a record, in wall-clock milliseconds.
pub(super) fn arrival_millis(record: &Record) -> Option<i64> {
    record.approximate_arrival_timestamp?.to_millis().ok()
}
