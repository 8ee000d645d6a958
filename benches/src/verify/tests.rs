//! Readers against a scripted service.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_core::{SeededEntropy, ShardMap};
use serde_json::{Value, json};

use super::{Follower, FollowerConfig, From, StreamReport, StreamTarget, VerifyError, read_all};
use crate::ledger::Ledger;
use crate::run_id::RunId;

const SETTLE: Duration = Duration::from_millis(300);
/// Records in one answer of the service: few, so that a shard takes several calls.
const PAGE: usize = 3;

#[derive(Debug, Default, Clone)]
struct FakeShard {
    parents: Vec<&'static str>,
    closed: bool,
    range: (u128, u128),
    /// Partition key and data.
    records: Vec<(String, Vec<u8>)>,
}

#[derive(Debug, Default)]
struct State {
    shards: BTreeMap<String, FakeShard>,
    /// Answers of GetRecords that are an error instead, by name.
    errors: Vec<&'static str>,
    /// The shard of every GetRecords that was answered.
    read: Vec<String>,
}

/// A service with one stream. Iterators are `shard/index`.
#[derive(Clone)]
struct FakeKinesis {
    endpoint: String,
    state: Arc<Mutex<State>>,
}

impl FakeKinesis {
    fn start(shards: &[(&str, FakeShard)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shards = shards
            .iter()
            .map(|(id, shard)| ((*id).to_owned(), shard.clone()));
        let fake = Self {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            state: Arc::new(Mutex::new(State {
                shards: shards.collect(),
                ..State::default()
            })),
        };
        let serving = fake.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let fake = serving.clone();
                std::thread::spawn(move || fake.serve(stream.unwrap()));
            }
        });
        fake
    }

    fn target(&self) -> StreamTarget {
        StreamTarget::local("s", &self.endpoint)
    }

    fn put(&self, shard: &str, partition_key: &str, data: Vec<u8>) {
        let mut state = self.state.lock().unwrap();
        let records = &mut state.shards.get_mut(shard).unwrap().records;
        records.push((partition_key.to_owned(), data));
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut writer = stream;
        while let Some((call, body)) = read_request(&mut reader) {
            let (status, answer) = self.answer(&call, &body);
            let text = answer.to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n",
                text.len()
            );
            if writer.write_all((head + &text).as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, call: &str, body: &Value) -> (u16, Value) {
        let mut state = self.state.lock().unwrap();
        match call {
            "ListShards" => (200, json!({ "Shards": state.listed() })),
            "GetShardIterator" => {
                let shard = body["ShardId"].as_str().unwrap();
                let at = match body["ShardIteratorType"].as_str().unwrap() {
                    "TRIM_HORIZON" => 0,
                    "LATEST" => state.shards[shard].records.len(),
                    _ => {
                        body["StartingSequenceNumber"]
                            .as_str()
                            .unwrap()
                            .parse::<usize>()
                            .unwrap()
                            + 1
                    }
                };
                (200, json!({ "ShardIterator": format!("{shard}/{at}") }))
            }
            "GetRecords" => match state.errors.pop() {
                Some(name) => (400, json!({ "__type": name, "message": "scripted" })),
                None => (200, state.records(body["ShardIterator"].as_str().unwrap())),
            },
            other => panic!("{other} was called"),
        }
    }
}

impl State {
    fn listed(&self) -> Vec<Value> {
        let shards = self.shards.iter().map(|(id, shard)| {
            let mut listed = json!({
                "ShardId": id,
                "HashKeyRange": {
                    "StartingHashKey": shard.range.0.to_string(),
                    "EndingHashKey": shard.range.1.to_string(),
                },
                "SequenceNumberRange": { "StartingSequenceNumber": "0" },
            });
            for (name, parent) in ["ParentShardId", "AdjacentParentShardId"]
                .iter()
                .zip(&shard.parents)
            {
                listed[name] = json!(parent);
            }
            if shard.closed {
                listed["SequenceNumberRange"]["EndingSequenceNumber"] = json!("9");
            }
            listed
        });
        shards.collect()
    }

    fn records(&mut self, iterator: &str) -> Value {
        let (id, at) = iterator.split_once('/').unwrap();
        let at: usize = at.parse().unwrap();
        let shard = &self.shards[id];
        let end = shard.records.len().min(at + PAGE);
        let records = (at..end).map(|index| {
            let (partition_key, data) = &shard.records[index];
            json!({
                "SequenceNumber": index.to_string(),
                "ApproximateArrivalTimestamp": 1.5,
                "PartitionKey": partition_key,
                "Data": base64(data),
            })
        });
        let left = shard.records.len() - end;
        let mut answer =
            json!({ "Records": records.collect::<Vec<_>>(), "MillisBehindLatest": left });
        if !shard.closed || left > 0 {
            answer["NextShardIterator"] = json!(format!("{id}/{end}"));
        }
        self.read.push(id.to_owned());
        answer
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<(String, Value)> {
    let (mut call, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            match name {
                "content-length" => length = value.parse().unwrap(),
                "x-amz-target" => call = value.split('.').nth(1).unwrap().to_owned(),
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let known = ["ListShards", "GetShardIterator", "GetRecords"];
    let call = known.iter().find(|name| name.eq_ignore_ascii_case(&call));
    Some(((*call?).to_owned(), serde_json::from_slice(&body).unwrap()))
}

fn base64(data: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in data.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 0x3f) as usize];
            text.push(if place <= chunk.len() {
                digit.into()
            } else {
                '='
            });
        }
    }
    text
}

fn run_id() -> RunId {
    RunId::new(&mut SeededEntropy::new(7))
}

fn message(device: &str, seq: u64) -> Vec<u8> {
    let run = run_id();
    format!(r#"{{"run":"{run}","device":"{device}","seq":{seq},"t":1000}}"#).into_bytes()
}

fn ledger(device: &str, acknowledged: std::ops::RangeInclusive<u64>) -> Ledger {
    let mut ledger = Ledger::default();
    let key = ledger.key(device);
    key.published = *acknowledged.end();
    for seq in acknowledged {
        key.acknowledged.insert(seq);
    }
    ledger
}

fn whole() -> FakeShard {
    FakeShard {
        range: (0, u128::MAX),
        ..FakeShard::default()
    }
}

fn follow(fake: &FakeKinesis, from: From) -> Follower {
    Follower::start(FollowerConfig::new(fake.target(), from, run_id())).unwrap()
}

fn finish(fake: &FakeKinesis, from: From, ledger: Ledger) -> StreamReport {
    follow(fake, from).finish(ledger, SETTLE).unwrap()
}

#[test]
fn what_comes_after_the_start_is_found_and_what_came_before_is_not() {
    let fake = FakeKinesis::start(&[("a", whole())]);
    fake.put("a", "old", message("old", 1));
    let follower = follow(&fake, From::Latest);
    for seq in 1..=10 {
        fake.put("a", "d", message("d", seq));
    }
    fake.put("a", "d", message("d", 4));
    fake.put("a", "other", b"{}".to_vec());
    let report = follower.finish(ledger("d", 1..=10), SETTLE).unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(
        (report.stored, report.duplicated, report.foreign),
        (10, 1, 1)
    );
    assert_eq!(report.misplaced, Some(0));
    assert_eq!(report.publish_to_stored.unwrap().p50_ms.round(), 500.0);
}

#[test]
fn what_never_comes_is_lost_once_the_stream_is_silent() {
    let fake = FakeKinesis::start(&[("a", whole())]);
    for seq in [1, 2, 5, 4] {
        fake.put("a", "d", message("d", seq));
    }
    let report = finish(&fake, From::TrimHorizon, ledger("d", 1..=5));
    assert_eq!((report.lost, report.reordered), (1, 1));
    assert_eq!(report.lost_examples[0].seq, 3);
    assert!(!report.is_clean());
}

#[test]
fn a_discarded_record_is_missed() {
    let fake = FakeKinesis::start(&[("a", whole())]);
    for seq in 1..=5 {
        fake.put("a", "d", message("d", seq));
    }
    let mut config = FollowerConfig::new(fake.target(), From::TrimHorizon, run_id());
    config.discard = 1;
    let follower = Follower::start(config).unwrap();
    let report = follower.finish(ledger("d", 1..=5), SETTLE).unwrap();
    assert_eq!(report.lost, 1);
}

#[test]
fn children_are_read_behind_their_parents() {
    let child = |parents: &[&'static str]| FakeShard {
        parents: parents.to_vec(),
        ..whole()
    };
    let closed = FakeShard {
        closed: true,
        ..whole()
    };
    let fake = FakeKinesis::start(&[
        ("a", closed.clone()),
        ("b", closed),
        ("c", child(&["a", "b"])),
    ]);
    for seq in 1..=7 {
        fake.put("a", "d", message("d", seq));
    }
    for seq in 8..=9 {
        fake.put("c", "d", message("d", seq));
    }
    let report = finish(&fake, From::TrimHorizon, ledger("d", 1..=9));
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.stored, report.misplaced), (9, None));
    let read = &fake.state.lock().unwrap().read;
    let first_child = read.iter().position(|shard| shard == "c").unwrap();
    assert!(
        !read[first_child..].iter().any(|shard| shard != "c"),
        "{read:?}"
    );
}

#[test]
fn every_record_is_placed_by_the_map_of_the_stream() {
    let map = ShardMap::even(3).unwrap();
    let shards: Vec<(&str, FakeShard)> = map
        .shards()
        .iter()
        .map(|shard| {
            let range = (*shard.range().start(), *shard.range().end());
            (
                shard.id(),
                FakeShard {
                    range,
                    ..FakeShard::default()
                },
            )
        })
        .collect();
    let fake = FakeKinesis::start(&shards);
    for shard in map.shards() {
        fake.put(shard.id(), "one key", message(shard.id(), 1));
    }
    let report = finish(&fake, From::TrimHorizon, Ledger::default());
    assert_eq!((report.stored, report.misplaced), (3, Some(2)));
    assert_eq!(report.spread(), (1, 1.0, 1));
}

#[test]
fn an_expired_iterator_is_taken_again_behind_the_last_record() {
    let fake = FakeKinesis::start(&[("a", whole())]);
    for seq in 1..=4 {
        fake.put("a", "d", message("d", seq));
    }
    let follower = follow(&fake, From::TrimHorizon);
    while follower.progress().stored < 4 {
        std::thread::yield_now();
    }
    fake.state
        .lock()
        .unwrap()
        .errors
        .push("ExpiredIteratorException");
    fake.put("a", "d", message("d", 5));
    let report = follower.finish(ledger("d", 1..=5), SETTLE).unwrap();
    assert_eq!((report.stored, report.duplicated, report.lost), (5, 0, 0));
}

#[test]
fn a_stream_that_cannot_be_read_is_an_error_with_the_reason() {
    let fake = FakeKinesis::start(&[("a", whole())]);
    fake.state.lock().unwrap().errors = vec!["ResourceNotFoundException"; 100];
    let error = follow(&fake, From::TrimHorizon)
        .finish(Ledger::default(), Duration::from_secs(30))
        .unwrap_err();
    assert!(
        matches!(
            error,
            VerifyError::Call {
                call: "GetRecords",
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error.to_string().contains("ResourceNotFoundException"),
        "{error}"
    );
    let target = StreamTarget::local("s", "http://127.0.0.1:1");
    let config = FollowerConfig::new(target, From::Latest, run_id());
    let error = Follower::start(config).unwrap_err();
    assert!(
        matches!(
            error,
            VerifyError::Call {
                call: "ListShards",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn all_records_are_read_with_their_shard_and_limit() {
    let fake = FakeKinesis::start(&[("a", whole()), ("b", whole())]);
    for index in 0..4_u8 {
        fake.put("a", "k", vec![index]);
    }
    fake.put("b", "l", vec![9]);
    let records = read_all(&fake.target(), Duration::ZERO, 100).await.unwrap();
    let data: Vec<u8> = records.iter().map(|record| record.data[0]).collect();
    assert_eq!(data, [0, 1, 2, 3, 9]);
    let last = &records[4];
    assert_eq!(
        (&*last.shard, &*last.partition_key, &*last.sequence_number),
        ("b", "l", "0")
    );
    assert_eq!(last.arrival_millis, Some(1500));
    let error = read_all(&fake.target(), Duration::ZERO, 4)
        .await
        .unwrap_err();
    assert!(matches!(error, VerifyError::TooMany { max: 4, .. }));
}
