//! A spool that fills up: who is still let in, what is still taken, and how fast it is refused.

use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_core::{AckMode, Clock, SystemClock};
use forebay_pipeline::OverloadStage;

use crate::bed::{Bed, Plan, wait_for};
use crate::client::{Client, End, connect_v3, connect_v5};

/// Segments of the spool. Publishes may fill all but two, so each is 5 % and no stage is jumped; and so few are left at
/// 90 % that what is settled is used again at once.
const SEGMENTS: u64 = 22;
/// Connections that a listener takes in a second, and at once.
const PER_SECOND: u32 = 20;
const BURST: u32 = 4;

fn bed() -> Bed {
    let mut plan = Plan::default().with(|config| {
        config.listeners[0].ack = AckMode::Spool;
        config.listeners[0].limits.connects_per_second = PER_SECOND;
        config.listeners[0].limits.connects_burst = BURST;
    });
    plan.segments = Some(SEGMENTS);
    let bed = plan.start();
    bed.sink.paused.store(true, Ordering::SeqCst);
    bed
}

/// Publishes until a stage is reached, each message answered before the next is sent. Each fills a segment.
fn fill(bed: &Bed, client: &mut Client, stage: OverloadStage) {
    /// Far from the first stage nobody has to look.
    const UNSEEN: u64 = SEGMENTS * 2 / 3;
    let payload = [b'x'; 50 << 10];
    let appended = || bed.control.log().unwrap().stat.totals.appended;
    for number in appended() + 1..=SEGMENTS {
        if bed.control.overload() >= stage {
            return;
        }
        let id = u16::try_from(number).unwrap();
        client.publish("r/fill", &payload, 2, id, true);
        assert_eq!(client.packet(), [0x40, 2, (id >> 8) as u8, id as u8]);
        if number > UNSEEN {
            // The log is looked at now and then: so no stage is jumped.
            wait_for("a look at the log", || appended() >= number);
        }
    }
    panic!("never {stage:?}");
}

/// What a client gets that connects now.
fn refusal(bed: &Bed, connect: &[u8]) -> End {
    let mut client = bed.raw();
    client.send(connect);
    client.end()
}

fn v3_refused() -> End {
    End::Said(vec![0x20, 2, 0, 3])
}

fn v5_refused() -> End {
    End::Said(vec![0x20, 3, 0, 0x97, 0])
}

#[test]
fn at_90_percent_new_connections_are_refused_until_there_is_room() {
    let bed = bed();
    let mut old = bed.v5("old");
    fill(&bed, &mut old, OverloadStage::Warned);
    let warned = bed.v3("warned");
    fill(&bed, &mut old, OverloadStage::Refusing);
    assert_eq!(bed.control.overload(), OverloadStage::Refusing);
    assert_eq!(refusal(&bed, &connect_v3("new", 2, 60)), v3_refused());
    assert_eq!(refusal(&bed, &connect_v5("new", 2, 60, &[])), v5_refused());
    bed.wait_metric("forebay_limit_hits_total{limit=\"spool\"} 2");
    for protocol in ["3.1.1", "5.0"] {
        bed.wait_metric(&format!(
            "forebay_connects_total{{listener=\"default\",protocol=\"{protocol}\",result=\"quota\"}} 1"
        ));
    }

    // Who is there stays, and is served as before but for QoS 0.
    old.publish("r/kept", b"x", 2, 7, true);
    assert_eq!(old.packet(), [0x40, 2, 0, 7]);
    old.publish("r/dropped", b"x", 0, 0, true);
    bed.wait_metric("forebay_kinesis_user_records_failed_total{reason=\"buffer_full\"} 1");
    drop(warned);

    bed.sink.paused.store(false, Ordering::SeqCst);
    wait_for("room", || bed.control.overload() < OverloadStage::Refusing);
    bed.assert_serving();
    bed.wait_metric("forebay_limit_hits_total{limit=\"spool\"} 2");
}

/// A storm of clients that come again is refused no faster than connections are taken.
#[test]
fn refusals_are_limited_to_the_rate_of_the_listener() {
    const STORM: u32 = 14;
    let bed = bed();
    let mut old = bed.v5("old");
    fill(&bed, &mut old, OverloadStage::Refusing);
    let clock = SystemClock::new();
    let began = clock.now();
    let mut storm: Vec<Client> = (0..STORM)
        .map(|number| {
            let mut client = bed.raw();
            client.send(&connect_v5(&format!("storm-{number}"), 2, 60, &[]));
            client
        })
        .collect();
    for client in &mut storm {
        assert_eq!(client.end(), v5_refused());
    }
    let took = clock.now().since(began);
    let least = Duration::from_secs(1) * (STORM - BURST) / PER_SECOND;
    assert!(took >= least * 9 / 10, "{STORM} refusals in {took:?}");
    bed.wait_metric(&format!(
        "forebay_limit_hits_total{{limit=\"spool\"}} {STORM}"
    ));
    assert_eq!(bed.control.overload(), OverloadStage::Refusing);
}
