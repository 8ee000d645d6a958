//! Messages that come over HTTP go the way of a PUBLISH.

use std::time::Duration;

use anyhow::{Result, ensure};
use forebay_tests::mqtt::{Client, Property, Publish, Version};
use forebay_tests::{foreign, http, kinesis, process, wait};
use serde_json::{Value, json};

use crate::bed::{Bed, LIMIT, until_metrics};
use crate::control_api::{call, document, done};

#[test]
fn subscribers_rules_and_the_retained_store_get_it() -> Result<()> {
    let bed = Bed::start(&["telemetry:1"], |builder| {
        let sql = "SELECT encode(*, 'base64') AS body, clientid() AS client, topic() AS topic, sourceip() AS ip, get_mqtt_property('content_type') AS type, get_user_properties('k') AS k FROM 'h/#'";
        builder.rule("http", &document(sql, "telemetry"))
    })?;
    let forebay = &bed.forebay;
    let mut client = Client::simple(forebay.mqtt(), Version::V5, "subscriber")?;
    client.subscribe(&[("h/#", 1)])?;
    let mut command = foreign::tool("aws")?;
    command.args([
        "iot-data", "publish", "--topic", "h/é x/1", "--qos", "1", "--retain",
    ]);
    command.args([
        "--payload",
        "AP8=",
        "--content-type",
        "a/b",
        "--message-expiry",
        "60",
    ]);
    command.args(["--user-properties", r#"[{"k": "v"}, {"k": "w"}]"#]);
    command.args(["--correlation-data", "aWQ=", "--response-topic", "r/t"]);
    command.args(["--payload-format-indicator", "UTF8_DATA"]);
    command.args(["--endpoint-url", &format!("http://{}", forebay.admin())]);
    process::run("aws", &mut command, Duration::from_secs(60))?.expect_success()?;

    let got = client.receive(LIMIT)?;
    ensure!(
        got.topic == "h/é x/1" && got.payload == b"AP8=" && got.qos == 1,
        "{got:?}"
    );
    let properties = &got.properties;
    ensure!(
        properties.text(3) == Some("a/b") && properties.text(8) == Some("r/t"),
        "{got:?}"
    );
    ensure!(properties.user() == [("k", "v"), ("k", "w")], "{got:?}");
    ensure!(
        properties.get(9) == Some(&Property::Binary(b"id".to_vec())),
        "{got:?}"
    );
    ensure!(properties.number(1) == Some(1), "{got:?}");
    ensure!(
        properties
            .number(2)
            .is_some_and(|left| (50..=60).contains(&left)),
        "{got:?}"
    );

    let records = kinesis::read_until(&bed.streams.endpoint(), "telemetry", 1, LIMIT)?;
    let record = records[0].json()?;
    let expected = json!({
        "body": "QVA4PQ==", "client": "n/a", "topic": "h/é x/1", "ip": "127.0.0.1",
        "type": "a/b", "k": ["v", "w"],
    });
    ensure!(record == expected, "{record:#}");

    let mut late = Client::simple(forebay.mqtt(), Version::V5, "late")?;
    late.subscribe(&[("h/+/1", 1)])?;
    let kept = late.receive(LIMIT)?;
    ensure!(kept.retain && kept.payload == b"AP8=", "{kept:?}");
    let metrics = forebay.metrics()?;
    let http = [("protocol", "http"), ("qos", "1")];
    ensure!(metrics.value("forebay_publish_received_total", &http)? == 1.0);
    client.disconnect()?;
    late.disconnect()?;
    bed.stop()
}

#[test]
fn both_forms_of_a_topic_and_any_body_are_taken() -> Result<()> {
    let bed = Bed::start(&["telemetry:1"], |builder| {
        builder.rule("all", &document("SELECT * FROM 'b/#'", "telemetry"))
    })?;
    let bodies: [(&str, &[u8]); 5] = [
        ("/topics/b/raw/slashes?qos=1", b"{\"a\": 1.50}"),
        ("/topics/b%2Fraw%2Fslashes?qos=1", b"\x00\xff\n"),
        ("/topics/b%2f%C3%A9%20%25?qos=1", b"x"),
        ("/topics/b//?qos=1", b""),
        ("/topics/$aws/rules/all/any/topic?qos=1", b"basic"),
    ];
    for (path, body) in bodies {
        let answer = call(&bed.forebay, "POST", path, body)?;
        let said: Value = serde_json::from_str(&answer.body)?;
        ensure!(
            answer.status == 200 && said["message"] == "OK",
            "{path}: {answer:?}"
        );
        ensure!(
            said["traceId"].as_str().is_some_and(|id| id.len() == 36),
            "{answer:?}"
        );
    }
    let records = kinesis::read_until(&bed.streams.endpoint(), "telemetry", 5, LIMIT)?;
    let got: Vec<_> = records
        .iter()
        .map(|record| (record.partition_key.as_str(), record.data.as_slice()))
        .collect();
    let topics = [
        "b/raw/slashes",
        "b/raw/slashes",
        "b/é %",
        "b//",
        "any/topic",
    ];
    let expected: Vec<_> = topics
        .into_iter()
        .zip(bodies.map(|(_, body)| body))
        .collect();
    ensure!(got == expected, "{got:?}");
    bed.stop()
}

/// With QoS 1 the answer waits for what the rule's acknowledgement promises; a record that fails for good is no success.
#[test]
fn the_answer_means_what_a_puback_means() -> Result<()> {
    let bed = Bed::start(&[], |builder| {
        builder.rule("later", &document("SELECT * FROM 'w'", "later"))
    })?;
    let forebay = &bed.forebay;
    let admin = forebay.admin();
    let waiting = std::thread::spawn(move || {
        let signed = ("Authorization", "AWS4-HMAC-SHA256 Credential=x");
        http::send(admin, "POST", "/topics/w?qos=1", &[signed], b"waits")
    });
    until_metrics(forebay, "the record to wait for its stream", |metrics| {
        metrics.sum("forebay_records_pending", &[]) == 1.0
    })?;
    ensure!(!waiting.is_finished());
    // QoS 0 waits for nothing.
    let answer = call(forebay, "POST", "/topics/w", b"gone")?;
    ensure!(answer.status == 200, "{answer:?}");
    // A client that gave up leaves nothing behind that a stop would wait for.
    let unread = "POST /topics/w?qos=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: AWS4-HMAC-SHA256 x\r\nContent-Length: 1\r\n\r\nx";
    let mut cut = std::net::TcpStream::connect(admin)?;
    std::io::Write::write_all(&mut cut, unread.as_bytes())?;
    until_metrics(forebay, "the record of the third message", |metrics| {
        metrics.sum("forebay_records_pending", &[]) == 3.0
    })?;
    drop(cut);
    wait::until_true("the third publish to be given up", LIMIT, || {
        Ok(forebay
            .metrics()?
            .sum("forebay_inflight_messages", &[("direction", "in")])
            == 1.0)
    })?;
    ensure!(!waiting.is_finished());
    kinesis::create_stream(&bed.streams.endpoint(), "later", 1)?;
    let answer = match waiting.join() {
        Ok(answer) => answer?,
        Err(_) => anyhow::bail!("the caller panicked"),
    };
    ensure!(answer.status == 200, "{answer:?}");
    let records = kinesis::read_until(&bed.streams.endpoint(), "later", 3, LIMIT)?;
    ensure!(records.len() == 3, "{records:?}");
    bed.stop()
}

/// A stop answers what waits instead of keeping it, and takes nothing new.
#[test]
fn a_stop_answers_what_waits() -> Result<()> {
    let mut bed = Bed::start(&[], |builder| {
        let builder = builder.rule("later", &document("SELECT * FROM 'w'", "missing"))?;
        Ok(builder.set("shutdown.deadline", "\"2s\""))
    })?;
    let admin = bed.forebay.admin();
    let signed = ("Authorization", "AWS4-HMAC-SHA256 Credential=x");
    let waiting =
        std::thread::spawn(move || http::send(admin, "POST", "/topics/w?qos=1", &[signed], b"x"));
    until_metrics(&bed.forebay, "the record to wait", |metrics| {
        metrics.sum("forebay_records_pending", &[]) == 1.0
    })?;
    bed.forebay.process().terminate()?;
    let answer = match waiting.join() {
        Ok(answer) => answer?,
        Err(_) => anyhow::bail!("the caller panicked"),
    };
    ensure!(answer.status == 503, "{answer:?}");
    let finished = bed.forebay.wait(LIMIT)?;
    ensure!(finished.code() == Some(0), "{finished:?}");
    Ok(())
}

/// A rule made a moment ago takes the very next message, over HTTP and over MQTT, on any worker.
#[test]
fn a_new_rule_takes_the_next_message() -> Result<()> {
    let bed = Bed::start(&["telemetry:1"], |builder| {
        Ok(builder.set("server.workers", "3"))
    })?;
    let forebay = &bed.forebay;
    let mut clients = Vec::new();
    for n in 0..6 {
        clients.push(Client::simple(
            forebay.mqtt(),
            Version::V5,
            &format!("c{n}"),
        )?);
    }
    for round in 0..20 {
        let rule = format!("/rules/round_{round}");
        let sql = format!("SELECT {round} AS round FROM 'n/{round}/#'");
        done(forebay, "POST", &rule, &document(&sql, "telemetry"))?;
        for (n, client) in clients.iter_mut().enumerate() {
            client.publish(Publish::new(&format!("n/{round}/{n}"), "{}", 1))?;
        }
        let answer = call(
            forebay,
            "POST",
            &format!("/topics/n/{round}/http?qos=1"),
            b"{}",
        )?;
        ensure!(answer.status == 200, "{answer:?}");
        done(forebay, "DELETE", &rule, &json!({}))?;
        for (n, client) in clients.iter_mut().enumerate() {
            client.publish(Publish::new(&format!("n/{round}/{n}"), "{}", 1))?;
        }
    }
    let records = kinesis::read_until(&bed.streams.endpoint(), "telemetry", 140, LIMIT)?;
    ensure!(records.len() == 140, "{} records", records.len());
    for client in clients {
        client.disconnect()?;
    }
    bed.stop()
}
