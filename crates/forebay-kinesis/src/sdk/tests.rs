//! The SDK's calls against a server of bytes: what is sent, and what every way to fail is taken for.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use bytes::Bytes;
use forebay_core::StreamName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::SdkKinesis;
use crate::api::{EntryAnswer, KinesisApi, PutRecordsAnswer};
use crate::classify::{CallError, CallFailure, Class};
use crate::config::{CredentialSource, KinesisConfig};

const TIMEOUT: Duration = Duration::from_secs(5);

/// One request as the server saw it.
#[derive(Debug, Clone)]
struct Seen {
    head: String,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        let line = self
            .head
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with(name));
        line.and_then(|line| line.split_once(": "))
            .map_or("", |(_, value)| value)
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
enum Script {
    Answer(String),
    CloseAfterReading,
    NeverAnswer,
}

fn answer(status: &str, body: &str) -> Script {
    let length = body.len();
    Script::Answer(format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}"
    ))
}

struct Server {
    endpoint: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// Serves the scripts in turn, one per request, and the last one for ever.
async fn serve(scripts: Vec<Script>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (log, scripts) = (Arc::clone(&log), scripts.clone());
            tokio::spawn(async move { connection(socket, &log, &scripts).await });
        }
    });
    Server { endpoint, seen }
}

async fn connection(mut socket: TcpStream, log: &Mutex<Vec<Seen>>, scripts: &[Script]) {
    while let Some(seen) = read_request(&mut socket).await {
        let turn = {
            let mut log = log.lock().unwrap();
            log.push(seen);
            (log.len() - 1).min(scripts.len() - 1)
        };
        match &scripts[turn] {
            Script::Answer(text) => socket.write_all(text.as_bytes()).await.unwrap(),
            Script::CloseAfterReading => return,
            Script::NeverAnswer => std::future::pending().await,
        }
        if let Script::Answer(text) = &scripts[turn]
            && text.contains("connection: close")
        {
            return;
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let mut seen = Seen {
                head,
                body: Vec::new(),
            };
            let length: usize = seen.header("content-length").parse().unwrap();
            if bytes.len() >= end + 4 + length {
                seen.body = bytes[end + 4..].to_vec();
                return Some(seen);
            }
        }
        match socket.read(&mut chunk).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
            _ => return None,
        }
    }
}

async fn client(endpoint: &str) -> SdkKinesis {
    let config = KinesisConfig {
        region: Some("eu-central-1".into()),
        endpoint: Some(endpoint.into()),
        credentials: CredentialSource::Fixed {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "secret".into(),
        },
        ..KinesisConfig::default()
    };
    SdkKinesis::connect(&config).await
}

fn stream() -> StreamName {
    StreamName::new("s").unwrap()
}

async fn put(endpoint: &str, timeout: Duration) -> Result<PutRecordsAnswer, CallError> {
    let body =
        Bytes::from_static(br#"{"StreamName":"s","Records":[{"Data":"eA==","PartitionKey":"k"}]}"#);
    client(endpoint)
        .await
        .put_records(&stream(), body, timeout)
        .await
}

const STORED: &str = r#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"495","ShardId":"shardId-000000000000"}]}"#;

#[tokio::test]
async fn our_body_is_sent_signed_and_the_answer_is_read() {
    let server = serve(vec![answer("200 OK", STORED)]).await;
    let answer = put(&server.endpoint, TIMEOUT).await.unwrap();
    assert_eq!(
        answer.entries,
        [EntryAnswer::Stored {
            shard: "shardId-000000000000".into()
        }]
    );
    let seen = server.seen.lock().unwrap()[0].clone();
    assert_eq!(
        seen.body,
        br#"{"StreamName":"s","Records":[{"Data":"eA==","PartitionKey":"k"}]}"#
    );
    assert!(seen.head.starts_with("POST / HTTP/1.1"));
    assert_eq!(seen.header("x-amz-target"), "Kinesis_20131202.PutRecords");
    assert_eq!(seen.header("content-type"), "application/x-amz-json-1.1");
    assert!(
        seen.header("authorization")
            .contains("/eu-central-1/kinesis/aws4_request")
    );
    let lengths = seen
        .head
        .lines()
        .filter(|line| line.to_ascii_lowercase().starts_with("content-length:"));
    assert_eq!(lengths.count(), 1);
}

#[tokio::test]
async fn errors_of_the_service_keep_their_code_and_are_not_retried() {
    for (status, body, code, class) in [
        (
            "400 Bad Request",
            r#"{"__type":"com.amazonaws.kinesis#ResourceNotFoundException","message":"Stream s not found"}"#,
            "ResourceNotFoundException",
            Class::Configuration,
        ),
        (
            "400 Bad Request",
            r#"{"__type":"SomethingUnmodeled","Message":"x"}"#,
            "SomethingUnmodeled",
            Class::Ambiguous,
        ),
        (
            "500 Internal Server Error",
            r#"{"__type":"InternalFailure"}"#,
            "InternalFailure",
            Class::Ambiguous,
        ),
        (
            "503 Service Unavailable",
            "<html>busy</html>",
            "HTTP503",
            Class::Ambiguous,
        ),
        ("413 Payload Too Large", "", "HTTP413", Class::Split),
    ] {
        let server = serve(vec![answer(status, body)]).await;
        let error = put(&server.endpoint, TIMEOUT).await.unwrap_err();
        assert_eq!(error.code, code, "{error:?}");
        assert_eq!(error.class(), class, "{error:?}");
        assert_eq!(server.seen.lock().unwrap().len(), 1, "{code} was retried");
    }
}

#[tokio::test]
async fn what_the_service_says_besides_the_code_is_kept() {
    let body = r#"{"__type":"ThrottlingException","message":"slow down"}"#;
    let text = format!(
        "HTTP/1.1 400 Bad Request\r\nx-amz-retry-after: 1500\r\nx-amzn-requestid: r-1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let server = serve(vec![Script::Answer(text)]).await;
    let error = put(&server.endpoint, TIMEOUT).await.unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_millis(1500)));
    assert_eq!(error.request_id.as_deref(), Some("r-1"));
    assert_eq!(error.message, "slow down");
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_sent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = put(&endpoint, TIMEOUT).await.unwrap_err();
    assert_eq!(error.failure, CallFailure::NotSent, "{error:?}");
}

#[tokio::test]
async fn a_lost_answer_is_unclear() {
    let cut: String = STORED.chars().take(40).collect();
    let truncated = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{}",
        STORED.len(),
        &cut
    );
    let garbled = answer("200 OK", &cut);
    for script in [
        Script::CloseAfterReading,
        Script::Answer(truncated),
        garbled,
        Script::NeverAnswer,
    ] {
        let server = serve(vec![script.clone()]).await;
        let error = put(&server.endpoint, Duration::from_millis(300))
            .await
            .unwrap_err();
        assert_eq!(error.failure, CallFailure::Unclear, "{script:?}: {error:?}");
        assert_eq!(
            server.seen.lock().unwrap().len(),
            1,
            "{script:?} was retried"
        );
    }
}

#[tokio::test]
async fn a_call_without_credentials_is_a_matter_of_configuration() {
    let server = serve(vec![answer("200 OK", STORED)]).await;
    let client = client(&server.endpoint).await;
    let bare = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-central-1"))
        .endpoint_url(&server.endpoint);
    *client.data.lock().unwrap() = aws_sdk_kinesis::Client::from_conf(bare.build());
    let error = client
        .put_records(&stream(), Bytes::from_static(b"{}"), TIMEOUT)
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Configuration, "{error:?}");
    assert!(server.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn plaintext_to_a_public_host_is_not_sent() {
    let error = put("http://example.com", TIMEOUT).await.unwrap_err();
    assert_eq!(error.failure, CallFailure::Construction);
    assert!(error.message.contains("allow_plaintext"), "{error:?}");
}

#[tokio::test]
async fn all_pages_of_open_shards_are_listed() {
    let shard = |number: u32, start: &str, end: &str, closed: bool| {
        let ending = if closed {
            r#","EndingSequenceNumber":"9""#
        } else {
            ""
        };
        format!(
            r#"{{"ShardId":"shardId-{number:012}","HashKeyRange":{{"StartingHashKey":"{start}","EndingHashKey":"{end}"}},"SequenceNumberRange":{{"StartingSequenceNumber":"1"{ending}}}}}"#
        )
    };
    let max = u128::MAX.to_string();
    let first = format!(
        r#"{{"NextToken":"t1","Shards":[{},{}]}}"#,
        shard(0, "0", &max, true),
        shard(1, "0", "99", false)
    );
    let second = format!(r#"{{"Shards":[{}]}}"#, shard(2, "100", &max, false));
    let server = serve(vec![answer("200 OK", &first), answer("200 OK", &second)]).await;
    let shards = client(&server.endpoint)
        .await
        .list_shards(&stream())
        .await
        .unwrap();
    assert_eq!(
        shards.iter().map(|shard| shard.id()).collect::<Vec<_>>(),
        ["shardId-000000000001", "shardId-000000000002"]
    );
    assert_eq!(shards[1].range(), 100..=u128::MAX);
    let seen = server.seen.lock().unwrap().clone();
    let body =
        |index: usize| serde_json::from_slice::<serde_json::Value>(&seen[index].body).unwrap();
    assert_eq!(body(0)["ShardFilter"]["Type"], "AT_LATEST");
    assert_eq!(body(0)["StreamName"], "s");
    assert_eq!(body(1)["NextToken"], "t1");
    assert!(body(1).get("StreamName").is_none() && body(1).get("ShardFilter").is_none());
}

#[tokio::test]
async fn the_summary_tells_the_record_limit_and_the_age() {
    let body = r#"{"StreamDescriptionSummary":{"StreamName":"s","StreamARN":"arn:aws:kinesis:eu-central-1:000000000000:stream/s",
        "StreamStatus":"UPDATING","RetentionPeriodHours":24,"StreamCreationTimestamp":1700000000.5,"EnhancedMonitoring":[],
        "OpenShardCount":1,"MaxRecordSizeInKiB":2048,"StreamModeDetails":{"StreamMode":"ON_DEMAND"}}}"#;
    let server = serve(vec![answer("200 OK", body)]).await;
    let summary = client(&server.endpoint)
        .await
        .describe_summary(&stream())
        .await
        .unwrap();
    assert_eq!(summary.created_ms, Some(1_700_000_000_500));
    assert_eq!(summary.record_bytes_max, Some(2048 * 1024));
    assert!(summary.updating && summary.on_demand);
}

#[tokio::test]
async fn control_calls_are_tried_again() {
    let body = format!(
        r#"{{"Shards":[{{"ShardId":"a","HashKeyRange":{{"StartingHashKey":"0","EndingHashKey":"{}"}},"SequenceNumberRange":{{"StartingSequenceNumber":"1"}}}}]}}"#,
        u128::MAX
    );
    let server = serve(vec![
        answer("500 Internal Server Error", "{}"),
        answer("200 OK", &body),
    ])
    .await;
    assert_eq!(
        client(&server.endpoint)
            .await
            .list_shards(&stream())
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(server.seen.lock().unwrap().len(), 2);
}
