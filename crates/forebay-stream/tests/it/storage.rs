//! What is on disk: restart, damage, retention, locking.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_stream::{ServerConfig, ServerError, StreamServer};
use serde_json::json;

use crate::client::{
    base64, call, config, iterator, put_of, refused, start, start_at_rest, stored, texts, until,
};

fn on_disk(dir: &Path) -> ServerConfig {
    ServerConfig {
        data_dir: Some(dir.to_owned()),
        ..config()
    }
}

fn segments(dir: &Path, stream: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join(format!("{stream}.stream"))).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
}

#[tokio::test]
async fn records_survive_a_restart_and_sequence_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(on_disk(dir.path())).await;
    server.create_stream("s", 3).unwrap();
    server.create_stream("..", 1).unwrap();
    let keys: Vec<_> = (0..100).map(|i| format!("key-{i}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let before = call(&server, "PutRecords", put_of("s", &keys)).await;
    let summary = json!({ "StreamName": "s" });
    let described = call(&server, "DescribeStreamSummary", summary.clone()).await;
    let shard = before["Records"][0]["ShardId"].clone();
    let mut horizon = json!({ "StreamName": "s", "ShardIteratorType": "TRIM_HORIZON" });
    horizon["ShardId"] = shard.clone();
    let position = iterator(&server, horizon).await;
    let contents = stored(&server, "s", 3);
    assert_eq!(contents.len(), 100);
    server.shutdown().await;

    let server = start(on_disk(dir.path())).await;
    assert_eq!(stored(&server, "s", 3), contents);
    assert_eq!(
        call(&server, "DescribeStreamSummary", summary).await,
        described
    );
    assert_eq!(stored(&server, "..", 1), []);
    // An iterator is good in the next life of the server, too.
    let read = call(&server, "GetRecords", json!({ "ShardIterator": position })).await;
    assert_eq!(texts(&read)[0], "0");
    let after = call(&server, "PutRecords", put_of("s", &keys)).await;
    for (old, new) in before["Records"]
        .as_array()
        .unwrap()
        .iter()
        .zip(after["Records"].as_array().unwrap())
    {
        assert_eq!(old["ShardId"], new["ShardId"]);
        assert!(old["SequenceNumber"].as_str() < new["SequenceNumber"].as_str());
    }
    call(&server, "DeleteStream", json!({ "StreamName": "s" })).await;
    server.shutdown().await;

    let server = start(on_disk(dir.path())).await;
    refused(
        &server,
        "PutRecords",
        put_of("s", &["k"]),
        "ResourceNotFoundException",
    )
    .await;
    server.shutdown().await;
}

#[tokio::test]
async fn what_was_answered_survives_an_end_without_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(on_disk(dir.path())).await;
    server.create_stream("s", 1).unwrap();
    call(&server, "PutRecords", put_of("s", &["k"; 10])).await;
    drop(server);
    let mut again = None;
    let deadline = tokio::time::sleep(Duration::from_secs(10));
    tokio::pin!(deadline);
    while again.is_none() {
        tokio::select! {
            () = &mut deadline => panic!("the data directory stays locked"),
            started = StreamServer::start(on_disk(dir.path())) => again = started.ok(),
        }
    }
    assert_eq!(stored(&again.unwrap(), "s", 1).len(), 10);
}

#[tokio::test]
async fn a_torn_end_is_cut_off_and_its_numbers_are_not_given_again() {
    let dir = tempfile::tempdir().unwrap();
    // The last batch has 58 bytes.
    for cut in [1, 30, 57] {
        let name = format!("s{cut}");
        let server = start(on_disk(dir.path())).await;
        server.create_stream(&name, 1).unwrap();
        call(&server, "PutRecords", put_of(&name, &["a", "b"])).await;
        let lost = call(&server, "PutRecords", put_of(&name, &["c"])).await;
        server.shutdown().await;

        let path = segments(dir.path(), &name).pop().unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let len = file.metadata().unwrap().len();
        file.set_len(len - cut).unwrap();

        let server = start(on_disk(dir.path())).await;
        let keys = |records: Vec<(String, String)>| -> Vec<String> {
            records.into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys(stored(&server, &name, 1)), ["a", "b"], "cut {cut}");
        let next = call(&server, "PutRecords", put_of(&name, &["d"])).await;
        let number =
            |answer: &serde_json::Value| answer["Records"][0]["SequenceNumber"].to_string();
        assert!(number(&next) > number(&lost));
        assert_eq!(keys(stored(&server, &name, 1)), ["a", "b", "d"]);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn garbage_and_flipped_bits_at_the_end_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(on_disk(dir.path())).await;
    server.create_stream("s", 1).unwrap();
    call(&server, "PutRecords", put_of("s", &["a"])).await;
    call(&server, "PutRecords", put_of("s", &["b"])).await;
    server.shutdown().await;
    let path = segments(dir.path(), "s").pop().unwrap();
    OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(&[0x5a; 100])
        .unwrap();

    let server = start(on_disk(dir.path())).await;
    assert_eq!(stored(&server, "s", 1).len(), 2);
    server.shutdown().await;
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();

    let server = start(on_disk(dir.path())).await;
    assert_eq!(stored(&server, "s", 1), [("a".to_owned(), "0".to_owned())]);
    server.shutdown().await;
}

#[tokio::test]
async fn the_oldest_records_of_the_server_go_when_there_are_too_many_bytes() {
    let dir = tempfile::tempdir().unwrap();
    for data_dir in [None, Some(dir.path().to_owned())] {
        let retention_bytes = 2 << 20;
        let (server, clock) = start_at_rest(ServerConfig {
            data_dir,
            retention_bytes,
            ..config()
        })
        .await;
        server.create_stream("old", 1).unwrap();
        server.create_stream("new", 2).unwrap();
        call(&server, "PutRecords", put_of("old", &["k"; 10])).await;
        let data = base64(&vec![b'x'; 100 * 1024]);
        for i in 0..60 {
            clock.advance(Duration::from_millis(10));
            let key = format!("key-{i}");
            let put = json!({ "StreamName": "new", "Data": data, "PartitionKey": key });
            call(&server, "PutRecord", put).await;
        }
        let stats = server.stats();
        assert!(
            stats.retained_bytes <= retention_bytes,
            "{}",
            stats.retained_bytes
        );
        assert!(
            stats.retained_bytes > retention_bytes / 2,
            "{}",
            stats.retained_bytes
        );
        let sum: u64 = stats
            .streams
            .iter()
            .map(|stream| stream.retained_bytes)
            .sum();
        assert_eq!(stats.retained_bytes, sum);
        assert_eq!(stored(&server, "old", 1), []);
        let mut keys: Vec<_> = stored(&server, "new", 2)
            .into_iter()
            .map(|(key, _)| key.strip_prefix("key-").unwrap().parse::<u32>().unwrap())
            .collect();
        keys.sort_unstable();
        assert!(keys.len() >= 10 && keys.len() <= 20, "{keys:?}");
        let newest: Vec<u32> = (60 - u32::try_from(keys.len()).unwrap()..60).collect();
        assert_eq!(keys, newest);
        server.shutdown().await;
    }
    // What was dropped stays dropped, and the bytes on disk are those of the count.
    let server = start(on_disk(dir.path())).await;
    let on_disk: u64 = ["old", "new"]
        .iter()
        .flat_map(|stream| segments(dir.path(), stream))
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert_eq!(server.stats().retained_bytes, on_disk);
    server.shutdown().await;
}

#[tokio::test]
async fn records_are_not_given_out_after_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Duration::from_secs(3600);
    let config = ServerConfig {
        retention,
        ..on_disk(dir.path())
    };
    let (server, clock) = start_at_rest(config).await;
    server.create_stream("s", 1).unwrap();
    let summary = call(
        &server,
        "DescribeStreamSummary",
        json!({ "StreamName": "s" }),
    )
    .await;
    assert_eq!(
        summary["StreamDescriptionSummary"]["RetentionPeriodHours"],
        1
    );
    call(&server, "PutRecords", put_of("s", &["old"])).await;
    clock.advance(Duration::from_secs(60));
    call(&server, "PutRecords", put_of("s", &["new"])).await;
    let read = async || {
        let horizon = json!({ "StreamName": "s", "ShardIteratorType": "TRIM_HORIZON" });
        let iterator = iterator(&server, horizon).await;
        call(&server, "GetRecords", json!({ "ShardIterator": iterator })).await
    };
    assert_eq!(texts(&read().await).len(), 2);
    clock.advance(Duration::from_secs(3541));
    let left = read().await;
    assert_eq!(left["Records"][0]["PartitionKey"], "new");
    assert_eq!(left["Records"].as_array().unwrap().len(), 1);
    clock.advance(Duration::from_secs(60));
    // Looked for every second, so the file goes some time after the records are out of reach.
    until("the segment is removed", || {
        server.stats().retained_bytes == 0
    })
    .await;
    assert!(segments(dir.path(), "s").is_empty());
    call(&server, "PutRecords", put_of("s", &["newest"])).await;
    assert_eq!(stored(&server, "s", 1).len(), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn a_data_directory_has_one_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(on_disk(dir.path())).await;
    let second = StreamServer::start(on_disk(dir.path())).await;
    assert!(
        matches!(second, Err(ServerError::Locked { .. })),
        "{second:?}"
    );
    server.shutdown().await;
    start(on_disk(dir.path())).await.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = StreamServer::start(on_disk(&file)).await.unwrap_err();
    assert!(matches!(error, ServerError::Storage { .. }), "{error}");

    fs::create_dir(dir.path().join("s.stream")).unwrap();
    fs::write(dir.path().join("s.stream/stream.json"), "{}").unwrap();
    let error = StreamServer::start(on_disk(dir.path())).await.unwrap_err();
    assert!(matches!(error, ServerError::Damaged { .. }), "{error}");

    let server = start(config()).await;
    let taken = ServerConfig {
        bind: server.local_addr(),
        ..config()
    };
    let error = StreamServer::start(taken).await.unwrap_err();
    assert!(matches!(error, ServerError::Bind { .. }), "{error}");
    server.shutdown().await;

    for (config, key) in [
        (
            ServerConfig {
                retention_bytes: 1000,
                ..config()
            },
            "retention_bytes",
        ),
        (
            ServerConfig {
                retention: Duration::ZERO,
                ..config()
            },
            "retention",
        ),
        (
            ServerConfig {
                account: "12".into(),
                ..config()
            },
            "account",
        ),
        (
            ServerConfig {
                region: String::new(),
                ..config()
            },
            "region",
        ),
    ] {
        let error = StreamServer::start(config).await.unwrap_err();
        assert!(error.to_string().starts_with(key), "{error}");
    }
}

#[tokio::test]
async fn what_a_crash_left_of_creation_and_deletion_is_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("half.stream")).unwrap();
    fs::create_dir(dir.path().join("gone.deleted")).unwrap();
    let server = start(on_disk(dir.path())).await;
    assert_eq!(server.stats().streams, []);
    server.create_stream("half", 1).unwrap();
    server.shutdown().await;
    assert!(!dir.path().join("gone.deleted").exists());
}
