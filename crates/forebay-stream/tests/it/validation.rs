//! What PutRecord and PutRecords refuse.

use serde_json::{Value, json};

use crate::client::{base64, call, config, put_of, refused, start, stored};

#[tokio::test]
async fn one_bad_entry_refuses_the_whole_request() {
    let server = start(config()).await;
    server.create_stream("s", 2).unwrap();
    let good = json!({ "Data": "", "PartitionKey": "k" });
    let cases = [
        (json!({ "Data": "" }), "ValidationException"),
        (
            json!({ "Data": "", "PartitionKey": null }),
            "ValidationException",
        ),
        (
            json!({ "Data": "", "PartitionKey": "" }),
            "ValidationException",
        ),
        (
            json!({ "Data": "", "PartitionKey": "x".repeat(257) }),
            "ValidationException",
        ),
        (
            json!({ "Data": "", "PartitionKey": "😀".repeat(129) }),
            "ValidationException",
        ),
        (json!({ "PartitionKey": "k" }), "ValidationException"),
        (
            json!({ "Data": "A", "PartitionKey": "k" }),
            "SerializationException",
        ),
        (
            json!({ "Data": "AAA", "PartitionKey": "k" }),
            "SerializationException",
        ),
        (
            json!({ "Data": "AA-_", "PartitionKey": "k" }),
            "SerializationException",
        ),
        (
            json!({ "Data": 5, "PartitionKey": "k" }),
            "SerializationException",
        ),
        (json!("text"), "SerializationException"),
    ];
    for (bad, code) in cases {
        let request = json!({ "StreamName": "s", "Records": [good, bad] });
        refused(&server, "PutRecords", request, code).await;
    }
    for hash in ["", "01", "+1", "-1", "1e3", " 1"] {
        let bad = json!({ "Data": "", "PartitionKey": "k", "ExplicitHashKey": hash });
        let request = json!({ "StreamName": "s", "Records": [good, bad] });
        let message = refused(&server, "PutRecords", request, "ValidationException").await;
        assert!(
            message.contains("records.2.member.explicitHashKey"),
            "{message}"
        );
    }
    let high = "340282366920938463463374607431768211456";
    let bad = json!({ "Data": "", "PartitionKey": "k", "ExplicitHashKey": high });
    let request = json!({ "StreamName": "s", "Records": [good, bad] });
    refused(&server, "PutRecords", request, "InvalidArgumentException").await;
    assert_eq!(stored(&server, "s", 2), []);
    server.shutdown().await;
}

#[tokio::test]
async fn keys_at_the_limit_and_escaped_text_are_stored_as_they_are() {
    let server = start(config()).await;
    server.create_stream("s", 1).unwrap();
    let keys = [
        "é".repeat(256),
        "😀".repeat(128),
        "\u{0}\u{1}\u{2028}\"\\/\u{7f}".into(),
        " ".into(),
    ];
    for key in &keys {
        call(&server, "PutRecords", put_of("s", &[key])).await;
    }
    let found: Vec<_> = stored(&server, "s", 1)
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(found, keys);
    server.shutdown().await;
}

#[tokio::test]
async fn requests_have_1_to_500_records() {
    let server = start(config()).await;
    server.create_stream("s", 1).unwrap();
    let answer = call(&server, "PutRecords", put_of("s", &["k"; 500])).await;
    assert_eq!(answer["FailedRecordCount"], 0);
    assert_eq!(answer["Records"].as_array().unwrap().len(), 500);
    for bad in [
        put_of("s", &["k"; 501]),
        put_of("s", &[]),
        json!({ "StreamName": "s" }),
    ] {
        refused(&server, "PutRecords", bad, "ValidationException").await;
    }
    assert_eq!(stored(&server, "s", 1).len(), 500);
    server.shutdown().await;
}

fn record_of(len: usize) -> Value {
    json!({ "Data": base64(&vec![b'x'; len - 1]), "PartitionKey": "k" })
}

#[tokio::test]
async fn records_and_requests_have_a_bound_in_bytes() {
    let server = start(config()).await;
    server.create_stream("small", 1).unwrap();
    let large = json!({ "StreamName": "large", "ShardCount": 1, "MaxRecordSizeInKiB": 10240 });
    call(&server, "CreateStream", large).await;
    const MIB: usize = 1 << 20;

    let put =
        |stream: &str, records: Vec<Value>| json!({ "StreamName": stream, "Records": records });
    call(
        &server,
        "PutRecords",
        put("small", vec![record_of(MIB); 10]),
    )
    .await;
    let over = put("small", vec![record_of(MIB + 1)]);
    refused(&server, "PutRecords", over, "InvalidArgumentException").await;
    let mut eleven = vec![record_of(MIB); 10];
    eleven.push(record_of(1));
    refused(
        &server,
        "PutRecords",
        put("small", eleven),
        "InvalidArgumentException",
    )
    .await;

    call(
        &server,
        "PutRecords",
        put("large", vec![record_of(10 * MIB)]),
    )
    .await;
    let over = put("large", vec![record_of(10 * MIB + 1)]);
    refused(&server, "PutRecords", over, "InvalidArgumentException").await;
    let mut single = record_of(10 * MIB + 100);
    single["StreamName"] = json!("large");
    refused(&server, "PutRecord", single, "ValidationException").await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_dry_run_is_checked_and_stores_nothing() {
    let server = start(config()).await;
    server.create_stream("s", 1).unwrap();
    let mut request = put_of("s", &["k"]);
    request["DryRun"] = json!(true);
    refused(
        &server,
        "PutRecords",
        request.clone(),
        "DryRunOperationException",
    )
    .await;
    request["StreamName"] = json!("missing");
    refused(&server, "PutRecords", request, "ResourceNotFoundException").await;
    assert_eq!(stored(&server, "s", 1), []);
    server.shutdown().await;
}

#[tokio::test]
async fn single_records_are_stored_with_an_ordering_number() {
    let server = start(config()).await;
    server.create_stream("s", 4).unwrap();
    let put = |ordering: Value| {
        json!({
            "StreamName": "s", "Data": base64(b"x"), "PartitionKey": "k",
            "ExplicitHashKey": "340282366920938463463374607431768211455",
            "SequenceNumberForOrdering": ordering,
        })
    };
    let first = call(&server, "PutRecord", put(Value::Null)).await;
    assert_eq!(first["ShardId"], "shardId-000000000003");
    let second = call(&server, "PutRecord", put(first["SequenceNumber"].clone())).await;
    assert!(second["SequenceNumber"].as_str() > first["SequenceNumber"].as_str());
    refused(
        &server,
        "PutRecord",
        put(json!("5")),
        "InvalidArgumentException",
    )
    .await;
    refused(
        &server,
        "PutRecord",
        put(json!("05")),
        "ValidationException",
    )
    .await;
    assert_eq!(stored(&server, "s", 4).len(), 2);
    server.shutdown().await;
}
