//! Heads, bodies, connections.

use serde_json::{Value, json};

use crate::client::{Connection, call, config, put_of, request_bytes, start, stored};

async fn exchange(connection: &mut Connection, request: &str) -> (String, Value) {
    connection.send(request.as_bytes()).await.unwrap();
    let (head, body) = connection.receive().await.unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

fn without(header: &str) -> String {
    let text = String::from_utf8(request_bytes("Kinesis_20131202.ListStreams", b"{}")).unwrap();
    let lines = text.split("\r\n").filter(|line| !line.starts_with(header));
    lines.collect::<Vec<_>>().join("\r\n")
}

#[tokio::test]
async fn a_connection_serves_many_requests_with_ids_of_their_own() {
    let server = start(config()).await;
    let mut connection = Connection::open(&server).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let request = request_bytes("Kinesis_20131202.ListStreams", b"{}");
        connection.send(&request).await.unwrap();
        let (head, _) = connection.receive().await.unwrap();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(
            head.contains("content-type: application/x-amz-json-1.1"),
            "{head}"
        );
        let id = head
            .lines()
            .find_map(|line| line.strip_prefix("x-amzn-requestid: "))
            .unwrap();
        assert_eq!(id.len(), 36);
        ids.push(id.to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert_eq!(server.stats().connections, 1);
    assert_eq!(server.stats().requests["ListStreams"], 3);
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_no_signed_call_is_refused_as_the_service_does_it() {
    let server = start(config()).await;
    let mut connection = Connection::open(&server).await;
    let signed = without("none");
    for (request, status, code) in [
        (
            without("authorization"),
            "400",
            "MissingAuthenticationTokenException",
        ),
        (without("x-amz-date"), "400", "IncompleteSignatureException"),
        (
            signed.replace("Signature=c", ""),
            "400",
            "IncompleteSignatureException",
        ),
        (without("x-amz-target"), "403", "AccessDeniedException"),
        (
            signed.replace("POST", "PUT"),
            "403",
            "AccessDeniedException",
        ),
        (
            signed.replace("ListStreams", "MergeShards"),
            "400",
            "UnknownOperationException",
        ),
        (
            signed.replace("Kinesis_20131202", "Kinesis_1"),
            "400",
            "UnknownOperationException",
        ),
        (
            signed.replace("json-1.1", "cbor-1.1"),
            "404",
            "UnknownOperationException",
        ),
        (
            signed.replace("\r\n\r\n{}", "\r\n\r\n{]"),
            "400",
            "SerializationException",
        ),
    ] {
        let (head, error) = exchange(&mut connection, &request).await;
        assert!(
            head.starts_with(&format!("http/1.1 {status} ")),
            "{code}: {head}"
        );
        assert_eq!(error["__type"], code);
        assert!(head.contains("x-amzn-requestid"), "{head}");
    }
    let presigned = without("authorization").replace("POST /", "POST /?X-Amz-Signature=c");
    let (head, _) = exchange(&mut connection, &presigned).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let server = start(config()).await;
    let mut connection = Connection::open(&server).await;
    let request = without("none").replace("content-length: 2", "content-length: 20971521");
    let (head, error) = exchange(&mut connection, &request).await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
    assert_eq!(error["__type"], "RequestEntityTooLarge");
    server.shutdown().await;
}

#[tokio::test]
async fn a_body_may_come_in_chunks() {
    let server = start(config()).await;
    server.create_stream("s", 1).unwrap();
    let body = put_of("s", &["a", "b"]).to_string();
    let (first, second) = body.split_at(30);
    let head = String::from_utf8(request_bytes("Kinesis_20131202.PutRecords", b"")).unwrap();
    let head = head.replace("content-length: 0", "transfer-encoding: chunked");
    let mut connection = Connection::open(&server).await;
    connection.send(head.as_bytes()).await.unwrap();
    for chunk in [first, second, ""] {
        let chunk = format!("{:x}\r\n{chunk}\r\n", chunk.len());
        connection.send(chunk.as_bytes()).await.unwrap();
    }
    let (head, _) = connection.receive().await.unwrap();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(stored(&server, "s", 1).len(), 2);
    server.shutdown().await;
}

#[tokio::test]
async fn members_come_in_any_order_and_unknown_ones_are_passed_over() {
    let server = start(config()).await;
    server.create_stream("s/".trim_end_matches('/'), 1).unwrap();
    let body = r#" { "Extra" : [ { "a" : [1, 2.5e3, true, null, "x\"]}"] } ] ,
        "Records" : [ { "Other": {}, "PartitionKey" : "\u0061\/\ud83d\ude00", "Data" : "YS\u0042i",
        "ExplicitHashKey" : null } ], "StreamARN" : null, "StreamName" : "s" } "#;
    let mut connection = Connection::open(&server).await;
    let request = request_bytes("Kinesis_20131202.PutRecords", body.as_bytes());
    connection.send(&request).await.unwrap();
    let (head, _) = connection.receive().await.unwrap();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(
        stored(&server, "s", 1),
        [("a/😀".to_owned(), "a b".to_owned())]
    );
    server.shutdown().await;
}

#[tokio::test]
async fn stopping_lets_the_request_in_progress_finish() {
    let server = start(config()).await;
    server.create_stream("s", 1).unwrap();
    let body = put_of("s", &["k"]).to_string();
    let request = request_bytes("Kinesis_20131202.PutRecords", body.as_bytes());
    let mut connection = Connection::open(&server).await;
    let (half, rest) = request.split_at(request.len() - 10);
    call(&server, "ListStreams", json!({})).await;
    connection.send(half).await.unwrap();
    crate::client::until("connected", || server.stats().connections == 1).await;
    let addr = server.local_addr();
    let stopped = tokio::spawn(server.shutdown());
    let refused = async {
        while tokio::net::TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), refused)
        .await
        .unwrap();
    connection.send(rest).await.unwrap();
    let (head, _) = connection.receive().await.unwrap();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    stopped.await.unwrap();
}
