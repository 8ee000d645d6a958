//! Rules that are replaced while records of the ones before are under way.

use super::*;

#[test]
fn the_next_message_of_every_worker_is_taken_by_the_new_rules() {
    let settings = RuleSettings::default;
    let old = rules(&[
        ("kept", "SELECT 'old' AS by FROM 'a/#'", "s", settings()),
        ("gone", "SELECT 'gone' AS by FROM 'a/#'", "s", settings()),
    ]);
    let mut bed = Bed::new(config(), &old);
    for worker in [0, 1] {
        let (admission, _) = bed.publish(worker, "a/1", b"{}", QoS::AtLeastOnce);
        assert!(matches!(admission, Admission::Pending { records: 2, .. }));
    }
    // In another order, so that no index stays what it was.
    let new = rules(&[
        ("added", "SELECT 'added' AS by FROM 'b/#'", "s", settings()),
        ("kept", "SELECT 'new' AS by FROM 'a/#'", "s", settings()),
    ]);
    let registry = Registry::new();
    let control = bed.pipeline.control.clone();
    control.replace_rules(Arc::clone(&new), &registry).unwrap();
    assert!(Arc::ptr_eq(&control.rules(), &new));
    for worker in [0, 1] {
        let (admission, _) = bed.publish(worker, "a/1", b"{}", QoS::AtLeastOnce);
        assert!(matches!(admission, Admission::Pending { records: 1, .. }));
        let (admission, _) = bed.publish(worker, "b/1", b"{}", QoS::AtLeastOnce);
        assert!(matches!(admission, Admission::Pending { records: 1, .. }));
    }
    bed.run(1);
    let mut by_rule: Vec<(u32, String)> = bed
        .take("s")
        .into_iter()
        .flatten()
        .map(|record| {
            (
                record.rule,
                String::from_utf8(record.data.to_vec()).unwrap(),
            )
        })
        .collect();
    by_rule.sort();
    by_rule.dedup();
    let expected = [
        (1, r#"{"by":"new"}"#),
        (1, r#"{"by":"old"}"#),
        (2, r#"{"by":"gone"}"#),
        (3, r#"{"by":"added"}"#),
    ];
    let expected = expected.map(|(rule, data)| (rule, data.to_owned()));
    assert_eq!(by_rule, expected);
}
