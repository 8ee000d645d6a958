//! Iterators and GetRecords.

use std::time::Duration;

use forebay_stream::RunningServer;
use serde_json::{Value, json};

use crate::client::{base64, call, config, iterator, put_of, refused, start, start_at_rest, texts};

async fn get(server: &RunningServer, iterator: &str, limit: Option<u32>) -> Value {
    let mut request = json!({ "ShardIterator": iterator });
    if let Some(limit) = limit {
        request["Limit"] = json!(limit);
    }
    call(server, "GetRecords", request).await
}

fn next(answer: &Value) -> &str {
    answer["NextShardIterator"].as_str().unwrap()
}

#[tokio::test]
async fn every_type_of_iterator_starts_where_it_should() {
    let (server, clock) = start_at_rest(config()).await;
    server.create_stream("s", 1).unwrap();
    let mut numbers = Vec::new();
    for text in ["0", "1", "2", "3"] {
        let put =
            json!({ "StreamName": "s", "Data": base64(text.as_bytes()), "PartitionKey": "k" });
        numbers.push(call(&server, "PutRecord", put).await["SequenceNumber"].clone());
        clock.advance(Duration::from_secs(10));
    }
    let from = async |kind: &str, other: Value| {
        let mut request = json!({ "StreamName": "s", "ShardIteratorType": kind });
        for (key, value) in other.as_object().unwrap() {
            request[key] = value.clone();
        }
        let iterator = iterator(&server, request).await;
        texts(&get(&server, &iterator, None).await)
    };
    assert_eq!(from("TRIM_HORIZON", json!({})).await, ["0", "1", "2", "3"]);
    assert_eq!(from("LATEST", json!({})).await, [""; 0]);
    let start = json!({ "StartingSequenceNumber": numbers[2] });
    assert_eq!(from("AT_SEQUENCE_NUMBER", start.clone()).await, ["2", "3"]);
    assert_eq!(from("AFTER_SEQUENCE_NUMBER", start).await, ["3"]);
    let at = |offset: f64| {
        let seconds = (crate::client::WALL_MS / 1000) as f64 + offset;
        json!({ "Timestamp": seconds })
    };
    assert_eq!(from("AT_TIMESTAMP", at(10.0)).await, ["1", "2", "3"]);
    assert_eq!(from("AT_TIMESTAMP", at(10.001)).await, ["2", "3"]);
    assert_eq!(from("AT_TIMESTAMP", at(-5.0)).await, ["0", "1", "2", "3"]);
    assert_eq!(from("AT_TIMESTAMP", at(35.0)).await, [""; 0]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_latest_iterator_gives_what_comes_after_it() {
    let server = start(config()).await;
    server.create_stream("s", 1).unwrap();
    call(&server, "PutRecords", put_of("s", &["k"; 3])).await;
    let latest = json!({ "StreamName": "s", "ShardIteratorType": "LATEST" });
    let latest = iterator(&server, latest).await;
    let empty = get(&server, &latest, None).await;
    assert_eq!(texts(&empty), [""; 0]);
    call(&server, "PutRecords", put_of("s", &["k"; 2])).await;
    assert_eq!(texts(&get(&server, &latest, None).await), ["0", "1"]);
    assert_eq!(texts(&get(&server, next(&empty), None).await), ["0", "1"]);
    server.shutdown().await;
}

#[tokio::test]
async fn reading_goes_on_page_by_page_and_says_how_far_behind_it_is() {
    let (server, clock) = start_at_rest(config()).await;
    server.create_stream("s", 1).unwrap();
    call(&server, "PutRecords", put_of("s", &["k"; 5])).await;
    clock.advance(Duration::from_secs(7));
    let horizon = json!({ "StreamName": "s", "ShardIteratorType": "TRIM_HORIZON" });
    let first = get(&server, &iterator(&server, horizon).await, Some(2)).await;
    assert_eq!(texts(&first), ["0", "1"]);
    assert_eq!(first["MillisBehindLatest"], 7000);
    let second = get(&server, next(&first), Some(3)).await;
    assert_eq!(texts(&second), ["2", "3", "4"]);
    assert_eq!(second["MillisBehindLatest"], 0);
    let third = get(&server, next(&second), None).await;
    assert_eq!(texts(&third), [""; 0]);
    let record = &first["Records"][0];
    assert_eq!(record["PartitionKey"], "k");
    let arrival = crate::client::WALL_MS as f64 / 1000.0;
    assert_eq!(record["ApproximateArrivalTimestamp"], json!(arrival));
    server.shutdown().await;
}

#[tokio::test]
async fn one_call_gives_at_most_ten_thousand_records_or_ten_mebibytes() {
    let server = start(config()).await;
    server.create_stream("many", 1).unwrap();
    server.create_stream("large", 1).unwrap();
    for _ in 0..21 {
        call(&server, "PutRecords", put_of("many", &["k"; 500])).await;
    }
    let data = base64(&vec![0; (1 << 20) - 1]);
    let record = json!({ "Data": data, "PartitionKey": "k" });
    let put = json!({ "StreamName": "large", "Records": vec![record; 6] });
    call(&server, "PutRecords", put.clone()).await;
    call(&server, "PutRecords", put).await;
    for (stream, expected, rest) in [("many", 10_000, 500), ("large", 10, 2)] {
        let horizon = json!({ "StreamName": stream, "ShardIteratorType": "TRIM_HORIZON" });
        let first = get(&server, &iterator(&server, horizon).await, None).await;
        assert_eq!(first["Records"].as_array().unwrap().len(), expected);
        let second = get(&server, next(&first), None).await;
        assert_eq!(second["Records"].as_array().unwrap().len(), rest);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn iterators_expire_after_five_minutes() {
    let (server, clock) = start_at_rest(config()).await;
    server.create_stream("s", 1).unwrap();
    let horizon = json!({ "StreamName": "s", "ShardIteratorType": "TRIM_HORIZON" });
    let iterator = iterator(&server, horizon).await;
    clock.advance(Duration::from_secs(300));
    get(&server, &iterator, None).await;
    clock.advance(Duration::from_millis(1));
    let expired = json!({ "ShardIterator": iterator });
    refused(&server, "GetRecords", expired, "ExpiredIteratorException").await;
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_no_iterator_of_the_stream_is_refused() {
    let server = start(config()).await;
    server.create_stream("s", 2).unwrap();
    server.create_stream("t", 2).unwrap();
    let put = |stream: &str| json!({ "StreamName": stream, "Data": "", "PartitionKey": "k", "ExplicitHashKey": "0" });
    let number = call(&server, "PutRecord", put("s")).await["SequenceNumber"].clone();
    let shard = "shardId-000000000000";
    let at = |stream: &str, shard: &str, number: &Value| {
        json!({
            "StreamName": stream, "ShardId": shard, "ShardIteratorType": "AT_SEQUENCE_NUMBER",
            "StartingSequenceNumber": number,
        })
    };
    for (request, code) in [
        (
            at("s", "shardId-000000000001", &number),
            "InvalidArgumentException",
        ),
        (at("t", shard, &number), "InvalidArgumentException"),
        (at("s", shard, &json!("123")), "InvalidArgumentException"),
        (at("s", shard, &json!("0x1")), "ValidationException"),
        (
            at("s", "shardId-000000000002", &number),
            "ResourceNotFoundException",
        ),
        (at("missing", shard, &number), "ResourceNotFoundException"),
        (
            json!({ "StreamName": "s", "ShardId": shard, "ShardIteratorType": "AT_TIMESTAMP" }),
            "InvalidArgumentException",
        ),
        (
            json!({
                "StreamName": "s", "ShardId": shard, "ShardIteratorType": "AT_TIMESTAMP",
                "Timestamp": 99_999_999_999.0,
            }),
            "InvalidArgumentException",
        ),
        (
            json!({
                "StreamName": "s", "ShardId": shard, "ShardIteratorType": "LATEST",
                "StartingSequenceNumber": number,
            }),
            "InvalidArgumentException",
        ),
        (
            json!({ "StreamName": "s", "ShardId": shard, "ShardIteratorType": "AT_SEQUENCE_NUMBER" }),
            "InvalidArgumentException",
        ),
        (
            json!({ "StreamName": "s", "ShardId": shard, "ShardIteratorType": "MIDDLE" }),
            "ValidationException",
        ),
    ] {
        refused(&server, "GetShardIterator", request, code).await;
    }
    let horizon = json!({ "StreamName": "s", "ShardIteratorType": "TRIM_HORIZON" });
    let iterator = iterator(&server, horizon).await;
    for (request, code) in [
        (
            json!({ "ShardIterator": "AAAA" }),
            "InvalidArgumentException",
        ),
        (
            json!({ "ShardIterator": "x".repeat(513) }),
            "ValidationException",
        ),
        (
            json!({ "ShardIterator": iterator, "Limit": 10_001 }),
            "ValidationException",
        ),
        (json!({}), "ValidationException"),
    ] {
        refused(&server, "GetRecords", request, code).await;
    }
    call(&server, "DeleteStream", json!({ "StreamName": "s" })).await;
    server.create_stream("s", 2).unwrap();
    let old = json!({ "ShardIterator": iterator });
    refused(&server, "GetRecords", old, "ResourceNotFoundException").await;
    server.shutdown().await;
}
