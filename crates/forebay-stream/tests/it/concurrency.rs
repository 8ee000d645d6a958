//! Many clients at once, and many requests on one HTTP/2 connection.

use std::collections::HashMap;

use bytes::Bytes;
use forebay_stream::{RunningServer, ServerConfig};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::{Connection, base64, config, start};

const CLIENTS: usize = 16;
const REQUESTS: usize = 30;
const RECORDS: usize = 50;

/// The request number `request` of a client: records of three keys of its own, numbered through.
fn body(client: usize, request: usize) -> Value {
    let record = |index: usize| {
        let number = request * RECORDS + index;
        let key = format!("client-{client}-{}", number % 3);
        json!({ "Data": base64(number.to_string().as_bytes()), "PartitionKey": key })
    };
    json!({ "StreamName": "s", "Records": (0..RECORDS).map(record).collect::<Vec<_>>() })
}

/// Checks that everything is there once, in order per key, with growing sequence numbers.
fn check(server: &RunningServer, shards: u32, clients: usize) {
    let mut by_key: HashMap<String, Vec<usize>> = HashMap::new();
    for shard in 0..shards {
        let records = server.read_shard("s", shard, None, usize::MAX).unwrap();
        assert!(
            records
                .windows(2)
                .all(|pair| pair[0].sequence_number < pair[1].sequence_number)
        );
        for record in records {
            let number = String::from_utf8(record.data).unwrap().parse().unwrap();
            by_key.entry(record.partition_key).or_default().push(number);
        }
    }
    for client in 0..clients {
        for key in 0..3 {
            let found = &by_key[&format!("client-{client}-{key}")];
            let expected: Vec<_> = (0..REQUESTS * RECORDS).filter(|n| n % 3 == key).collect();
            assert_eq!(*found, expected, "client {client} key {key}");
        }
    }
    assert_eq!(by_key.len(), clients * 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_record_of_many_clients_is_stored_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    for data_dir in [None, Some(dir.path().to_owned())] {
        let server = start(ServerConfig {
            data_dir,
            ..config()
        })
        .await;
        server.create_stream("s", 7).unwrap();
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let mut connection = Connection::open(&server).await;
            clients.spawn(async move {
                for request in 0..REQUESTS {
                    let answer = connection.call("PutRecords", &body(client, request)).await;
                    assert_eq!(answer.unwrap().1["FailedRecordCount"], 0);
                }
            });
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        check(&server, 7, CLIENTS);
        assert_eq!(
            server.stats().records_stored,
            (CLIENTS * REQUESTS * RECORDS) as u64
        );
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_share_one_http2_connection_without_tls() {
    let server = start(config()).await;
    server.create_stream("s", 2).unwrap();
    let stream = tokio::net::TcpStream::connect(server.local_addr())
        .await
        .unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let mut sender = sender.clone();
        clients.spawn(async move {
            for request in 0..REQUESTS {
                let request = Request::post("http://localhost/")
                    .header("x-amz-target", "Kinesis_20131202.PutRecords")
                    .header("content-type", "application/x-amz-json-1.1")
                    .header("x-amz-date", "20261101T000000Z")
                    .header(
                        "authorization",
                        "x Credential=a, SignedHeaders=b, Signature=c",
                    )
                    .body(Full::new(Bytes::from(body(client, request).to_string())))
                    .unwrap();
                sender.ready().await.unwrap();
                let answer = sender.send_request(request).await.unwrap();
                assert_eq!(answer.status(), 200);
                let answer = answer.into_body().collect().await.unwrap().to_bytes();
                let answer: Value = serde_json::from_slice(&answer).unwrap();
                assert_eq!(answer["FailedRecordCount"], 0);
            }
        });
    }
    drop(sender);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    connection.await.unwrap().unwrap();
    check(&server, 2, CLIENTS);
    server.shutdown().await;
}
