//! The rule documents of the AWS IoT developer guide, page "Kinesis Data Streams", as they stand there.

use anyhow::{Result, ensure};
use forebay_tests::forebay;
use forebay_tests::mqtt::{Client, Publish, Version};
use forebay_tests::process;
use serde_json::{Value, json};

use crate::bed::{Bed, LIMIT};

/// The action with a fixed stream, and the one with templates for stream and key.
fn examples() -> [(&'static str, Value); 2] {
    let example = |stream: &str, key: &str| {
        json!({ "topicRulePayload": {
            "sql": "SELECT * FROM 'some/topic'",
            "ruleDisabled": false,
            "awsIotSqlVersion": "2016-03-23",
            "actions": [{ "kinesis": {
                "streamName": stream,
                "partitionKey": key,
                "roleArn": "arn:aws:iam::123456789012:role/aws_iot_kinesis",
            }}],
        }})
    };
    [
        ("fixed", example("my_kinesis_stream", "${topic()}")),
        ("templates", example("${topic()}", "${timestamp()}")),
    ]
}

#[test]
fn both_documents_run_unchanged() -> Result<()> {
    let bed = Bed::start(&["my_kinesis_stream:2", "telemetry:1"], |mut builder| {
        for (name, document) in examples() {
            builder = builder.rule(name, &document)?;
        }
        Ok(builder)
    })?;
    let status: Value = serde_json::from_str(&bed.forebay.get("/statusz")?.body)?;
    let loaded: Vec<_> = status["rules"].as_array().into_iter().flatten().collect();
    let names: Vec<_> = loaded
        .iter()
        .map(|rule| (&rule["name"], &rule["enabled"]))
        .collect();
    ensure!(
        names
            == [
                (&json!("fixed"), &json!(true)),
                (&json!("templates"), &json!(true))
            ]
    );

    // A message on the topic of both: a stream cannot be called `some/topic`, so the second one
    // fails, which is counted and keeps nothing back.
    let mut client = Client::simple(bed.forebay.mqtt(), Version::V3, "device")?;
    client.publish(Publish::new("some/topic", "{\"temperature\": 51}", 1))?;
    let records = bed.records("my_kinesis_stream")?;
    ensure!(
        records.len() == 1 && records[0].partition_key == "some/topic",
        "{records:?}"
    );
    ensure!(records[0].data == b"{\"temperature\": 51}");
    let failed = [("rule", "templates"), ("kind", "template")];
    ensure!(
        bed.forebay
            .metrics()?
            .sum("forebay_rule_errors_total", &failed)
            == 1.0
    );

    // Basic Ingest takes the first three levels off the topic, and what is left names a stream.
    let outcome = client.publish(Publish::new("$aws/rules/templates/telemetry", "x", 1))?;
    ensure!(outcome.reason == 0);
    let records = bed.records("telemetry")?;
    ensure!(records.len() == 1 && records[0].data == b"x", "{records:?}");
    let milliseconds: u64 = records[0].partition_key.parse()?;
    ensure!(milliseconds > 1_600_000_000_000, "{milliseconds}");
    bed.stop()
}

#[test]
fn both_documents_pass_rule_test() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    std::fs::write(folder.path().join("payload"), "{\"temperature\": 51}")?;
    // The second one needs a topic that can name a stream.
    for ((name, document), topic) in examples().into_iter().zip(["some/topic", "telemetry"]) {
        let text = document.to_string().replace("some/topic", topic);
        std::fs::write(folder.path().join(format!("{name}.json")), text)?;
        let mut command = forebay::command([
            "rule",
            "test",
            "--json",
            "--rule",
            &format!("{name}.json"),
            "--topic",
            topic,
            "--payload",
            "payload",
            "--now",
            "1700000000000",
        ])?;
        command.current_dir(folder.path());
        let finished = process::run("forebay", &mut command, LIMIT)?.expect_success()?;
        let result: Value = serde_json::from_str(&finished.stdout)?;
        let record = &result["records"][0];
        let (stream, key) = match name {
            "fixed" => ("my_kinesis_stream", "some/topic"),
            _ => ("telemetry", "1700000000000"),
        };
        ensure!(
            record["stream"] == stream && record["partition_key"] == key,
            "{result:#}"
        );
        ensure!(record["output"] == "{\"temperature\": 51}", "{result:#}");
    }
    Ok(())
}
