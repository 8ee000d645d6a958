//! Error actions and republished messages, seen from outside: what a device is answered, what subscribers and streams
//! get, and that a kill between a failure and its document loses neither.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use forebay_tests::forebay::{Builder, Forebay};
use forebay_tests::kinesis;
use forebay_tests::mqtt::{Client, Publish, Version, id};
use forebay_tests::streams::StreamServer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bed::{self, Bed, LIMIT};

const ROLE: &str = "arn:aws:iam::000000000000:role/ignored";

fn kinesis_action(stream: &str) -> Value {
    json!({"kinesis": {"streamName": stream, "partitionKey": "${topic()}", "roleArn": ROLE}})
}

fn document(sql: &str, actions: &[Value], error_action: &Value) -> Value {
    json!({
        "sql": sql,
        "awsIotSqlVersion": "2016-03-23",
        "actions": actions,
        "errorAction": error_action,
    })
}

/// One rule for each way in which an action fails.
fn with_failing_rules(builder: Builder) -> Result<Builder> {
    let errors = kinesis_action("errors");
    let lambda =
        json!({"lambda": {"functionArn": "arn:aws:lambda:us-east-1:000000000000:function:f"}});
    builder
        .rule(
            "missing",
            &document(
                "SELECT * FROM 'dt/missing'",
                &[kinesis_action("missing")],
                &errors,
            ),
        )?
        .rule(
            "denied",
            &document(
                "SELECT * FROM 'dt/denied'",
                &[kinesis_action("denied")],
                &errors,
            ),
        )?
        .rule(
            "template",
            &document(
                "SELECT * FROM 'dt/template'",
                &[kinesis_action("${no.such.member}")],
                &errors,
            ),
        )?
        .rule(
            "unsupported",
            &document("SELECT * FROM 'dt/unsupported'", &[lambda], &errors),
        )
}

fn denied(streams: &StreamServer) -> Result<()> {
    let script = json!({"Seed": 1, "Rules": [{
        "Operation": "PutRecords",
        "StreamName": "denied",
        "Effect": {"Type": "RequestError", "Code": "AccessDeniedException"},
    }]});
    streams.control("SetFaults", &script).map(drop)
}

#[test]
fn each_failed_action_has_a_document_and_its_device_is_answered() -> Result<()> {
    for ack in ["spool", "stored"] {
        let bed = Bed::start(&["errors:2", "denied:1"], |builder| {
            with_failing_rules(builder.set("server.ack", &format!("{ack:?}")))
        })?;
        denied(&bed.streams)?;
        let mut device = Client::simple(bed.forebay.mqtt(), Version::V5, "device-7")?;
        let failing = [
            ("missing", "KinesisAction", "ResourceNotFoundException"),
            ("denied", "KinesisAction", "AccessDeniedException"),
            ("template", "KinesisAction", ""),
            ("unsupported", "LambdaAction", ""),
        ];
        for (name, ..) in failing {
            let outcome = device.publish(Publish::new(&format!("dt/{name}"), r#"{"n":1}"#, 1))?;
            ensure!(outcome.reason == 0, "{ack}, {name}: {outcome:?}");
        }
        let records = kinesis::read_until(&bed.streams.endpoint(), "errors", failing.len(), LIMIT)?;
        ensure!(records.len() == failing.len(), "{ack}: {records:?}");
        for (name, action, code) in failing {
            let record = records
                .iter()
                .find(|record| record.partition_key == format!("dt/{name}"))
                .with_context(|| format!("{ack}: no document of {name}"))?;
            let told = record.json()?;
            let failure = &told["failures"][0];
            ensure!(
                told["ruleName"] == name
                    && told["topic"] == format!("dt/{name}")
                    && told["clientId"] == "device-7"
                    && told["sourceIp"] == "127.0.0.1"
                    && told["base64OriginalPayload"] == STANDARD.encode(r#"{"n":1}"#)
                    && failure["failedAction"] == action,
                "{ack}: {told:#}"
            );
            ensure!(
                code.is_empty() || failure["errorCode"] == code,
                "{ack}: {told:#}"
            );
        }
        let ended = |metrics: &forebay_tests::metrics::Metrics| {
            metrics.sum("forebay_rule_error_actions_total", &[("result", "success")]) == 4.0
                && metrics.sum("forebay_records_conservation_difference", &[]) == 0.0
                && metrics.sum("forebay_records_pending", &[]) == 0.0
        };
        bed::until_metrics(&bed.forebay, "everything at its end", ended)?;
        bed.stop()?;
    }
    Ok(())
}

#[test]
fn a_rule_without_an_error_action_waits_for_its_stream_and_delays_nobody() -> Result<()> {
    let bed = Bed::start(&["errors:1"], |builder| {
        with_failing_rules(builder.spooled())?.kinesis_rule(
            "waits",
            "SELECT * FROM 'dt/missing'",
            "missing",
            "${topic()}",
        )
    })?;
    let mut device = Client::simple(bed.forebay.mqtt(), Version::V5, "device")?;
    for number in 0..20 {
        device.publish(Publish::new("dt/missing", number.to_string(), 1))?;
    }
    let endpoint = bed.streams.endpoint();
    kinesis::read_until(&endpoint, "errors", 20, LIMIT)?;
    kinesis::create_stream(&endpoint, "missing", 1)?;
    let records = kinesis::read_until(&endpoint, "missing", 20, LIMIT)?;
    let numbers: Vec<_> = records
        .iter()
        .map(|record| String::from_utf8_lossy(&record.data).into_owned())
        .collect();
    let expected: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    ensure!(numbers == expected, "{numbers:?}");
    bed.stop()
}

/// Starts the program again, in the folder of one that was killed.
fn again(folder: TempDir, streams: &StreamServer) -> Result<Forebay> {
    let endpoint = format!("kinesis.endpoint={:?}", streams.endpoint());
    let mut command = forebay_tests::forebay::command(["run", "-c"])?;
    command
        .arg(folder.path().join("forebay.toml"))
        .args(["--set", "server.ack=\"spool\"", "--set", &endpoint])
        .current_dir(folder.path());
    let process = forebay_tests::process::Process::spawn("forebay", &mut command)?;
    Forebay::ready(process, folder)
}

/// The payloads that the documents in a stream speak of.
fn told_payloads(endpoint: &str) -> Result<BTreeSet<String>> {
    kinesis::read_stream(endpoint, "errors")?
        .iter()
        .map(|record| {
            let document = record.json()?;
            let encoded = document["base64OriginalPayload"].as_str();
            let payload = STANDARD.decode(encoded.context("no payload")?)?;
            ensure!(document["clientId"] == "device" && document["topic"] == "dt/missing");
            Ok(String::from_utf8(payload)?)
        })
        .collect()
}

#[test]
fn what_an_error_action_needs_survives_a_kill() -> Result<()> {
    let data = TempDir::with_prefix("forebay-test-data-")?;
    let arguments = ["--limits", "off", "--stream", "errors:1"];
    let streams = StreamServer::embedded(data.path(), &arguments)?;
    // Nobody answers at first: the records wait in the spool for a service that will refuse them.
    let builder = with_failing_rules(Builder::new()?.spooled())?.endpoint("http://127.0.0.1:1");
    let mut forebay = builder.start()?;
    let mut answered = BTreeSet::new();
    for round in 0..3 {
        let mut device = Client::simple(forebay.mqtt(), Version::V5, "device")?;
        for number in 0..100 {
            let payload = format!("{round}-{number}");
            device.publish(Publish::new("dt/missing", payload.as_str(), 1))?;
            answered.insert(payload);
        }
        forebay = again(forebay.kill()?, &streams)?;
    }
    let endpoint = streams.endpoint();
    let mut told = BTreeSet::new();
    forebay_tests::wait::until_true("every document", LIMIT, || {
        told = told_payloads(&endpoint)?;
        Ok(told.len() >= answered.len())
    })?;
    ensure!(told == answered, "{told:?}");
    bed::stop(forebay)
}

#[test]
fn a_republished_message_reaches_subscribers_and_further_rules() -> Result<()> {
    let bed = Bed::start(&["out:1"], |builder| {
        let republish = json!({"republish": {
            "topic": "out/${topic(2)}",
            "qos": 1,
            "roleArn": ROLE,
            "headers": {
                "contentType": "application/json",
                "userProperties": [{"key": "from", "value": "${clientid()}"}],
            },
        }});
        let first = json!({
            "sql": "SELECT *, topic(2) AS device FROM 'in/+'",
            "awsIotSqlVersion": "2016-03-23",
            "actions": [republish],
        });
        builder.rule("first", &first)?.kinesis_rule(
            "second",
            "SELECT device FROM 'out/+'",
            "out",
            "${topic(2)}",
        )
    })?;
    let mut reader = Client::simple(bed.forebay.mqtt(), Version::V5, "reader")?;
    reader.subscribe(&[("out/#", 1)])?;
    let mut device = Client::simple(bed.forebay.mqtt(), Version::V3, "device-1")?;
    device.publish(Publish::new("in/a", r#"{"t":1}"#, 1))?;
    // The answer stands for the records of the whole chain.
    let records = bed.records("out")?;
    ensure!(
        records.len() == 1 && records[0].data == br#"{"device":"a"}"#,
        "{records:?}"
    );
    ensure!(records[0].partition_key == "a");
    let message = reader.receive(LIMIT)?;
    ensure!(
        message.topic == "out/a"
            && message.payload == br#"{"t":1,"device":"a"}"#
            && message.qos == 1
            && !message.retain
            && message.properties.text(id::CONTENT_TYPE) == Some("application/json")
            && message.properties.user() == [("from", "device-1")],
        "{message:?}"
    );
    bed.stop()
}

#[test]
fn a_document_may_be_republished_to_the_broker() -> Result<()> {
    let bed = Bed::start(&[], |builder| {
        let republish = json!({"republish": {"topic": "failures/${topic(2)}", "roleArn": ROLE}});
        let rule = document(
            "SELECT * FROM 'dt/+'",
            &[kinesis_action("missing")],
            &republish,
        );
        builder.spooled().rule("watched", &rule)
    })?;
    let mut reader = Client::simple(bed.forebay.mqtt(), Version::V5, "reader")?;
    reader.subscribe(&[("failures/#", 1)])?;
    let mut device = Client::simple(bed.forebay.mqtt(), Version::V5, "device")?;
    device.publish(Publish::new("dt/a", "x", 1))?;
    let message = reader.receive(LIMIT)?;
    let told: Value = serde_json::from_slice(&message.payload)?;
    ensure!(
        message.topic == "failures/a" && told["ruleName"] == "watched",
        "{told:#}"
    );
    bed.stop()
}

#[test]
fn what_is_too_large_goes_to_the_error_action_and_what_is_undefined_does_not() -> Result<()> {
    let bed = Bed::start(&["s:1", "errors:1"], |builder| {
        let actions = [kinesis_action("s")];
        let errors = kinesis_action("errors");
        let four_times = "SELECT a, a AS b, a AS c, a AS d FROM 'dt/large'";
        let undefined = "SELECT VALUE no.such.member FROM 'dt/undefined'";
        builder
            .rule("large", &document(four_times, &actions, &errors))?
            .rule("undefined", &document(undefined, &actions, &errors))
    })?;
    let mut device = Client::simple(bed.forebay.mqtt(), Version::V5, "device")?;
    let payload = json!({"a": "x".repeat(300 * 1024)}).to_string();
    for topic in ["dt/undefined", "dt/large"] {
        let outcome = device.publish(Publish::new(topic, payload.as_str(), 1))?;
        ensure!(outcome.reason == 0, "{topic}: {outcome:?}");
    }
    let records = bed.records("errors")?;
    ensure!(records.len() == 1, "{} documents", records.len());
    let told = records[0].json()?;
    ensure!(told["ruleName"] == "large", "{:#}", told["failures"]);
    ensure!(told["base64OriginalPayload"] == STANDARD.encode(&payload));
    ensure!(bed.records("s")?.is_empty());
    bed.stop()
}

#[test]
fn documents_wait_for_the_stream_of_an_error_action_that_is_not_there() -> Result<()> {
    let bed = Bed::start(&[], |builder| with_failing_rules(builder.spooled()))?;
    let mut device = Client::simple(bed.forebay.mqtt(), Version::V5, "device")?;
    for topic in ["dt/template", "dt/missing"] {
        let outcome = device.publish(Publish::new(topic, "x", 1))?;
        ensure!(outcome.reason == 0, "{topic}: {outcome:?}");
    }
    let endpoint = bed.streams.endpoint();
    kinesis::create_stream(&endpoint, "errors", 1)?;
    let records = kinesis::read_until(&endpoint, "errors", 2, LIMIT)?;
    let mut rules = BTreeSet::new();
    for record in records {
        rules.insert(record.json()?["ruleName"].to_string());
    }
    ensure!(
        rules == BTreeSet::from(["\"missing\"".into(), "\"template\"".into()]),
        "{rules:?}"
    );
    bed.stop()
}
