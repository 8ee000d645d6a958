use std::collections::BTreeMap;

use forebay_core::topic::{HashParent, matches};
use forebay_core::{Entropy, SeededEntropy};

use super::*;

fn key(index: u32) -> ConnectionKey {
    ConnectionKey {
        worker: 0,
        index,
        generation: 1,
    }
}

fn options(qos: QoS) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published: false,
    }
}

fn found(matcher: &mut Matcher, topic: &str) -> Vec<(u32, QoS)> {
    let mut targets = Vec::new();
    matcher.find(topic, None, &mut targets);
    targets
        .iter()
        .map(|target| (target.connection.index, target.qos))
        .collect()
}

#[test]
fn overlapping_filters_give_one_target_with_the_highest_qos() {
    let subscriptions = Subscriptions::default();
    let mut matcher = subscriptions.matcher();
    assert_eq!(found(&mut matcher, "a/b"), []);
    let filters = [
        ("a/b", options(QoS::AtMostOnce)),
        ("a/+", options(QoS::ExactlyOnce)),
        ("#", options(QoS::AtLeastOnce)),
    ];
    subscriptions.subscribe(key(1), filters.into_iter());
    subscriptions.subscribe(key(2), [("a/#", options(QoS::AtLeastOnce))].into_iter());
    assert_eq!(subscriptions.len(), 4);
    assert_eq!(
        found(&mut matcher, "a/b"),
        [(1, QoS::ExactlyOnce), (2, QoS::AtLeastOnce)]
    );
    assert_eq!(
        found(&mut matcher, "a"),
        [(1, QoS::AtLeastOnce), (2, QoS::AtLeastOnce)]
    );
    assert_eq!(found(&mut matcher, "$SYS/x"), []);
}

#[test]
fn a_second_subscription_replaces_the_first_and_no_local_holds_back_own_messages() {
    let subscriptions = Subscriptions::default();
    let mut matcher = subscriptions.matcher();
    subscriptions.subscribe(key(1), [("a", options(QoS::ExactlyOnce))].into_iter());
    let replaced = SubscriptionOptions {
        no_local: true,
        ..options(QoS::AtMostOnce)
    };
    subscriptions.subscribe(key(1), [("a", replaced)].into_iter());
    assert_eq!(subscriptions.len(), 1);
    assert_eq!(found(&mut matcher, "a"), [(1, QoS::AtMostOnce)]);
    let mut targets = Vec::new();
    matcher.find("a", Some(key(1)), &mut targets);
    assert_eq!(targets, []);
}

#[test]
fn the_first_character_of_a_topic_may_be_any() {
    let subscriptions = Subscriptions::default();
    let mut matcher = subscriptions.matcher();
    subscriptions.subscribe(key(1), [("é/+", options(QoS::AtMostOnce))].into_iter());
    assert_eq!(found(&mut matcher, "é/x").len(), 1);
    assert_eq!(found(&mut matcher, "ö/x").len(), 0);
}

#[test]
fn random_changes_agree_with_matching_one_by_one_and_leave_nothing_behind() {
    let levels = ["a", "b", "", "+", "$x"];
    let mut entropy = SeededEntropy::new(7);
    let subscriptions = Subscriptions::default();
    let mut matcher = subscriptions.matcher();
    let mut model: BTreeMap<(u32, String), SubscriptionOptions> = BTreeMap::new();
    let pick = |entropy: &mut SeededEntropy, wildcards: bool| {
        let count = 1 + entropy.below(3);
        let mut parts: Vec<&str> = Vec::new();
        for _ in 0..count {
            let all = if wildcards { levels.len() } else { 3 };
            parts.push(levels[entropy.below(all as u64) as usize]);
        }
        if wildcards && entropy.below(3) == 0 {
            parts.push("#");
        }
        if !wildcards && entropy.below(5) == 0 {
            parts[0] = "$x";
        }
        parts.join("/")
    };
    for _ in 0..3_000 {
        let client = entropy.below(4) as u32;
        let filter = pick(&mut entropy, true);
        if entropy.below(3) == 0 {
            subscriptions.unsubscribe(key(client), [filter.as_str()].into_iter());
            model.remove(&(client, filter));
        } else {
            let options = options(QoS::from_level(entropy.below(3) as u8).unwrap());
            subscriptions.subscribe(key(client), [(filter.as_str(), options)].into_iter());
            model.insert((client, filter), options);
        }
        assert_eq!(subscriptions.len(), model.len());
        let topic = pick(&mut entropy, false);
        let mut expected: BTreeMap<u32, QoS> = BTreeMap::new();
        for ((client, filter), options) in &model {
            if matches(filter, &topic, HashParent::Matches) {
                let qos = expected.entry(*client).or_default();
                *qos = (*qos).max(options.qos);
            }
        }
        let expected: Vec<(u32, QoS)> = expected.into_iter().collect();
        assert_eq!(found(&mut matcher, &topic), expected, "topic {topic:?}");
    }
    for (client, filter) in model.keys() {
        subscriptions.unsubscribe(key(*client), [filter.as_str()].into_iter());
    }
    assert_eq!(subscriptions.len(), 0);
    assert!(subscriptions.root.load().is_empty());
}

#[test]
fn thousands_of_filters_on_one_level_come_and_go_without_a_trace() {
    let subscriptions = Subscriptions::default();
    let mut matcher = subscriptions.matcher();
    let filter = |client: u32| format!("cmd/device-{client}/#");
    for client in 0..20_000 {
        let entry = (filter(client), options(QoS::AtLeastOnce));
        subscriptions.subscribe(key(client), std::iter::once((entry.0.as_str(), entry.1)));
    }
    let before = subscriptions.root.load_full();
    for client in [0, 7, 19_999] {
        let topic = format!("cmd/device-{client}/reboot");
        assert_eq!(found(&mut matcher, &topic), [(client, QoS::AtLeastOnce)]);
    }
    for client in 0..20_000 {
        subscriptions.unsubscribe(key(client), std::iter::once(filter(client).as_str()));
    }
    assert_eq!(found(&mut matcher, "cmd/device-7/reboot"), []);
    assert!(subscriptions.root.load().is_empty());
    // A publisher that still looks at the old version sees it whole.
    assert!(!before.is_empty());
}
