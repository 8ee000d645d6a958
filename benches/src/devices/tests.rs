//! Devices against a scripted broker.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_core::{Clock, SeededEntropy, SystemClock, Time};

use super::{Devices, DevicesConfig, DevicesError};
use crate::mqtt::Version;
use crate::run_id::RunId;
use crate::telemetry::Stamp;
use crate::test_broker::{Deed, TestBroker};

const DRAIN: Duration = Duration::from_secs(10);

fn config(broker: &TestBroker) -> DevicesConfig {
    let run = RunId::new(&mut SeededEntropy::new(1));
    let mut config = DevicesConfig::new(broker.address.into(), run);
    (config.devices, config.rate) = (3, 200.0);
    config
}

/// Polls until `done`, for ten seconds at most.
fn wait_until(devices: &Devices, done: impl Fn(&super::DevicesSnapshot) -> bool) {
    let clock = SystemClock::new();
    while !done(&devices.snapshot()) {
        assert!(
            clock.now() < Time::from_millis(10_000),
            "{:?}",
            devices.snapshot()
        );
        std::thread::yield_now();
    }
}

#[test]
fn devices_publish_at_their_rate_and_everything_is_acknowledged() {
    for version in [Version::V311, Version::V5] {
        let broker = TestBroker::start(|_| Deed::Acknowledge);
        let mut config = config(&broker);
        config.version = version;
        let devices = Devices::start(config).unwrap();
        wait_until(&devices, |now| now.acknowledged >= 60);
        assert_eq!(devices.snapshot().connected, 3);
        let report = devices.finish(DRAIN).unwrap();
        assert_eq!(report.unanswered, 0);
        assert_eq!(report.ledger.acknowledged(), report.ledger.published());
        assert_eq!(report.snapshot.published, report.ledger.published());
        assert_eq!(
            report.snapshot.latency.unwrap().count,
            report.ledger.acknowledged()
        );
        let per_device: Vec<u64> = report.ledger.keys().map(|(_, key)| key.published).collect();
        let (min, max) = (
            per_device.iter().min().unwrap(),
            per_device.iter().max().unwrap(),
        );
        assert!(max - min <= 5, "the devices share one rate: {per_device:?}");
    }
}

#[test]
fn a_broken_connection_is_made_again_and_nothing_is_left_out() {
    let broker = TestBroker::start(|number| match number {
        10 | 40 => Deed::Hang,
        _ => Deed::Acknowledge,
    });
    let devices = Devices::start(config(&broker)).unwrap();
    wait_until(&devices, |now| now.acknowledged >= 100);
    let report = devices.finish(DRAIN).unwrap();
    assert_eq!(report.unanswered, 0);
    assert_eq!(report.snapshot.connections_lost, 2);
    assert!(report.snapshot.republished >= 2);
    assert_eq!(report.ledger.acknowledged(), report.ledger.published());

    let mut first_sights: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for taken in broker.taken.lock().unwrap().iter() {
        let stamp = Stamp::read(&taken.payload).unwrap();
        let seen = first_sights.entry(stamp.device.into_owned()).or_default();
        if !seen.contains(&stamp.seq) {
            seen.push(stamp.seq);
        }
    }
    for (device, seen) in first_sights {
        let whole: Vec<u64> = (1..=seen.len() as u64).collect();
        assert_eq!(seen, whole, "{device}");
    }
}

#[test]
fn refused_messages_are_counted_and_not_acknowledged() {
    let broker = TestBroker::start(|number| match number % 2 {
        0 => Deed::Refuse,
        _ => Deed::Acknowledge,
    });
    let devices = Devices::start(config(&broker)).unwrap();
    wait_until(&devices, |now| now.refused >= 10);
    let report = devices.finish(DRAIN).unwrap();
    assert_eq!(report.ledger.acknowledged(), report.snapshot.acknowledged);
    let answered = report.snapshot.acknowledged + report.snapshot.refused;
    assert_eq!(answered, report.snapshot.published);
}

#[test]
fn a_broker_that_is_not_there_is_tried_until_the_devices_are_stopped() {
    let broker = TestBroker::start(|_| Deed::Acknowledge);
    let mut config = config(&broker);
    config.broker = "mqtt://127.0.0.1:1".parse().unwrap();
    let devices = Devices::start(config).unwrap();
    wait_until(&devices, |now| now.connections_lost > 3);
    assert!(devices.snapshot().last_loss.is_some());
    let report = devices.finish(DRAIN).unwrap();
    assert_eq!(report.ledger.published(), 0);
}

#[test]
fn rates_and_numbers_out_of_range_are_refused() {
    let broker = TestBroker::start(|_| Deed::Acknowledge);
    let mut none = config(&broker);
    none.devices = 0;
    assert!(matches!(
        Devices::start(none),
        Err(DevicesError::Devices { devices: 0 })
    ));
    let mut never = config(&broker);
    never.rate = f64::NAN;
    assert!(matches!(
        Devices::start(never),
        Err(DevicesError::Rate { .. })
    ));
}
