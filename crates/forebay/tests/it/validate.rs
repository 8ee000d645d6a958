//! `validate` and the judgement before a start.

use std::net::TcpListener;

use crate::program::Place;

const SAMPLE: &str = include_str!("../../src/config/sample.toml");

#[test]
fn the_sample_is_valid_and_says_what_would_run() {
    let place = Place::new();
    place.write("forebay.toml", SAMPLE);
    let ended = place.run(&["validate", "--no-network", "--strict"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert!(
        ended.stdout.contains("rule telemetry: dt/+/telemetry"),
        "{}",
        ended.stdout
    );
}

#[test]
fn mistakes_are_78_and_warnings_fail_only_when_strict() {
    let place = Place::new();
    let file = place.write(
        "mine.toml",
        "[rule.missing]\nack = \"accept\"\n[rules]\ndir = \"rules.d\"\n",
    );
    let file = file.to_str().unwrap();
    assert_eq!(place.run(&["validate", "--no-network", file]).code, 0);
    let strict = place.run(&["validate", "--no-network", "--strict", file]);
    assert_eq!(strict.code, 1);
    assert!(strict.stderr.contains("warning[C101]"), "{}", strict.stderr);
    let wrong = place.run(&[
        "validate",
        "--no-network",
        file,
        "--set",
        "kinesis.lingr=1ms",
        "--json",
    ]);
    assert_eq!((wrong.code, wrong.stderr.as_str()), (78, ""));
    let report = wrong.json();
    assert_eq!(report["valid"], false);
    assert_eq!(report["diagnostics"][1]["code"], "C002");
    assert_eq!(report["diagnostics"][1]["file"], "--set");
    let missing = place.run(&["validate", "--no-network", "no-such-file.toml"]);
    assert_eq!(missing.code, 78);
}

#[test]
fn the_environment_is_a_layer() {
    let place = Place::new();
    place.write("forebay.toml", SAMPLE);
    let mut command = place.command(&["validate", "--no-network"]);
    command.env("FOREBAY__LISTENERS__LOCAL__BIND", "127.0.0.1:1999");
    let ended = Place::finish(&mut command, "");
    assert!(
        ended.stdout.contains("listener local: 127.0.0.1:1999"),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_start_is_refused_with_the_reason() {
    let place = Place::new();
    place.write(
        "rules.d/broken.json",
        "{\"sql\": \"SELECT\", \"actions\": []}",
    );
    let refused = place.run(&["run"]);
    assert_eq!(refused.code, 78);
    assert!(
        refused.stderr.contains("rules.d/broken.json: sql, column"),
        "{}",
        refused.stderr
    );

    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = format!("listeners.a.bind={}", taken.local_addr().unwrap());
    let busy = place.run(&["--set", &bind, "--set", "admin.bind=off"]);
    assert_eq!(busy.code, 69, "{}", busy.stderr);
    assert!(busy.stderr.contains("cannot bind"), "{}", busy.stderr);
}

#[test]
fn streams_are_asked_for_over_the_network() {
    let place = Place::new();
    let (stream, endpoint) = place.stream("telemetry:2");
    place.write("forebay.toml", SAMPLE);
    let set = format!("kinesis.endpoint={endpoint}");
    let found = place.run(&["validate", "--set", &set, "--strict"]);
    assert_eq!(found.code, 0, "{}", found.stderr);
    assert!(
        found
            .stdout
            .contains("stream telemetry: ACTIVE, 2 open shards"),
        "{}",
        found.stdout
    );
    let other = "rules.inline=[{name=\"a\",sql=\"SELECT * FROM 'a'\",action.kinesis.stream_name=\"other\"}]";
    let missing = place.run(&["validate", "--set", &set, "--set", other]);
    assert_eq!(missing.code, 0);
    assert!(
        missing
            .stderr
            .contains("stream other: DescribeStreamSummary: ResourceNotFound"),
        "{}",
        missing.stderr
    );
    assert_eq!(stream.stop(), 0);
}
