//! Error actions and republished messages, through a pipeline that is driven by hand.

use serde_json::{Value, json};

use super::*;
use forebay_pipeline::RepublishedMessage;

fn rule(name: &str, payload: Value, settings: RuleSettings) -> (RuleDocument, RuleSettings) {
    let text = payload.to_string();
    (
        RuleDocument::from_json(text.as_bytes(), Some(name)).unwrap(),
        settings,
    )
}

fn kinesis(stream: &str) -> Value {
    json!({"kinesis": {"streamName": stream, "partitionKey": "${topic()}", "roleArn": "r"}})
}

fn republish(topic: &str) -> Value {
    json!({"republish": {"topic": topic, "roleArn": "r", "qos": 1, "headers": {"contentType": "text/plain"}}})
}

fn document(filter: &str, actions: &[Value], error_action: Option<Value>) -> Value {
    let mut payload = json!({
        "sql": format!("SELECT * FROM '{filter}'"),
        "awsIotSqlVersion": "2016-03-23",
        "actions": actions,
    });
    if let Some(action) = error_action {
        payload["errorAction"] = action;
    }
    payload
}

fn set(rules: Vec<(RuleDocument, RuleSettings)>) -> Arc<RuleSet> {
    Arc::new(RuleSet::build(rules, RuleLimits::default()).unwrap())
}

fn watched() -> Arc<RuleSet> {
    let payload = document("dt/#", &[kinesis("s")], Some(kinesis("errors")));
    set(vec![rule("watched", payload, RuleSettings::default())])
}

fn config_with_room() -> PipelineConfig {
    PipelineConfig {
        ingest_bytes: 256 * 1024,
        output_bytes_per_message: 64 * 1024,
        ..config()
    }
}

impl Bed {
    fn run_error_actions(&mut self) {
        for intake in &mut self.pipeline.intakes {
            intake.run_error_actions(NOW, 1_700_000_000_000);
        }
    }

    fn all(&self, stream: &str) -> Vec<Record> {
        self.take(stream).into_iter().flatten().collect()
    }

    fn republished(&mut self) -> Vec<RepublishedMessage> {
        let mut all = Vec::new();
        for intake in &mut self.pipeline.intakes {
            let mut some = Vec::new();
            intake.take_republished(&mut some);
            all.append(&mut some);
        }
        all
    }
}

fn parse(record: &Record) -> Value {
    serde_json::from_slice(&record.data).unwrap()
}

#[test]
fn the_document_of_a_failed_record_answers_for_it() {
    let mut bed = Bed::new(config_with_room(), &watched());
    let (admission, ticket) = bed.publish(0, "dt/1", b"{}", QoS::AtLeastOnce);
    let pending = Admission::Pending {
        records: 1,
        ack: AckMode::Stored,
    };
    assert_eq!(admission, pending);
    bed.run(1);
    let failed = bed.all("s");
    assert!(failed[0].takes_configuration_errors());
    bed.settle(failed, true);
    assert!(bed.drain(0).finished.is_empty());
    assert!(bed.pipeline.intakes[0].has_error_actions());
    bed.run_error_actions();
    bed.run(1);
    let documents = bed.all("errors");
    assert_eq!(documents.len(), 1);
    assert_eq!(&*documents[0].partition_key, "dt/1");
    let told = parse(&documents[0]);
    assert_eq!(told["ruleName"], "watched");
    assert_eq!(told["topic"], "dt/1");
    assert_eq!(told["clientId"], "c");
    assert_eq!(told["sourceIp"], "N/A");
    assert_eq!(told["base64OriginalPayload"], "e30=");
    assert_eq!(told["failures"][0]["failedAction"], "KinesisAction");
    assert_eq!(told["failures"][0]["failedResource"], "s");
    assert_eq!(told["failures"][0]["errorCode"], "refused");
    assert!(
        bed.drain(0).finished.is_empty(),
        "its document is not stored"
    );
    bed.settle(documents, false);
    let finished = bed.drain(0).finished;
    assert_eq!((finished[0].slot, finished[0].failed), (ticket.slot, false));
    assert!(bed.pipeline.control.is_empty());
    let counts = bed.pipeline.control.conservation();
    assert_eq!(
        (
            counts.accepted,
            counts.stored,
            counts.failed,
            counts.difference()
        ),
        (2, 1, 1, 0)
    );
}

#[test]
fn a_publish_whose_document_fails_too_is_told_so() {
    let mut bed = Bed::new(config_with_room(), &watched());
    let (_, ticket) = bed.publish(1, "dt/1", b"{}", QoS::AtLeastOnce);
    bed.run(1);
    bed.settle(bed.all("s"), true);
    bed.run_error_actions();
    bed.run(1);
    bed.settle(bed.all("errors"), true);
    bed.run_error_actions();
    bed.run(1);
    assert!(
        bed.all("errors").is_empty(),
        "no error action of an error action"
    );
    let finished = bed.drain(1).finished;
    assert_eq!((finished[0].slot, finished[0].failed), (ticket.slot, true));
    assert!(bed.pipeline.control.is_empty());
    assert_eq!(bed.pipeline.control.conservation().difference(), 0);
}

#[test]
fn what_fails_before_it_is_a_record_has_its_document_in_the_same_admission() {
    let bad_stream =
        json!({"kinesis": {"streamName": "${name}", "partitionKey": "k", "roleArn": "r"}});
    let payload = document(
        "dt/#",
        &[
            bad_stream,
            kinesis("s"),
            json!({"lambda": {"functionArn": "f"}}),
        ],
        Some(kinesis("errors")),
    );
    let rules = set(vec![rule("r", payload, RuleSettings::default())]);
    let mut bed = Bed::new(config_with_room(), &rules);
    let (admission, _) = bed.publish(0, "dt/1", b"{}", QoS::AtLeastOnce);
    let pending = Admission::Pending {
        records: 3,
        ack: AckMode::Stored,
    };
    assert_eq!(admission, pending);
    bed.run(1);
    assert_eq!(bed.all("s").len(), 1);
    let actions: Vec<Value> = bed
        .all("errors")
        .iter()
        .map(|document| parse(document)["failures"][0]["failedAction"].clone())
        .collect();
    assert_eq!(actions, ["KinesisAction", "LambdaAction"]);
}

#[test]
fn a_record_for_one_stream_too_many_goes_to_the_error_action_in_the_same_admission() {
    let payload = document("dt/#", &[kinesis("s-${topic(2)}")], Some(kinesis("errors")));
    let rules = set(vec![rule("r", payload, RuleSettings::default())]);
    let config = PipelineConfig {
        max_streams: 2,
        ..config_with_room()
    };
    let mut bed = Bed::new(config, &rules);
    bed.publish(0, "dt/errors", b"{}", QoS::AtLeastOnce);
    bed.run(1);
    bed.publish(0, "dt/1", b"{}", QoS::AtLeastOnce);
    bed.run(1);
    let (admission, _) = bed.publish(0, "dt/2", b"{}", QoS::AtLeastOnce);
    // The error action's own stream is one too many as well: that is the end of it.
    assert_eq!(admission, Admission::Done { matched: true });

    let config = PipelineConfig {
        max_streams: 2,
        ..config_with_room()
    };
    let mut bed = Bed::new(config, &rules);
    bed.publish(0, "dt/1", b"{}", QoS::AtLeastOnce);
    bed.run(1);
    bed.settle(bed.all("s-1"), true);
    bed.run_error_actions();
    bed.run(1);
    let (admission, _) = bed.publish(0, "dt/2", b"{}", QoS::AtLeastOnce);
    assert!(matches!(admission, Admission::Pending { records: 1, .. }));
    bed.run(1);
    let documents = bed.all("errors");
    assert_eq!(
        parse(&documents[1])["failures"][0]["errorCode"],
        "too_many_streams"
    );
    assert_eq!(parse(&documents[1])["base64OriginalPayload"], "e30=");
}

#[test]
fn a_chain_of_republished_messages_is_one_admission() {
    let rules = set(vec![
        rule(
            "first",
            document("a/+", &[republish("b/${topic(2)}"), kinesis("s")], None),
            RuleSettings::default(),
        ),
        rule(
            "second",
            document("b/+", &[kinesis("t")], None),
            RuleSettings::default(),
        ),
    ]);
    let mut bed = Bed::new(config_with_room(), &rules);
    let (admission, _) = bed.publish(0, "a/1", b"x", QoS::AtLeastOnce);
    assert!(matches!(admission, Admission::Pending { records: 2, .. }));
    let republished = bed.republished();
    assert_eq!(republished.len(), 1);
    assert_eq!(republished[0].topic, "b/1");
    assert_eq!(
        republished[0].properties.content_type.as_deref(),
        Some("text/plain")
    );
    bed.run(1);
    let record = bed.all("t").remove(0);
    assert_eq!((&*record.partition_key, &*record.data), ("b/1", &b"x"[..]));
    assert_eq!(bed.all("s").len(), 1);
}

#[test]
fn a_loop_of_republished_messages_ends_after_eight_and_tells_the_error_action() {
    let rules = set(vec![rule(
        "loop",
        document(
            "a/#",
            &[republish("a/${topic(2)}"), kinesis("s")],
            Some(kinesis("errors")),
        ),
        RuleSettings::default(),
    )]);
    let mut bed = Bed::new(config_with_room(), &rules);
    let (admission, _) = bed.publish(0, "a/1", b"x", QoS::AtLeastOnce);
    assert!(
        matches!(admission, Admission::Pending { records: 10, .. }),
        "{admission:?}"
    );
    assert_eq!(bed.republished().len(), 8);
    bed.run(1);
    assert_eq!(bed.all("s").len(), 9);
    let document = parse(&bed.all("errors")[0]);
    assert_eq!(document["failures"][0]["failedAction"], "RepublishAction");
    assert_eq!(document["clientId"], "N/A");
}

#[test]
fn a_document_may_be_republished_and_its_records_answer_for_the_failed_one() {
    let rules = set(vec![
        rule(
            "watched",
            document(
                "dt/#",
                &[kinesis("s")],
                Some(republish("failures/${topic(2)}")),
            ),
            RuleSettings::default(),
        ),
        rule(
            "failures",
            document("failures/#", &[kinesis("errors"), kinesis("audit")], None),
            RuleSettings::default(),
        ),
    ]);
    let mut bed = Bed::new(config_with_room(), &rules);
    let (_, ticket) = bed.publish(0, "dt/1", b"x", QoS::AtLeastOnce);
    bed.run(1);
    bed.settle(bed.all("s"), true);
    bed.run_error_actions();
    let republished = bed.republished();
    assert_eq!(republished[0].topic, "failures/1");
    bed.run(1);
    bed.settle(bed.all("errors"), false);
    assert!(bed.drain(0).finished.is_empty(), "one of two is stored");
    bed.settle(bed.all("audit"), false);
    let finished = bed.drain(0).finished;
    assert_eq!((finished[0].slot, finished[0].failed), (ticket.slot, false));
}

#[test]
fn a_document_that_nobody_wants_answers_at_once() {
    let payload = document("dt/#", &[kinesis("s")], Some(republish("failures")));
    let rules = set(vec![rule("watched", payload, RuleSettings::default())]);
    let mut bed = Bed::new(config_with_room(), &rules);
    bed.publish(0, "dt/1", b"x", QoS::AtLeastOnce);
    bed.run(1);
    bed.settle(bed.all("s"), true);
    bed.run_error_actions();
    assert_eq!(bed.republished().len(), 1);
    assert_eq!(bed.drain(0).finished.len(), 1);
    assert!(bed.pipeline.control.is_empty());
}

#[test]
fn documents_have_a_reserve_of_their_own_and_wait_for_it() {
    let config = PipelineConfig {
        ingest_bytes: 8 * 1024 * 1024,
        per_stream_share: 1.0,
        output_bytes_per_message: 1024 * 1024,
        ..config()
    };
    let mut bed = Bed::new(config, &watched());
    let payload = vec![b'x'; 600 * 1024];
    for _ in 0..3 {
        bed.publish(0, "dt/1", &payload, QoS::AtLeastOnce);
    }
    bed.run(1);
    bed.settle(bed.all("s"), true);
    for left in (0..3).rev() {
        bed.run_error_actions();
        bed.run(1);
        let documents = bed.all("errors");
        assert_eq!(documents.len(), 1, "each fills the reserve");
        // The one that was taken is in the hands of the test.
        assert_eq!(bed.pipeline.control.pending(), left);
        bed.settle(documents, false);
    }
    assert_eq!(bed.drain(0).finished.len(), 3);
    assert!(bed.pipeline.control.is_empty());
}

#[test]
fn a_rule_may_hold_or_fail_what_the_service_refuses_for_its_configuration() {
    use forebay_core::OnConfigError;
    for (setting, has_action, fails) in [
        (None, true, true),
        (None, false, false),
        (Some(OnConfigError::Hold), true, false),
        (Some(OnConfigError::ErrorAction), false, true),
    ] {
        let error_action = has_action.then(|| kinesis("errors"));
        let settings = RuleSettings {
            on_config_error: setting,
            ..RuleSettings::default()
        };
        let rules = set(vec![rule(
            "r",
            document("dt/#", &[kinesis("s")], error_action),
            settings,
        )]);
        let mut bed = Bed::new(config_with_room(), &rules);
        let (_, ticket) = bed.publish(0, "dt/1", b"x", QoS::AtLeastOnce);
        bed.run(1);
        let records = bed.all("s");
        assert_eq!(
            records[0].takes_configuration_errors(),
            fails,
            "{setting:?} {has_action}"
        );
        if !has_action {
            bed.settle(records, true);
            let finished = bed.drain(0).finished;
            assert_eq!((finished[0].slot, finished[0].failed), (ticket.slot, true));
        }
    }
}

#[test]
fn a_refused_or_dropped_publish_republishes_nothing() {
    let payload = document("dt/#", &[republish("b"), kinesis("s")], None);
    let settings = RuleSettings {
        on_full: Some(OnFull::Reject),
        ..RuleSettings::default()
    };
    let rules = set(vec![rule("r", payload, settings)]);
    let mut bed = Bed::new(config(), &rules);
    let fill = vec![b'x'; 3000];
    bed.publish(0, "dt/1", &fill, QoS::AtLeastOnce);
    assert_eq!(bed.republished().len(), 1);
    let (admission, _) = bed.publish(0, "dt/1", &fill, QoS::AtLeastOnce);
    assert_eq!(admission, Admission::Rejected);
    assert!(bed.republished().is_empty());
}
