//! Closed loops against a scripted broker.

use std::collections::HashMap;
use std::time::Duration;

use forebay_core::QoS;

use super::{QuickConfig, QuickError, QuickReport, run};
use crate::mqtt::Version;
use crate::telemetry::Stamp;
use crate::test_broker::{Deed, Taken, TestBroker};

fn config(broker: &TestBroker) -> QuickConfig {
    let mut config = QuickConfig::new(broker.address.into());
    config.connections = 4;
    config.keys = 10;
    config.threads = 2;
    config.warmup = Duration::from_millis(20);
    config.duration = Duration::from_millis(100);
    config
}

fn finish(config: &QuickConfig) -> QuickReport {
    run(config, &mut |_| {}).unwrap()
}

/// Every key's numbers came without gap and in order, under its own topic.
fn assert_in_order(taken: &[Taken]) {
    let mut last: HashMap<String, u64> = HashMap::new();
    for Taken { topic, payload } in taken {
        let stamp = Stamp::read(payload).unwrap();
        assert_eq!(*topic, format!("dt/{}/telemetry", stamp.device));
        let last = last.entry(stamp.device.into_owned()).or_default();
        assert_eq!(stamp.seq, *last + 1);
        *last = stamp.seq;
    }
    assert_eq!(last.len(), 10);
}

#[test]
fn every_quality_of_service_and_version_is_published_in_order_and_counted() {
    for version in [Version::V311, Version::V5] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let broker = TestBroker::start(|_| Deed::Acknowledge);
            let mut config = config(&broker);
            (config.version, config.qos) = (version, qos);
            let report = finish(&config);
            let taken = broker.taken.lock().unwrap();
            assert_in_order(&taken);
            assert!(taken.iter().all(|it| it.payload.len() == 256));
            assert_eq!(report.published, taken.len() as u64, "{report}");
            let expected = if qos == QoS::AtMostOnce {
                0
            } else {
                report.published
            };
            assert_eq!(report.acknowledged, expected, "{report}");
            assert_eq!(
                (report.unanswered, report.connections_lost),
                (0, 0),
                "{report}"
            );
            assert!(report.messages > 0 && report.messages < report.published);
            assert!(report.latency.unwrap().count > 0);
        }
    }
}

#[test]
fn refused_messages_are_not_acknowledged() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let broker = TestBroker::start(|number| match number % 3 {
            0 => Deed::Refuse,
            _ => Deed::Acknowledge,
        });
        let mut config = config(&broker);
        config.qos = qos;
        let report = finish(&config);
        assert_eq!(report.refused, report.published / 3);
        assert_eq!(report.acknowledged, report.published - report.refused);
    }
}

#[test]
fn a_large_window_of_large_messages_is_written_in_parts() {
    let broker = TestBroker::start(|_| Deed::Acknowledge);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let mut config = config(&broker);
        (config.qos, config.window, config.size) = (qos, 50, 100_000);
        let report = finish(&config);
        assert_eq!(report.unanswered, 0);
        assert!(report.messages > 0);
    }
}

#[test]
fn a_lost_connection_leaves_its_messages_unanswered_and_the_others_running() {
    let broker = TestBroker::start(|number| match number {
        100 => Deed::Hang,
        _ => Deed::Acknowledge,
    });
    let report = finish(&config(&broker));
    assert_eq!(report.connections_lost, 1);
    assert!(report.unanswered >= 1);
    assert_eq!(report.acknowledged + report.unanswered, report.published);
}

#[test]
fn losing_every_connection_ends_the_run() {
    let broker = TestBroker::start(|_| Deed::Hang);
    let error = run(&config(&broker), &mut |_| {}).unwrap_err();
    assert!(matches!(error, QuickError::Lost { .. }), "{error}");
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let broker = TestBroker::start(|_| Deed::Acknowledge);
    let mut config = config(&broker);
    config.broker = "mqtt://127.0.0.1:1".parse().unwrap();
    let error = run(&config, &mut |_| {}).unwrap_err();
    assert!(matches!(error, QuickError::Connect { .. }), "{error}");
    assert!(error.to_string().contains("mqtt://127.0.0.1:1"), "{error}");
}

#[test]
fn parameters_out_of_range_are_refused_with_the_range() {
    let broker = TestBroker::start(|_| Deed::Acknowledge);
    let mut few_keys = config(&broker);
    few_keys.keys = 3;
    let error = run(&few_keys, &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "keys is 3; it must be 4 to 10000000");
    let mut small = config(&broker);
    small.size = 1;
    assert!(matches!(
        run(&small, &mut |_| {}),
        Err(QuickError::Template(_))
    ));
    let mut gone = config(&broker);
    gone.pid = Some(u32::MAX);
    assert!(matches!(run(&gone, &mut |_| {}), Err(QuickError::Usage(_))));
}

#[test]
fn a_measured_process_shows_its_cost() {
    let broker = TestBroker::start(|_| Deed::Acknowledge);
    let mut config = config(&broker);
    config.pid = Some(std::process::id());
    let mut reports = 0;
    let report = run(&config, &mut |_| reports += 1).unwrap();
    assert_eq!(reports, 1);
    let process = report.broker_process.unwrap();
    assert!(process.micros_per_message > report.generator_micros_per_message.unwrap());
    assert!(process.usage.resident_bytes > 0);
}
