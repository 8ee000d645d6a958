//! Records land in the shards that the shared vectors name.

use serde_json::{Value, json};

use crate::client::{call, config, start};

const SHARD_COUNTS: [u32; 8] = [1, 2, 3, 4, 7, 16, 128, 1000];

fn vectors(text: &str) -> Vec<Value> {
    // Keys hold every kind of line end, escaped; only the newline ends a line of the file.
    text.split('\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

async fn check(vectors: &[Value], entry: impl Fn(&Value) -> Value) {
    let server = start(config()).await;
    for shards in SHARD_COUNTS {
        let stream = format!("vectors-{shards}");
        server.create_stream(&stream, shards).unwrap();
        let records: Vec<_> = vectors.iter().map(&entry).collect();
        let put = json!({ "StreamName": stream, "Records": records });
        let answer = call(&server, "PutRecords", put).await;
        let results = answer["Records"].as_array().unwrap();
        assert_eq!(results.len(), vectors.len());
        for (vector, result) in vectors.iter().zip(results) {
            let expected = vector["shard"][shards.to_string()].as_u64().unwrap();
            let expected = json!(format!("shardId-{expected:012}"));
            assert_eq!(result["ShardId"], expected, "{} of {shards}", vector["id"]);
        }
    }
    server.shutdown().await;
}

#[tokio::test]
async fn partition_keys_go_to_the_shards_of_the_vectors() {
    let vectors = vectors(include_str!(
        "../../../../tests/conformance/partition_keys.jsonl"
    ));
    assert_eq!(vectors.len(), 200);
    check(
        &vectors,
        |v| json!({ "Data": "", "PartitionKey": v["partition_key"] }),
    )
    .await;
}

#[tokio::test]
async fn explicit_hash_keys_go_to_the_shards_of_the_vectors() {
    let vectors = vectors(include_str!(
        "../../../../tests/conformance/explicit_hash_keys.jsonl"
    ));
    assert_eq!(vectors.len(), 64);
    let entry = |v: &Value| json!({ "Data": "", "PartitionKey": "k", "ExplicitHashKey": v["explicit_hash_key"] });
    check(&vectors, entry).await;
}
