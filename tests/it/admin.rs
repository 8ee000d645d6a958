//! The admin port: metrics, health and status.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use forebay_tests::forebay::{Builder, Forebay};
use forebay_tests::http;
use forebay_tests::kinesis;
use forebay_tests::mqtt::{Client, Publish, Version};
use forebay_tests::wait;
use serde_json::Value;

use crate::bed::{self, Bed, LIMIT, until_metrics};

/// What is there before anything was counted, so that a rate has a beginning.
const FROM_THE_START: &[&str] = &[
    "build_info",
    "bytes_received_total",
    "bytes_sent_total",
    "connections",
    "connections_stalled",
    "connects_total",
    "disconnects_total",
    "inflight_messages",
    "ingest_budget_used_bytes",
    "kinesis_user_records_failed_total",
    "limit_hits_total",
    "packets_received_total",
    "packets_sent_total",
    "protocol_errors_total",
    "publish_dropped_total",
    "publish_received_bytes_total",
    "publish_received_total",
    "publish_rejected_total",
    "publish_sent_total",
    "queued_bytes",
    "queued_messages",
    "records_accepted_total",
    "records_conservation_difference",
    "records_pending",
    "records_settled_total",
    "retained_bytes",
    "retained_messages",
    "rule_errors_total",
    "rule_executed_total",
    "rule_matched_total",
    "rules_loaded",
    "sessions",
    "subscribe_total",
    "subscriptions",
];

/// What a stream has once records went through it. Histograms are looked for by their count.
const OF_A_STREAM: &[&str] = &[
    "connect_duration_seconds_count",
    "kinesis_batch_closed_total",
    "kinesis_buffering_seconds_count",
    "kinesis_bytes_stored_total",
    "kinesis_end_to_end_seconds_count",
    "kinesis_inflight_bytes",
    "kinesis_inflight_requests",
    "kinesis_lanes_per_request_count",
    "kinesis_limiter_factor",
    "kinesis_limiter_wait_seconds_total",
    "kinesis_oldest_pending_seconds",
    "kinesis_order_inversions_total",
    "kinesis_pending_bytes",
    "kinesis_possible_duplicates_total",
    "kinesis_put_payload_units_total",
    "kinesis_records_per_request_count",
    "kinesis_records_stored_total",
    "kinesis_request_fill_ratio_count",
    "kinesis_request_seconds_count",
    "kinesis_retries_per_record_count",
    "kinesis_shard_map_epoch",
    "kinesis_shard_map_refresh_total",
    "kinesis_shard_utilization_ratio",
    "kinesis_shards_open",
    "kinesis_user_bytes_stored_total",
    "kinesis_user_records_pending",
    "kinesis_user_records_received_total",
    "kinesis_user_records_stored_total",
    "kinesis_wrong_shard_total",
    "publish_ack_seconds_count",
    "rule_actions_total",
    "rule_evaluation_seconds_count",
];

/// The process's own, which every exporter calls the same.
const OF_THE_PROCESS: &[&str] = &[
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
];

const RECORDS: u64 = 300;

fn with_rules(stream: &'static str) -> impl FnOnce(Builder) -> Result<Builder> {
    move |builder| {
        builder
            .kinesis_rule("all", "SELECT * FROM 'dt/#'", stream, "${topic()}")?
            .kinesis_rule("hot", "SELECT * FROM 'dt/#' WHERE t > 290", stream, "${t}")
    }
}

/// Publishes 300 messages, of which 9 are hot, and 5 that are not JSON.
fn publish(bed: &Bed) -> Result<()> {
    let mut client = Client::simple(bed.forebay.mqtt(), Version::V5, "device")?;
    let messages =
        (0..RECORDS).map(|t| Publish::new(&format!("dt/{}", t % 10), format!("{{\"t\":{t}}}"), 1));
    client.publish_all(messages, 50)?;
    client.publish_all((0..5).map(|_| Publish::new("dt/bad", "{", 1)), 5)?;
    Ok(())
}

#[test]
fn every_metric_is_there_under_its_name() -> Result<()> {
    let bed = Bed::start(&["telemetry:4"], with_rules("telemetry"))?;
    let metrics = bed.forebay.metrics()?;
    let absent = |names: &[&str]| -> Vec<String> {
        let names = names.iter().map(|name| format!("forebay_{name}"));
        names.filter(|name| !metrics.has(name)).collect()
    };
    let mut missing = absent(FROM_THE_START);
    missing.extend(
        OF_THE_PROCESS
            .iter()
            .filter(|name| !metrics.has(name))
            .map(|name| (*name).into()),
    );
    publish(&bed)?;
    let metrics = bed.forebay.metrics()?;
    let of_a_stream = OF_A_STREAM.iter().map(|name| format!("forebay_{name}"));
    missing.extend(of_a_stream.filter(|name| !metrics.has(name)));
    ensure!(missing.is_empty(), "missing: {missing:#?}");
    bed.stop()
}

#[test]
fn the_numbers_are_those_of_what_happened() -> Result<()> {
    let bed = Bed::start(&["telemetry:4"], with_rules("telemetry"))?;
    publish(&bed)?;
    // 300 + 5 by the first rule, which reads no payload, and 9 by the second.
    let stored = (RECORDS + 5 + 9) as f64;
    // Acknowledged is stored. What is waited for here is handed over at the end of a turn, and the
    // sender shows its streams once per second.
    let metrics = until_metrics(&bed.forebay, "everything to be counted", |metrics| {
        metrics.sum("forebay_publish_ack_seconds_count", &[]) == (RECORDS + 5) as f64
            && metrics.sum("forebay_kinesis_shards_open", &[("stream", "telemetry")]) == 4.0
    })?;
    let expect = |name: &str, labels: &[(&str, &str)], wanted: f64| {
        let got = metrics.sum(name, labels);
        ensure!(got == wanted, "{name} {labels:?} is {got}, not {wanted}");
        Ok(())
    };
    expect("forebay_records_accepted_total", &[], stored)?;
    expect(
        "forebay_records_settled_total",
        &[("how", "stored")],
        stored,
    )?;
    expect("forebay_records_settled_total", &[("how", "failed")], 0.0)?;
    expect("forebay_records_pending", &[], 0.0)?;
    expect("forebay_records_conservation_difference", &[], 0.0)?;
    expect("forebay_ingest_budget_used_bytes", &[], 0.0)?;
    let published = (RECORDS + 5) as f64;
    expect(
        "forebay_publish_received_total",
        &[("protocol", "5.0"), ("qos", "1")],
        published,
    )?;
    expect(
        "forebay_packets_sent_total",
        &[("type", "puback")],
        published,
    )?;
    for rule in ["all", "hot"] {
        expect("forebay_rule_matched_total", &[("rule", rule)], published)?;
    }
    let executed = "forebay_rule_executed_total";
    expect(
        executed,
        &[("rule", "all"), ("result", "selected")],
        published,
    )?;
    expect(executed, &[("rule", "hot"), ("result", "selected")], 9.0)?;
    // What is not JSON has no `t`: WHERE says no, and the attempt to read it is counted besides.
    expect(executed, &[("rule", "hot"), ("result", "filtered")], 296.0)?;
    expect(executed, &[("rule", "hot"), ("result", "error")], 0.0)?;
    expect(
        "forebay_rule_errors_total",
        &[("rule", "hot"), ("kind", "json")],
        5.0,
    )?;
    expect("forebay_rules_loaded", &[], 2.0)?;
    expect(
        "forebay_kinesis_user_records_stored_total",
        &[("stream", "telemetry")],
        stored,
    )?;
    expect(
        "forebay_kinesis_records_stored_total",
        &[("stream", "telemetry")],
        stored,
    )?;
    expect("forebay_kinesis_wrong_shard_total", &[], 0.0)?;
    ensure!(bed.records("telemetry")?.len() as f64 == stored);
    bed.stop()
}

#[test]
fn connections_are_counted_while_they_last() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let older = Client::simple(forebay.mqtt(), Version::V3, "older")?;
    let newer = [1, 2].map(|n| Client::simple(forebay.mqtt(), Version::V5, &format!("newer-{n}")));
    let count = |protocol, wanted| {
        until_metrics(
            &forebay,
            &format!("{wanted} connections of {protocol}"),
            |metrics| {
                let labels = [("listener", "default"), ("protocol", protocol)];
                metrics.sum("forebay_connections", &labels) == wanted
            },
        )
    };
    count("3.1.1", 1.0)?;
    count("5.0", 2.0)?;
    older.disconnect()?;
    drop(newer);
    count("3.1.1", 0.0)?;
    let metrics = count("5.0", 0.0)?;
    ensure!(metrics.sum("forebay_connects_total", &[("result", "ok")]) == 3.0);
    for (reason, wanted) in [
        ("client_initiated_disconnect", 1.0),
        ("connection_lost", 2.0),
    ] {
        let got = metrics.sum("forebay_disconnects_total", &[("reason", reason)]);
        ensure!(got == wanted, "{reason}: {got}");
    }
    bed::stop(forebay)
}

/// Asks until `holds`: what the sender shows of its streams is up to a second old.
fn until_status(forebay: &Forebay, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    let waited = wait::until(what, LIMIT, || {
        let answer = forebay.get("/statusz")?;
        ensure!(answer.status == 200 && answer.header("content-type") == Some("application/json"));
        last = serde_json::from_str(&answer.body)?;
        Ok(holds(&last).then(|| last.clone()))
    });
    waited.with_context(|| format!("{last:#}"))
}

#[test]
fn statusz_shows_what_runs_and_where_every_record_is() -> Result<()> {
    let bed = Bed::start(&["telemetry:4"], with_rules("telemetry"))?;
    publish(&bed)?;
    let status = until_status(&bed.forebay, "the stream to be shown at rest", |status| {
        let stream = &status["streams"][0];
        stream["shards"] == 4 && stream["pending_records"] == 0
    })?;
    let at = |pointer: &str| {
        status
            .pointer(pointer)
            .with_context(|| format!("{pointer}: {status:#}"))
    };
    ensure!(at("/name")? == "under-test" && at("/draining")? == false);
    ensure!(at("/listeners/0/name")? == "default" && at("/listeners/0/ack")? == "stored");
    ensure!(at("/listeners/0/address")? == &bed.forebay.mqtt().to_string());
    ensure!(at("/rules/0/name")? == "all" && at("/rules/1/name")? == "hot");
    ensure!(
        at("/rules/0/matched")? == 305 && at("/rules/1/errors")? == 5,
        "{status:#}"
    );
    ensure!(at("/streams/0/name")? == "telemetry" && status["streams"][0]["blocked"].is_null());
    ensure!(at("/budgets/0/name")? == "memory.ingest" && at("/budgets/0/used_bytes")? == 0);
    ensure!(at("/conservation/accepted")? == 314 && at("/conservation/stored")? == 314);
    ensure!(at("/conservation/pending")? == 0 && at("/conservation/difference")? == 0);
    bed.stop()
}

/// Neither a stream that does not exist nor records that wait make the process unready.
#[test]
fn a_stream_that_does_not_exist_is_shown_and_takes_nobody_out_of_the_balancer() -> Result<()> {
    let bed = Bed::start(&[], with_rules("later"))?;
    let mut client = Client::simple(bed.forebay.mqtt(), Version::V5, "device")?;
    client.publish(Publish::new("dt/x", "1", 0))?;
    let metrics = until_metrics(&bed.forebay, "the stream to be called blocked", |metrics| {
        metrics.sum("forebay_kinesis_blocked", &[("stream", "later")]) == 1.0
    })?;
    ensure!(metrics.sum("forebay_records_pending", &[]) == 1.0);
    ensure!(metrics.sum("forebay_records_conservation_difference", &[]) == 0.0);
    // The status of streams is as old as its last publication, ten times a second.
    wait::until_true(
        "the stream and its error to be shown",
        Duration::from_secs(10),
        || {
            let body = bed.forebay.get("/statusz")?.body;
            let status: Value = serde_json::from_str(&body)?;
            let stream = &status["streams"][0];
            Ok(stream["blocked"].is_string()
                && stream["last_error"]["code"] == "ResourceNotFoundException")
        },
    )?;
    for path in ["/readyz", "/livez"] {
        ensure!(http::get(bed.forebay.admin(), path)?.status == 200);
    }
    kinesis::create_stream(&bed.streams.endpoint(), "later", 1)?;
    wait::until_true("the record to be stored", Duration::from_secs(40), || {
        Ok(bed.forebay.metrics()?.sum("forebay_records_pending", &[]) == 0.0)
    })?;
    bed.stop()
}

/// During `predrain` the balancer is told to look elsewhere, and clients are still served.
#[test]
fn readyz_fails_before_anybody_is_turned_away() -> Result<()> {
    let mut forebay = Builder::new()?.set("shutdown.predrain", "\"2s\"").start()?;
    let (admin, broker) = (forebay.admin(), forebay.mqtt());
    let mut client = Client::simple(broker, Version::V5, "before")?;
    for path in ["/readyz", "/livez"] {
        ensure!(http::get(admin, path)?.status == 200);
    }
    forebay.process().terminate()?;
    let answer = wait::until("/readyz to fail", LIMIT, || {
        Ok(Some(http::get(admin, "/readyz")?).filter(|answer| answer.status != 200))
    })?;
    ensure!(
        answer.status == 503 && answer.body.contains("draining"),
        "{answer:?}"
    );
    ensure!(http::get(admin, "/livez")?.status == 200);
    client.publish(Publish::new("a", "x", 1))?;
    Client::simple(broker, Version::V3, "late")?.publish(Publish::new("a", "x", 1))?;
    let finished = forebay.wait(LIMIT)?;
    ensure!(finished.code() == Some(0), "{finished:?}");
    Ok(())
}

/// A page in a browser may reach loopback under another name; it gets nothing.
#[test]
fn only_get_under_a_local_name_is_answered() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let admin = forebay.admin();
    ensure!(http::get(admin, "/")?.status == 404);
    ensure!(http::post(admin, "/statusz", &[], b"{}")?.status == 405);
    let strange = http::get_from(admin, "/metrics", "attacker.example")?;
    ensure!(
        strange.status == 421 && !strange.body.contains("forebay_"),
        "{strange:?}"
    );
    bed::stop(forebay)
}

#[test]
fn the_admin_port_can_be_off_and_is_never_open_to_others() -> Result<()> {
    let builder = Builder::new()?.set("admin.bind", "\"off\"");
    let forebay = builder.start()?;
    ensure!(forebay.events("admin open").is_empty());
    bed::stop(forebay)?;
    let finished = Builder::new()?
        .set("admin.bind", "\"0.0.0.0:0\"")
        .run_to_end()?;
    ensure!(
        finished.code() == Some(78) && finished.stderr.contains("admin.bind"),
        "{finished:?}"
    );
    Ok(())
}
