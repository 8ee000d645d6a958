//! `rule test`.

use crate::program::Place;

#[test]
fn a_statement_is_followed_down_to_the_shard() {
    let place = Place::new();
    let words = [
        "rule",
        "test",
        "--sql",
        "SELECT *, topic(2) AS device FROM 'dt/+/telemetry' WHERE temperature > 50",
        "--topic",
        "dt/dev-1/telemetry",
        "--payload",
        "-",
        "--partition-key",
        "${topic(2)}",
        "--shards",
        "4",
        "--json",
    ];
    let ended = place.feed(&words, "{\"temperature\": 51}");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let record = &ended.json()["records"][0];
    assert_eq!(
        record["output"],
        "{\"temperature\": 51,\"device\":\"dev-1\"}"
    );
    assert_eq!(record["bytes"], 36);
    assert_eq!(record["partition_key"], "dev-1");
    // MD5 of "dev-1" as a number, and the quarter of the key space that it lies in.
    assert_eq!(record["hash_key"], "35140614086032875006150558022617306177");
    assert_eq!(record["shard"], "shardId-000000000000");
    assert_eq!(record["put_units"], 1);

    let filtered = place.feed(&words[..words.len() - 1], "{\"temperature\": 49}");
    assert_eq!(filtered.code, 0);
    assert_eq!(filtered.stdout, "output         none: WHERE is not true\n");
}

#[test]
fn documents_are_tested_as_they_are() {
    let place = Place::new();
    let document = place.write(
        "to_kinesis.json",
        "{\"sql\": \"SELECT * FROM 'some/topic'\", \"ruleDisabled\": false, \"actions\": [{\"kinesis\": {\
         \"streamName\": \"my_kinesis_stream\", \"partitionKey\": \"${topic()}\", \
         \"roleArn\": \"arn:aws:iam::123456789012:role/aws_iot_kinesis\"}}]}",
    );
    let payload = place.write("payload", "not json");
    let ended = place.run(&[
        "rule",
        "test",
        "--rule",
        document.to_str().unwrap(),
        "--topic",
        "some/topic",
        "--payload",
        payload.to_str().unwrap(),
        "--explicit-hash-key",
        "7",
    ]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for row in [
        "output         not json\n",
        "stream         my_kinesis_stream\n",
        "partition key  some/topic\n",
        "hash key       7 (explicit)\n",
    ] {
        assert!(ended.stdout.contains(row), "{row:?} in\n{}", ended.stdout);
    }
}

#[test]
fn what_cannot_be_read_is_65_and_shows_where() {
    let place = Place::new();
    let test = |sql: &str| {
        place.feed(
            &[
                "rule",
                "test",
                "--sql",
                sql,
                "--topic",
                "a",
                "--payload",
                "-",
            ],
            "{}",
        )
    };
    let ended = test("SELECT uper(color) AS c FROM 'dt/#'");
    assert_eq!((ended.code, ended.stdout.as_str()), (65, ""));
    assert!(ended.stderr.contains("error[R014]"), "{}", ended.stderr);
    assert!(ended.stderr.contains("--sql, column 8"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("did you mean `upper`?"),
        "{}",
        ended.stderr
    );
    let broken = place.write("broken.json", "{");
    let words = [
        "rule",
        "test",
        "--rule",
        broken.to_str().unwrap(),
        "--topic",
        "a",
        "--payload",
        "-",
    ];
    assert_eq!(place.run(&words).code, 65);
    let missing = [
        "rule",
        "test",
        "--rule",
        "nowhere.json",
        "--topic",
        "a",
        "--payload",
        "-",
    ];
    assert_eq!(place.run(&missing).code, 74);
}
