//! A raw HTTP/1.1 client and the shortcuts that the tests share.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use forebay_core::ManualClock;
use forebay_stream::{RunningServer, ServerConfig, StreamServer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where the wall clock of the tests begins.
pub(crate) const WALL_MS: i64 = 1_764_000_000_000;

/// The status and the document of an answer.
pub(crate) type Answer = (u16, Value);

/// A server in memory without limits.
pub(crate) fn config() -> ServerConfig {
    ServerConfig {
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        limits: false,
        ..ServerConfig::default()
    }
}

pub(crate) async fn start(config: ServerConfig) -> RunningServer {
    StreamServer::start(config).await.unwrap()
}

/// A server whose clock is moved by the test.
pub(crate) async fn start_at_rest(config: ServerConfig) -> (RunningServer, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(WALL_MS));
    let server = StreamServer::start_with_clock(config, Arc::clone(&clock))
        .await
        .unwrap();
    (server, clock)
}

pub(crate) fn request_bytes(target: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\nx-amz-target: {target}\r\n\
         content-type: application/x-amz-json-1.1\r\nx-amz-date: 20261101T000000Z\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=a, SignedHeaders=b, Signature=c\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// One connection that stays open between requests.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(server: &RunningServer) -> Self {
        let stream = TcpStream::connect(server.local_addr()).await.unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads one answer: its head and its body.
    pub(crate) async fn receive(&mut self) -> io::Result<(String, Vec<u8>)> {
        loop {
            if let Some(answer) = take_answer(&mut self.buffer) {
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// What was received of an answer that is not complete.
    pub(crate) fn partial(&self) -> &[u8] {
        &self.buffer
    }

    pub(crate) async fn call(&mut self, operation: &str, body: &Value) -> io::Result<Answer> {
        let target = format!("Kinesis_20131202.{operation}");
        self.send(&request_bytes(&target, body.to_string().as_bytes()))
            .await?;
        let (head, body) = self.receive().await?;
        Ok((status(&head), document(&body)))
    }
}

fn take_answer(buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let head_end = buffer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(buffer[..head_end].to_vec())
        .unwrap()
        .to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    let end = head_end + 4 + length.parse::<usize>().unwrap();
    if buffer.len() < end {
        return None;
    }
    let body = buffer[head_end + 4..end].to_vec();
    buffer.drain(..end);
    Some((head, body))
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

fn document(body: &[u8]) -> Value {
    if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(body).unwrap()
    }
}

/// One call on a connection of its own.
pub(crate) async fn try_call(
    server: &RunningServer,
    operation: &str,
    body: Value,
) -> io::Result<Answer> {
    Connection::open(server).await.call(operation, &body).await
}

/// A call that must succeed.
pub(crate) async fn call(server: &RunningServer, operation: &str, body: Value) -> Value {
    let (status, answer) = try_call(server, operation, body).await.unwrap();
    assert_eq!(status, 200, "{operation}: {answer}");
    answer
}

/// A call that must be refused with `code`; gives the message.
pub(crate) async fn refused(
    server: &RunningServer,
    operation: &str,
    body: Value,
    code: &str,
) -> String {
    let (status, answer) = try_call(server, operation, body).await.unwrap();
    assert_eq!(
        (status, &answer["__type"]),
        (400, &json!(code)),
        "{operation}: {answer}"
    );
    answer["message"].as_str().unwrap().to_owned()
}

/// A control call that must succeed.
pub(crate) async fn control(server: &RunningServer, operation: &str, body: Value) -> Value {
    let target = format!("ForebayStream_20261101.{operation}");
    let mut connection = Connection::open(server).await;
    let body = body.to_string();
    connection
        .send(&request_bytes(&target, body.as_bytes()))
        .await
        .unwrap();
    let (head, body) = connection.receive().await.unwrap();
    assert_eq!(
        status(&head),
        200,
        "{operation}: {}",
        String::from_utf8_lossy(&body)
    );
    document(&body)
}

pub(crate) fn base64(data: &[u8]) -> String {
    BASE64_STANDARD.encode(data)
}

/// A PutRecords of one record per key, each with its index as data.
pub(crate) fn put_of(stream: &str, keys: &[&str]) -> Value {
    let entries = keys.iter().enumerate();
    let records: Vec<_> = entries
        .map(|(i, key)| json!({ "Data": base64(i.to_string().as_bytes()), "PartitionKey": key }))
        .collect();
    json!({ "StreamName": stream, "Records": records })
}

pub(crate) async fn iterator(server: &RunningServer, mut request: Value) -> String {
    if request.get("ShardId").is_none() {
        request["ShardId"] = json!("shardId-000000000000");
    }
    let answer = call(server, "GetShardIterator", request).await;
    answer["ShardIterator"].as_str().unwrap().to_owned()
}

/// The data of the records of an answer as text.
pub(crate) fn texts(answer: &Value) -> Vec<String> {
    let records = answer["Records"].as_array().unwrap();
    let text = |record: &Value| {
        String::from_utf8(
            BASE64_STANDARD
                .decode(record["Data"].as_str().unwrap())
                .unwrap(),
        )
        .unwrap()
    };
    records.iter().map(text).collect()
}

/// Everything in all shards of a stream as (partition key, data), shard by shard.
pub(crate) fn stored(server: &RunningServer, stream: &str, shards: u32) -> Vec<(String, String)> {
    let records = (0..shards).flat_map(|s| server.read_shard(stream, s, None, usize::MAX).unwrap());
    records
        .map(|r| (r.partition_key, String::from_utf8(r.data).unwrap()))
        .collect()
}

/// Waits until `condition` holds, at most ten seconds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(10), wait)
            .await
            .is_ok(),
        "{what}"
    );
}
