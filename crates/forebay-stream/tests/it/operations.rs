//! Streams and shards: create, describe, list, delete.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{call, config, put_of, refused, start, start_at_rest, try_call};

const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/s";

fn shard_ids(answer: &Value) -> Vec<&str> {
    let shards = answer["Shards"].as_array().unwrap();
    shards
        .iter()
        .map(|shard| shard["ShardId"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_stream_is_created_described_and_deleted() {
    let server = start(config()).await;
    let create = json!({
        "StreamName": "s", "ShardCount": 3, "StreamModeDetails": { "StreamMode": "PROVISIONED" },
        "MaxRecordSizeInKiB": 2048, "Tags": { "ignored": "yes" },
    });
    assert_eq!(
        call(&server, "CreateStream", create.clone()).await,
        Value::Null
    );
    let message = refused(&server, "CreateStream", create, "ResourceInUseException").await;
    assert_eq!(
        message,
        "Stream s under account 000000000000 already exists."
    );

    let answer = call(&server, "DescribeStream", json!({ "StreamName": "s" })).await;
    let description = &answer["StreamDescription"];
    assert_eq!(description["StreamARN"], ARN);
    assert_eq!(description["StreamStatus"], "ACTIVE");
    assert_eq!(description["RetentionPeriodHours"], 24);
    assert_eq!(description["HasMoreShards"], false);
    let first = &description["Shards"][0];
    assert_eq!(first["HashKeyRange"]["StartingHashKey"], "0");
    // The first of three shards, as the AWS CLI's documentation of describe-stream prints it.
    assert_eq!(
        first["HashKeyRange"]["EndingHashKey"],
        "113427455640312821154458202477256070484"
    );
    let last = &description["Shards"][2]["HashKeyRange"]["EndingHashKey"];
    assert_eq!(last, "340282366920938463463374607431768211455");

    let answer = call(
        &server,
        "DescribeStreamSummary",
        json!({ "StreamARN": ARN }),
    )
    .await;
    let summary = &answer["StreamDescriptionSummary"];
    assert_eq!(summary["OpenShardCount"], 3);
    assert_eq!(summary["MaxRecordSizeInKiB"], 2048);
    assert_eq!(summary["StreamModeDetails"]["StreamMode"], "PROVISIONED");
    assert_eq!(
        summary["StreamCreationTimestamp"],
        description["StreamCreationTimestamp"]
    );

    assert_eq!(
        call(&server, "DeleteStream", json!({ "StreamARN": ARN })).await,
        Value::Null
    );
    let message = refused(
        &server,
        "DescribeStreamSummary",
        json!({ "StreamName": "s" }),
        "ResourceNotFoundException",
    )
    .await;
    assert_eq!(message, "Stream s under account 000000000000 not found.");
    server.shutdown().await;
}

#[tokio::test]
async fn a_stream_in_creation_has_no_shards_and_takes_no_records() {
    let (server, clock) = start_at_rest(forebay_stream::ServerConfig {
        creating: Duration::from_secs(3),
        ..config()
    })
    .await;
    let on_demand = json!({ "StreamMode": "ON_DEMAND" });
    let create = json!({ "StreamName": "s", "StreamModeDetails": on_demand });
    call(&server, "CreateStream", create).await;
    let summary = call(
        &server,
        "DescribeStreamSummary",
        json!({ "StreamName": "s" }),
    )
    .await;
    assert_eq!(
        summary["StreamDescriptionSummary"]["StreamStatus"],
        "CREATING"
    );
    let described = call(&server, "DescribeStream", json!({ "StreamName": "s" })).await;
    assert_eq!(described["StreamDescription"]["Shards"], json!([]));
    for (operation, body) in [
        ("PutRecords", put_of("s", &["k"])),
        ("ListShards", json!({ "StreamName": "s" })),
    ] {
        refused(&server, operation, body, "ResourceNotFoundException").await;
    }
    clock.advance(Duration::from_secs(3));
    let summary = call(
        &server,
        "DescribeStreamSummary",
        json!({ "StreamName": "s" }),
    )
    .await;
    assert_eq!(
        summary["StreamDescriptionSummary"]["StreamStatus"],
        "ACTIVE"
    );
    assert_eq!(summary["StreamDescriptionSummary"]["OpenShardCount"], 4);
    call(&server, "PutRecords", put_of("s", &["k"])).await;
    server.shutdown().await;
}

#[tokio::test]
async fn shards_are_listed_page_by_page_with_the_token_alone() {
    let (server, clock) = start_at_rest(config()).await;
    server.create_stream("s", 2500).unwrap();
    let first = call(
        &server,
        "ListShards",
        json!({ "StreamARN": ARN, "MaxResults": 10000 }),
    )
    .await;
    assert_eq!(shard_ids(&first).len(), 1000);
    let token = first["NextToken"].clone();
    clock.advance(Duration::from_secs(300));
    let second = call(&server, "ListShards", json!({ "NextToken": token })).await;
    assert_eq!(shard_ids(&second)[0], "shardId-000000001000");
    let third = json!({ "NextToken": second["NextToken"], "MaxResults": 500 });
    let third = call(&server, "ListShards", third).await;
    assert_eq!(*shard_ids(&third).last().unwrap(), "shardId-000000002499");
    assert_eq!(third.get("NextToken"), None);

    for other in [
        json!({ "StreamName": "s" }),
        json!({ "StreamARN": ARN }),
        json!({ "ExclusiveStartShardId": "shardId-000000000000" }),
        json!({ "ShardFilter": { "Type": "AT_LATEST" } }),
    ] {
        let mut request = other;
        request["NextToken"] = token.clone();
        refused(&server, "ListShards", request, "InvalidArgumentException").await;
    }
    let damaged = json!({ "NextToken": "AAAA" });
    refused(&server, "ListShards", damaged, "InvalidArgumentException").await;
    refused(&server, "ListShards", json!({}), "InvalidArgumentException").await;
    clock.advance(Duration::from_millis(1));
    let expired = json!({ "NextToken": token });
    refused(&server, "ListShards", expired, "ExpiredNextTokenException").await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_token_does_not_go_on_in_a_stream_that_was_made_again() {
    let server = start(config()).await;
    server.create_stream("s", 2).unwrap();
    let first = call(
        &server,
        "ListShards",
        json!({ "StreamName": "s", "MaxResults": 1 }),
    )
    .await;
    call(&server, "DeleteStream", json!({ "StreamName": "s" })).await;
    server.create_stream("s", 2).unwrap();
    let request = json!({ "NextToken": first["NextToken"] });
    refused(&server, "ListShards", request, "ResourceNotFoundException").await;
    server.shutdown().await;
}

#[tokio::test]
async fn shards_are_filtered() {
    let server = start(config()).await;
    server.create_stream("s", 5).unwrap();
    let list = async |filter: Value| {
        let request = json!({ "StreamName": "s", "ShardFilter": filter });
        shard_ids(&call(&server, "ListShards", request).await).len()
    };
    for all in ["AT_LATEST", "AT_TRIM_HORIZON", "FROM_TRIM_HORIZON"] {
        assert_eq!(list(json!({ "Type": all })).await, 5);
    }
    assert_eq!(
        list(json!({ "Type": "FROM_TIMESTAMP", "Timestamp": 1.5 })).await,
        5
    );
    let after = json!({ "Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000001" });
    assert_eq!(list(after).await, 3);
    let start = json!({ "StreamName": "s", "ExclusiveStartShardId": "shardId-000000000003" });
    let answer = call(&server, "ListShards", start).await;
    assert_eq!(shard_ids(&answer), ["shardId-000000000004"]);
    for (filter, code) in [
        (
            json!({ "Type": "AFTER_SHARD_ID" }),
            "InvalidArgumentException",
        ),
        (
            json!({ "Type": "AT_TIMESTAMP" }),
            "InvalidArgumentException",
        ),
        (json!({ "Type": "SOMETIMES" }), "ValidationException"),
        (json!({}), "ValidationException"),
    ] {
        let request = json!({ "StreamName": "s", "ShardFilter": filter });
        refused(&server, "ListShards", request, code).await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn descriptions_and_stream_lists_have_pages() {
    let server = start(config()).await;
    for name in ["a", "b", "c"] {
        server.create_stream(name, 250).unwrap();
    }
    let page = call(&server, "DescribeStream", json!({ "StreamName": "a" })).await;
    assert_eq!(shard_ids(&page["StreamDescription"]).len(), 100);
    assert_eq!(page["StreamDescription"]["HasMoreShards"], true);
    let request = json!({
        "StreamName": "a", "Limit": 200, "ExclusiveStartShardId": "shardId-000000000099",
    });
    let page = call(&server, "DescribeStream", request).await;
    assert_eq!(shard_ids(&page["StreamDescription"]).len(), 150);
    assert_eq!(page["StreamDescription"]["HasMoreShards"], false);

    let page = call(&server, "ListStreams", json!({ "Limit": 2 })).await;
    assert_eq!(page["StreamNames"], json!(["a", "b"]));
    assert_eq!(page["HasMoreStreams"], true);
    let rest = call(
        &server,
        "ListStreams",
        json!({ "NextToken": page["NextToken"] }),
    )
    .await;
    assert_eq!(rest["StreamNames"], json!(["c"]));
    assert_eq!(rest["StreamSummaries"][0]["StreamStatus"], "ACTIVE");
    let rest = call(
        &server,
        "ListStreams",
        json!({ "ExclusiveStartStreamName": "b" }),
    )
    .await;
    assert_eq!(rest["StreamNames"], json!(["c"]));
    assert_eq!(rest["HasMoreStreams"], false);
    server.shutdown().await;
}

#[tokio::test]
async fn name_and_arn_must_agree_and_be_of_here() {
    let server = start(config()).await;
    server.create_stream("s", 1).unwrap();
    let summary = async |body: Value| {
        try_call(&server, "DescribeStreamSummary", body)
            .await
            .unwrap()
    };
    assert_eq!(
        summary(json!({ "StreamName": "s", "StreamARN": ARN }))
            .await
            .0,
        200
    );
    for (body, code) in [
        (
            json!({ "StreamName": "t", "StreamARN": ARN }),
            "InvalidArgumentException",
        ),
        (json!({}), "InvalidArgumentException"),
        (
            json!({ "StreamARN": "arn:aws:kinesis:us-east-1:111111111111:stream/s" }),
            "ResourceNotFoundException",
        ),
        (
            json!({ "StreamARN": "arn:aws:kinesis:eu-west-1:000000000000:stream/s" }),
            "ResourceNotFoundException",
        ),
        (json!({ "StreamARN": "s" }), "ValidationException"),
        (json!({ "StreamName": "a/b" }), "ValidationException"),
    ] {
        let (status, answer) = summary(body.clone()).await;
        assert_eq!((status, &answer["__type"]), (400, &json!(code)), "{body}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn the_account_has_a_bound_of_shards() {
    let server = start(config()).await;
    server.create_stream("a", 19_999).unwrap();
    let two = json!({ "StreamName": "b", "ShardCount": 2 });
    refused(&server, "CreateStream", two, "LimitExceededException").await;
    server.create_stream("b", 1).unwrap();
    let none = json!({ "StreamName": "c", "ShardCount": 0 });
    refused(&server, "CreateStream", none, "ValidationException").await;
    let missing = json!({ "StreamName": "c" });
    refused(&server, "CreateStream", missing, "InvalidArgumentException").await;
    server.shutdown().await;
}
