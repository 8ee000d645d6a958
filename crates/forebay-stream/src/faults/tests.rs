//! The decisions of a script, without a server.

use super::*;

const RECORDS: [(Option<u32>, &str); 3] = [(Some(0), "a"), (Some(1), "b"), (Some(1), "a")];

fn faults(rules: Vec<FaultRule>) -> Faults {
    let faults = Faults::new();
    faults
        .set(FaultScript { rules, seed: 1 }, Time::ZERO, |_| true)
        .unwrap();
    faults
}

fn plan(faults: &Faults, operation: &str, at_ms: u64) -> Plan {
    let target = Target {
        operation,
        stream: Some("s"),
        records: &RECORDS,
    };
    faults.plan(&target, Time::from_millis(at_ms), &CodeCounts::default())
}

fn delay(millis: u64) -> FaultRule {
    FaultRule::new(FaultEffect::Delay {
        millis,
        jitter_millis: 0,
    })
}

fn struck(faults: &Faults, requests: usize) -> Vec<bool> {
    (0..requests)
        .map(|_| plan(faults, "PutRecords", 0) != Plan::default())
        .collect()
}

#[test]
fn delays_add_up_and_the_first_end_wins() {
    let faults = faults(vec![
        delay(10),
        FaultRule::new(FaultEffect::ResetAfterBody),
        delay(5),
        FaultRule::new(FaultEffect::NeverAnswer { stored: false }),
        FaultRule::new(FaultEffect::TruncateAnswer),
    ]);
    let plan = plan(&faults, "PutRecords", 0);
    assert_eq!(plan.delay, Duration::from_millis(15));
    assert_eq!(plan.instead, Some(Ending::Reset));
    assert_eq!(plan.after, Some(Ending::Truncate));
}

#[test]
fn requests_are_counted_only_where_the_rule_matches() {
    let faults = faults(vec![delay(1).operation("PutRecords").requests(2, 3)]);
    let mut struck = Vec::new();
    for operation in [
        "PutRecords",
        "GetRecords",
        "PutRecords",
        "PutRecords",
        "PutRecords",
    ] {
        struck.push(!plan(&faults, operation, 0).delay.is_zero());
    }
    assert_eq!(struck, [false, false, true, true, false]);
}

#[test]
fn times_bounds_what_probability_draws() {
    let rule = delay(1).probability(0.5).times(10);
    let first = struck(&faults(vec![rule.clone()]), 100);
    assert_eq!(first.iter().filter(|struck| **struck).count(), 10);
    assert_eq!(first, struck(&faults(vec![rule]), 100));
    assert!(
        struck(&faults(vec![delay(1).probability(0.0)]), 100)
            .iter()
            .all(|s| !s)
    );
    assert!(
        struck(&faults(vec![delay(1).probability(1.0)]), 100)
            .iter()
            .all(|s| *s)
    );
}

#[test]
fn what_one_rule_draws_does_not_depend_on_the_others() {
    let rule = delay(1).probability(0.5);
    let other = FaultRule::new(FaultEffect::Delay {
        millis: 0,
        jitter_millis: 1,
    });
    let alone = struck(&faults(vec![rule.clone()]), 50);
    let faults = faults(vec![rule, other]);
    let together: Vec<_> = (0..50)
        .map(|_| plan(&faults, "x", 0).delay >= Duration::from_millis(1))
        .collect();
    let differs = alone
        .iter()
        .zip(&together)
        .filter(|(alone, both)| **alone && !**both)
        .count();
    assert_eq!(differs, 0);
}

#[test]
fn records_are_struck_by_shard_and_key() {
    let effect = FaultEffect::DropRecords {
        fraction: None,
        records: None,
    };
    let rule = FaultRule::new(effect);
    let places = |rule: FaultRule| {
        let plan = plan(&faults(vec![rule]), "PutRecords", 0);
        plan.records.iter().map(Option::is_some).collect::<Vec<_>>()
    };
    assert_eq!(places(rule.clone().shard(1)), [false, true, true]);
    assert_eq!(places(rule.clone().partition_key("a")), [true, false, true]);
    assert_eq!(
        places(rule.clone().shard(1).partition_key("a")),
        [false, false, true]
    );
    assert_eq!(places(rule.clone().shard(2)), [false; 0]);
    assert_eq!(places(rule.stream("t")), [false; 0]);
}

#[test]
fn a_window_begins_and_ends() {
    let faults = faults(vec![delay(1).window(100, 50)]);
    for (at_ms, expected) in [(99, false), (100, true), (149, true), (150, false)] {
        assert_eq!(
            !plan(&faults, "x", at_ms).delay.is_zero(),
            expected,
            "{at_ms}"
        );
    }
}

#[test]
fn being_down_has_an_end() {
    let down = FaultRule::new(FaultEffect::SinkDown {
        mode: DownMode::Hang,
    })
    .window(100, 50);
    let faults = faults(vec![down]);
    assert_eq!(faults.down(Time::from_millis(99)), None);
    let left = Some(Duration::from_millis(20));
    assert_eq!(
        faults.down(Time::from_millis(130)),
        Some((DownMode::Hang, left))
    );
    assert_eq!(faults.down(Time::from_millis(150)), None);
    faults.clear();
    assert_eq!(faults.down(Time::from_millis(130)), None);
    assert_eq!(faults.script(), FaultScript::default());
}
