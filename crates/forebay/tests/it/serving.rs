//! From `pub` through the server into a stream and out again.

use crate::program::{Place, Server, Serving};

fn start(place: &Place) -> (Serving, String, Server) {
    start_with(place, "spool")
}

fn start_with(place: &Place, ack: &str) -> (Serving, String, Server) {
    let (stream, endpoint) = place.stream("telemetry:2");
    let set = format!("kinesis.endpoint={endpoint}");
    let ack = format!("server.ack={ack}");
    let server = place.server(&[
        "--kinesis-stream",
        "telemetry",
        "--rule",
        "SELECT *, topic(2) AS device FROM 'dt/#'",
        "--partition-key",
        "${topic(2)}",
        "--set",
        &set,
        "--set",
        &ack,
    ]);
    (stream, endpoint, server)
}

#[test]
fn published_messages_are_in_the_stream() {
    let place = Place::new();
    let (stream, endpoint, server) = start(&place);
    for (version, qos) in [("5", "1"), ("3.1.1", "2"), ("5", "0")] {
        let words = [
            "pub",
            "-t",
            "dt/d1/x",
            "-l",
            "-q",
            qos,
            "-V",
            version,
            "--broker",
            &server.broker,
        ];
        let published = place.feed(&words, "{\"n\":1}\n{\"n\":2}\n");
        assert_eq!(published.code, 0, "{}", published.stderr);
    }
    let tail = place.run(&[
        "stream",
        "tail",
        "telemetry",
        "--from",
        "trim_horizon",
        "-n",
        "6",
        "--raw",
        "--endpoint",
        &endpoint,
    ]);
    assert_eq!(tail.code, 0, "{}", tail.stderr);
    let pair = "{\"n\":1,\"device\":\"d1\"}\n{\"n\":2,\"device\":\"d1\"}\n";
    assert_eq!(tail.stdout, pair.repeat(3));

    let list = place.run(&["stream", "list", "--endpoint", &endpoint]);
    assert_eq!(list.stdout, "telemetry\n");
    let described = place
        .run(&[
            "stream",
            "describe",
            "telemetry",
            "--endpoint",
            &endpoint,
            "--json",
        ])
        .json();
    assert_eq!(described["status"], "ACTIVE");
    assert_eq!(described["shards"].as_array().unwrap().len(), 2);
    let missing = place.run(&["stream", "describe", "nowhere", "--endpoint", &endpoint]);
    assert_eq!(missing.code, 1);
    assert!(
        missing.stderr.contains("ResourceNotFoundException"),
        "{}",
        missing.stderr
    );
    assert_eq!(server.serving.stop(), 0);
    assert_eq!(stream.stop(), 0);
}

#[test]
fn subscribers_print_what_comes() {
    let place = Place::new();
    let (_stream, _endpoint, server) = start(&place);
    // Retained, so that it does not matter which of the two is there first.
    let retained = [
        "pub",
        "-t",
        "a/b",
        "-m",
        "hello",
        "-q",
        "1",
        "-r",
        "--broker",
        &server.broker,
    ];
    assert_eq!(place.run(&retained).code, 0);
    for version in ["5", "3.1.1"] {
        let words = [
            "sub",
            "-t",
            "a/#",
            "-t",
            "c",
            "-n",
            "1",
            "-v",
            "-W",
            "20s",
            "-V",
            version,
            "--broker",
            &server.broker,
        ];
        let printed = place.run(&words);
        assert_eq!(
            (printed.code, printed.stdout.as_str()),
            (0, "a/b hello\n"),
            "{}",
            printed.stderr
        );
    }
    let json = place
        .run(&[
            "sub",
            "-t",
            "a/b",
            "-n",
            "1",
            "--json",
            "-W",
            "20s",
            "--broker",
            &server.broker,
        ])
        .json();
    assert_eq!(
        (&json["payload"], &json["retain"]),
        (&"hello".into(), &true.into())
    );
    let nothing = place.run(&[
        "sub",
        "-t",
        "z",
        "-n",
        "1",
        "-W",
        "100ms",
        "--broker",
        &server.broker,
    ]);
    assert_eq!(nothing.code, 1);
}

#[test]
fn a_publish_that_is_refused_fails() {
    let place = Place::new();
    let (_stream, _endpoint, server) = start(&place);
    // A reserved topic that clients may not publish to.
    let words = [
        "pub",
        "-t",
        "$aws/things/a/shadow/update",
        "-m",
        "x",
        "-q",
        "1",
        "--broker",
        &server.broker,
    ];
    let refused = place.run(&words);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("refused by the broker"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_broker_is_measured_and_its_stream_checked() {
    let place = Place::new();
    // What was acknowledged from a spool would take the stream minutes, at the rate that its shards allow.
    let (_stream, endpoint, server) = start_with(&place, "stored");
    let measured = place.run(&[
        "bench",
        "quick",
        "--broker",
        &server.broker,
        "--connections",
        "4",
        "--keys",
        "8",
        "--window",
        "5",
        "--duration",
        "1s",
        "--stream",
        "telemetry",
        "--endpoint",
        &endpoint,
        "--json",
    ]);
    assert_eq!(measured.code, 0, "{}", measured.stderr);
    let report = measured.json();
    assert!(report["messages"].as_u64().unwrap() > 0, "{report:#}");
    assert_eq!(report["stream"]["lost"], 0);
    assert_eq!(report["stream"]["reordered"], 0);
}
