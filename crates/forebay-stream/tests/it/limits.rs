//! The service's rate limits, with a clock that stands still.

use std::time::Duration;

use forebay_stream::ServerConfig;
use serde_json::{Value, json};

use crate::client::{
    base64, call, config, control, iterator, put_of, refused, start_at_rest, stored, try_call,
};

fn limited() -> ServerConfig {
    ServerConfig {
        limits: true,
        ..config()
    }
}

fn failed(answer: &Value) -> u64 {
    answer["FailedRecordCount"].as_u64().unwrap()
}

#[tokio::test]
async fn a_shard_throttles_record_by_record_above_a_thousand_per_second() {
    let (server, clock) = start_at_rest(limited()).await;
    server.create_stream("s", 1).unwrap();
    for _ in 0..2 {
        assert_eq!(
            failed(&call(&server, "PutRecords", put_of("s", &["k"; 500])).await),
            0
        );
    }
    clock.advance(Duration::from_millis(100));
    let answer = call(&server, "PutRecords", put_of("s", &["k"; 500])).await;
    assert_eq!(failed(&answer), 400);
    let refusal = &answer["Records"][100];
    assert_eq!(
        refusal["ErrorCode"],
        "ProvisionedThroughputExceededException"
    );
    assert_eq!(
        refusal["ErrorMessage"],
        "Rate exceeded for shard shardId-000000000000 in stream s under account 000000000000."
    );
    assert_eq!(refusal.get("SequenceNumber"), None);
    assert_eq!(stored(&server, "s", 1).len(), 1100);
    let mut single = json!({ "StreamName": "s", "Data": "", "PartitionKey": "k" });
    let code = "ProvisionedThroughputExceededException";
    refused(&server, "PutRecord", single.take(), code).await;

    let stats = server.stats();
    assert_eq!(stats.records_stored, 1100);
    assert_eq!(stats.records_refused[code], 401);
    assert_eq!(stats.streams[0].shards[0].records_refused, 401);
    server.shutdown().await;
}

#[tokio::test]
async fn only_the_full_shard_throttles() {
    let (server, _clock) = start_at_rest(limited()).await;
    server.create_stream("s", 2).unwrap();
    let record = |hash: &str, len: usize| json!({ "Data": base64(&vec![0; len]), "PartitionKey": "k", "ExplicitHashKey": hash });
    let high = "340282366920938463463374607431768211455";
    let mut records = vec![record("0", 512 * 1024 - 1); 3];
    records.push(record(high, 100));
    let put = json!({ "StreamName": "s", "Records": records });
    let answer = call(&server, "PutRecords", put).await;
    let codes: Vec<_> = answer["Records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["ErrorCode"].as_str())
        .collect();
    let throttled = Some("ProvisionedThroughputExceededException");
    assert_eq!(codes, [None, None, throttled, None]);
    server.shutdown().await;
}

#[tokio::test]
async fn reads_of_a_shard_and_control_calls_are_limited() {
    let (server, clock) = start_at_rest(limited()).await;
    server.create_stream("s", 1).unwrap();
    let horizon = json!({ "StreamName": "s", "ShardIteratorType": "TRIM_HORIZON" });
    let iterator = iterator(&server, horizon).await;
    let get = json!({ "ShardIterator": iterator });
    for _ in 0..5 {
        call(&server, "GetRecords", get.clone()).await;
    }
    refused(
        &server,
        "GetRecords",
        get.clone(),
        "ProvisionedThroughputExceededException",
    )
    .await;
    clock.advance(Duration::from_millis(200));
    call(&server, "GetRecords", get).await;

    let summary = json!({ "StreamName": "s" });
    for _ in 0..20 {
        call(&server, "DescribeStreamSummary", summary.clone()).await;
    }
    refused(
        &server,
        "DescribeStreamSummary",
        summary,
        "LimitExceededException",
    )
    .await;
    server.shutdown().await;
}

#[tokio::test]
async fn limits_are_switched_and_changed_while_the_server_runs() {
    let (server, clock) = start_at_rest(limited()).await;
    server.create_stream("s", 1).unwrap();
    control(&server, "SetLimits", json!({ "Enabled": false })).await;
    for _ in 0..5 {
        assert_eq!(
            failed(&call(&server, "PutRecords", put_of("s", &["k"; 500])).await),
            0
        );
    }
    control(
        &server,
        "SetLimits",
        json!({ "Enabled": true, "RecordsPerSecond": 300 }),
    )
    .await;
    assert_eq!(
        failed(&call(&server, "PutRecords", put_of("s", &["k"; 500])).await),
        200
    );
    clock.advance(Duration::from_millis(500));
    assert_eq!(
        failed(&call(&server, "PutRecords", put_of("s", &["k"; 500])).await),
        350
    );
    server.set_limits(true, None, None);
    clock.advance(Duration::from_secs(1));
    let (status, answer) = try_call(&server, "PutRecords", put_of("s", &["k"; 500]))
        .await
        .unwrap();
    assert_eq!((status, failed(&answer)), (200, 0));
    server.shutdown().await;
}
