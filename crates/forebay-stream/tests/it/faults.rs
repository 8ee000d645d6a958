//! Each fault, as a client meets it.

use std::io;
use std::time::Duration;

use forebay_core::{Clock, SystemClock};
use forebay_stream::{DownMode, FaultEffect, FaultRule, FaultScript, RunningServer};
use serde_json::{Value, json};

use crate::client::{
    Answer, Connection, call, config, control, put_of, request_bytes, start, start_at_rest, stored,
    try_call, until,
};

async fn server_with(rules: Vec<FaultRule>) -> RunningServer {
    let server = start(config()).await;
    server.create_stream("s", 4).unwrap();
    server.faults().set(FaultScript { rules, seed: 7 }).unwrap();
    server
}

async fn put(server: &RunningServer, keys: &[&str]) -> io::Result<Answer> {
    try_call(server, "PutRecords", put_of("s", keys)).await
}

fn is_reset<T: std::fmt::Debug>(result: &io::Result<T>) -> bool {
    result
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

fn codes(answer: &Value) -> Vec<Option<&str>> {
    answer["Records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["ErrorCode"].as_str())
        .collect()
}

fn record_error(code: &str) -> FaultEffect {
    FaultEffect::RecordError {
        code: code.into(),
        message: None,
        fraction: None,
        records: None,
    }
}

#[tokio::test]
async fn a_share_of_the_records_is_refused_the_same_one_for_the_same_seed() {
    let effect = FaultEffect::RecordError {
        code: "ProvisionedThroughputExceededException".into(),
        message: None,
        fraction: Some(0.3),
        records: None,
    };
    let mut runs = Vec::new();
    for _ in 0..2 {
        let server = server_with(vec![FaultRule::new(effect.clone())]).await;
        let (_, answer) = put(&server, &["k"; 500]).await.unwrap();
        let refused = codes(&answer).iter().filter(|code| code.is_some()).count();
        assert!((110..190).contains(&refused), "{refused}");
        assert_eq!(answer["FailedRecordCount"], refused);
        assert_eq!(stored(&server, "s", 4).len(), 500 - refused);
        let stats = server.stats();
        let code = "ProvisionedThroughputExceededException";
        assert_eq!(stats.records_refused[code], refused as u64);
        assert_eq!(stats.injected["RecordError"], refused as u64);
        runs.push(
            codes(&answer)
                .iter()
                .map(Option::is_some)
                .collect::<Vec<_>>(),
        );
        server.shutdown().await;
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn records_of_a_key_or_a_shard_are_refused() {
    let by_key = FaultRule::new(record_error("InternalFailure"))
        .partition_key("hot")
        .times(1);
    let by_shard = FaultRule::new(record_error("ProvisionedThroughputExceededException")).shard(3);
    let server = server_with(vec![by_key, by_shard]).await;
    // The hash keys of these lie in shards 0, 1 and 3 of 4.
    let keys = ["a", "hot", "A", "0"];
    let (_, first) = put(&server, &keys).await.unwrap();
    let throttled = Some("ProvisionedThroughputExceededException");
    assert_eq!(
        codes(&first),
        [None, Some("InternalFailure"), None, throttled]
    );
    assert_eq!(
        first["Records"][1]["ErrorMessage"],
        "Internal Service Failure"
    );
    assert_eq!(
        first["Records"][3]["ErrorMessage"],
        "Rate exceeded for shard shardId-000000000003 in stream s under account 000000000000."
    );
    let (_, second) = put(&server, &keys).await.unwrap();
    assert_eq!(codes(&second), [None, None, None, throttled]);
    let one = json!({ "StreamName": "s", "Data": "", "PartitionKey": "0" });
    let (status, answer) = try_call(&server, "PutRecord", one).await.unwrap();
    assert_eq!((status, answer["__type"].as_str()), (400, throttled));
    server.shutdown().await;
}

#[tokio::test]
async fn dropped_records_are_answered_as_stored() {
    let effect = FaultEffect::DropRecords {
        fraction: None,
        records: Some(3),
    };
    let server = server_with(vec![FaultRule::new(effect)]).await;
    let (_, answer) = put(&server, &["k"; 5]).await.unwrap();
    assert_eq!(answer["FailedRecordCount"], 0);
    assert_eq!(stored(&server, "s", 4).len(), 2);
    assert_eq!(server.stats().injected["DropRecords"], 3);
    put(&server, &["k"]).await.unwrap();
    assert_eq!(stored(&server, "s", 4).len(), 3);
    server.shutdown().await;
}

#[tokio::test]
async fn a_whole_request_is_refused_for_the_numbers_of_the_rule() {
    let effect = FaultEffect::RequestError {
        code: "ExpiredTokenException".into(),
        message: Some("The security token included in the request is expired".into()),
        status: None,
    };
    let server = server_with(vec![
        FaultRule::new(effect)
            .operation("PutRecords")
            .requests(2, 3),
    ])
    .await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let (status, answer) = put(&server, &["k"]).await.unwrap();
        statuses.push((status, answer["__type"].as_str().map(str::to_owned)));
        // Other operations neither meet the fault nor count.
        call(&server, "ListStreams", json!({})).await;
    }
    let expired = (400, Some("ExpiredTokenException".to_owned()));
    assert_eq!(
        statuses,
        [(200, None), expired.clone(), expired, (200, None)]
    );
    assert_eq!(stored(&server, "s", 4).len(), 2);
    assert_eq!(server.stats().request_errors["ExpiredTokenException"], 2);

    let effect = FaultEffect::RequestError {
        code: "ServiceUnavailable".into(),
        message: None,
        status: Some(503),
    };
    server
        .faults()
        .set(FaultScript {
            rules: vec![FaultRule::new(effect)],
            seed: 0,
        })
        .unwrap();
    // The fault comes before anything is looked at, so a missing stream does not matter.
    let missing = try_call(&server, "PutRecords", put_of("missing", &["k"]))
        .await
        .unwrap();
    assert_eq!(missing.0, 503);
    server.shutdown().await;
}

#[tokio::test]
async fn answers_come_late_and_what_they_answer_is_done_at_once() {
    let effect = FaultEffect::Delay {
        millis: 150,
        jitter_millis: 20,
    };
    let server = server_with(vec![FaultRule::new(effect).operation("PutRecords")]).await;
    let clock = SystemClock::new();
    let start = clock.now();
    let mut connection = Connection::open(&server).await;
    let body = put_of("s", &["k"]).to_string();
    connection
        .send(&request_bytes(
            "Kinesis_20131202.PutRecords",
            body.as_bytes(),
        ))
        .await
        .unwrap();
    until("stored", || stored(&server, "s", 4).len() == 1).await;
    connection.receive().await.unwrap();
    assert!(clock.now() - start >= Duration::from_millis(150));
    server.shutdown().await;
}

#[tokio::test]
async fn a_reset_before_the_body_comes_without_it() {
    let server = server_with(vec![
        FaultRule::new(FaultEffect::ResetBeforeBody)
            .operation("PutRecords")
            .times(1),
    ])
    .await;
    let request = request_bytes("Kinesis_20131202.PutRecords", &[b' '; 1000]);
    let mut connection = Connection::open(&server).await;
    connection
        .send(&request[..request.len() - 1000])
        .await
        .unwrap();
    let result = connection.receive().await;
    assert!(is_reset(&result), "{result:?}");
    assert_eq!(server.stats().injected["ResetBeforeBody"], 1);
    assert_eq!(put(&server, &["k"]).await.unwrap().0, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn a_reset_after_the_body_stores_nothing_or_all() {
    let server = server_with(vec![
        FaultRule::new(FaultEffect::ResetAfterBody).times(1),
        FaultRule::new(FaultEffect::ResetAfterStore).requests(2, 2),
    ])
    .await;
    let result = put(&server, &["k"]).await;
    assert!(is_reset(&result), "{result:?}");
    assert_eq!(stored(&server, "s", 4).len(), 0);
    let result = put(&server, &["k", "l"]).await;
    assert!(is_reset(&result), "{result:?}");
    assert_eq!(stored(&server, "s", 4).len(), 2);
    assert_eq!(put(&server, &["k"]).await.unwrap().0, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn a_truncated_answer_ends_in_the_middle_and_is_stored() {
    let server = server_with(vec![FaultRule::new(FaultEffect::TruncateAnswer).times(1)]).await;
    let mut connection = Connection::open(&server).await;
    let result = connection
        .call("PutRecords", &put_of("s", &["k"; 100]))
        .await;
    assert!(result.is_err(), "{result:?}");
    let text = String::from_utf8_lossy(connection.partial()).into_owned();
    assert!(
        text.contains("200 OK") && text.contains("SequenceNumber"),
        "{text}"
    );
    assert_eq!(stored(&server, "s", 4).len(), 100);
    server.shutdown().await;
}

#[tokio::test]
async fn an_answer_never_comes_until_the_faults_end() {
    let server = server_with(vec![
        FaultRule::new(FaultEffect::NeverAnswer { stored: true }).times(1),
    ])
    .await;
    let mut connection = Connection::open(&server).await;
    let body = put_of("s", &["k"]).to_string();
    connection
        .send(&request_bytes(
            "Kinesis_20131202.PutRecords",
            body.as_bytes(),
        ))
        .await
        .unwrap();
    until("stored", || stored(&server, "s", 4).len() == 1).await;
    let early = tokio::time::timeout(Duration::from_millis(50), connection.receive()).await;
    assert!(early.is_err(), "{early:?}");
    // Others are served meanwhile.
    assert_eq!(put(&server, &["k"]).await.unwrap().0, 200);
    server.faults().clear();
    let result = connection.receive().await;
    assert!(is_reset(&result), "{result:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn stopping_ends_an_answer_that_never_comes() {
    let never = FaultEffect::NeverAnswer { stored: false };
    let server = server_with(vec![FaultRule::new(never)]).await;
    let mut connection = Connection::open(&server).await;
    let body = put_of("s", &["k"]).to_string();
    connection
        .send(&request_bytes(
            "Kinesis_20131202.PutRecords",
            body.as_bytes(),
        ))
        .await
        .unwrap();
    until("struck", || {
        server.stats().injected.contains_key("NeverAnswer")
    })
    .await;
    tokio::time::timeout(Duration::from_secs(4), server.shutdown())
        .await
        .unwrap();
    assert!(connection.receive().await.is_err());
}

#[tokio::test]
async fn a_sink_that_is_down_resets_old_and_new_connections() {
    let server = start(config()).await;
    server.create_stream("s", 1).unwrap();
    let mut old = Connection::open(&server).await;
    old.call("PutRecords", &put_of("s", &["k"])).await.unwrap();
    let down = FaultRule::new(FaultEffect::SinkDown {
        mode: DownMode::Close,
    });
    server
        .faults()
        .set(FaultScript {
            rules: vec![down],
            seed: 0,
        })
        .unwrap();
    assert!(old.call("PutRecords", &put_of("s", &["k"])).await.is_err());
    assert!(put(&server, &["k"]).await.is_err());
    assert_eq!(stored(&server, "s", 1).len(), 1);
    server.faults().clear();
    assert_eq!(put(&server, &["k"]).await.unwrap().0, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn a_sink_that_hangs_answers_nobody_and_comes_back_by_itself() {
    let server = start(config()).await;
    server.create_stream("s", 1).unwrap();
    let down = json!({
        "Rules": [{ "DurationMillis": 300, "Effect": { "Type": "SinkDown", "Mode": "Hang" } }],
    });
    let clock = SystemClock::new();
    let start = clock.now();
    control(&server, "SetFaults", down).await;
    let result = put(&server, &["k"]).await;
    assert!(is_reset(&result), "{result:?}");
    assert!(clock.now() - start >= Duration::from_millis(290));
    assert_eq!(stored(&server, "s", 1).len(), 0);
    assert_eq!(put(&server, &["k"]).await.unwrap().0, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn rules_work_in_their_window_of_time() {
    let (server, clock) = start_at_rest(config()).await;
    server.create_stream("s", 4).unwrap();
    let rule = FaultRule::new(record_error("InternalFailure")).window(1000, 2000);
    server
        .faults()
        .set(FaultScript {
            rules: vec![rule],
            seed: 0,
        })
        .unwrap();
    let mut failed = Vec::new();
    for _ in 0..5 {
        failed.push(put(&server, &["k"]).await.unwrap().1["FailedRecordCount"].clone());
        clock.advance(Duration::from_millis(750));
    }
    assert_eq!(failed, [json!(0), json!(0), json!(1), json!(1), json!(0)]);
    server.shutdown().await;
}

#[tokio::test]
async fn control_calls_set_and_clear_faults_and_give_the_counters() {
    let server = start(config()).await;
    server.create_stream("s", 2).unwrap();
    server.create_stream("t", 1).unwrap();
    let script = json!({
        "Seed": 5,
        "Rules": [
            {
                "Operation": "PutRecords", "StreamName": "s", "ShardIndex": 1, "PartitionKey": "0",
                "FromRequest": 1, "ToRequest": 9, "Times": 9, "Probability": 1.0,
                "StartMillis": 0, "DurationMillis": 600_000,
                "Effect": { "Type": "RecordError", "Code": "X", "Message": "y", "Fraction": 1.0 },
            },
            { "StreamName": "t", "Effect": { "Type": "Delay", "Millis": 1 } },
        ],
    });
    control(&server, "SetFaults", script.clone()).await;
    assert_eq!(
        serde_json::to_value(server.faults().script()).unwrap()["Rules"][0],
        script["Rules"][0]
    );
    let (_, answer) = put(&server, &["0", "a"]).await.unwrap();
    assert_eq!(codes(&answer), [Some("X"), None]);
    assert_eq!(answer["Records"][0]["ErrorMessage"], "y");
    let stats = control(&server, "GetStats", json!({})).await;
    assert_eq!(stats["Requests"], json!({ "PutRecords": 1 }));
    assert_eq!(stats["RecordsStored"], 1);
    assert_eq!(stats["RecordsRefused"], json!({ "X": 1 }));
    assert_eq!(stats["Injected"], json!({ "RecordError": 1 }));
    assert_eq!(stats["Streams"][0]["Shards"][0]["RecordsStored"], 1);
    assert_eq!(stats["Streams"][0]["Shards"][1]["RecordsRefused"], 1);
    control(&server, "ClearFaults", json!({})).await;
    assert_eq!(
        put(&server, &["0"]).await.unwrap().1["FailedRecordCount"],
        0
    );
    server.shutdown().await;
}

#[tokio::test]
async fn scripts_that_are_not_possible_are_refused_and_change_nothing() {
    let rule = FaultRule::new(record_error("X"));
    let server = server_with(vec![rule]).await;
    let effect = |text: &str| json!({ "Type": text });
    for (rule, named) in [
        (json!({ "Effect": effect("Earthquake") }), "Earthquake"),
        (
            json!({ "Effect": effect("TruncateAnswer"), "Shard": 1 }),
            "Shard",
        ),
        (
            json!({ "Effect": effect("TruncateAnswer"), "Probability": 1.5 }),
            "Probability = 1.5",
        ),
        (
            json!({ "Effect": effect("TruncateAnswer"), "Operation": "PutRecord2" }),
            "PutRecord2",
        ),
        (
            json!({ "Effect": effect("ResetBeforeBody"), "StreamName": "s" }),
            "StreamName",
        ),
        (
            json!({ "Effect": { "Type": "SinkDown", "Mode": "Close" } }),
            "DurationMillis",
        ),
        (
            json!({ "Effect": { "Type": "RequestError", "Code": "X", "Status": 200 } }),
            "Status",
        ),
    ] {
        let body = json!({ "Rules": [rule] }).to_string();
        let mut connection = Connection::open(&server).await;
        let target = "ForebayStream_20261101.SetFaults";
        connection
            .send(&request_bytes(target, body.as_bytes()))
            .await
            .unwrap();
        let (head, body) = connection.receive().await.unwrap();
        assert!(head.starts_with("http/1.1 400"), "{head}");
        let text = String::from_utf8(body).unwrap();
        assert!(text.contains(named), "{named}: {text}");
    }
    assert_eq!(
        put(&server, &["k"]).await.unwrap().1["FailedRecordCount"],
        1
    );
    server.shutdown().await;
}
