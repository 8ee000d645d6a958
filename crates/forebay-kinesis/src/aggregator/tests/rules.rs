//! One rule of the aggregator per test.

use std::time::Duration;

use forebay_core::{AckMode, Ordering, Time};
use forebay_pipeline::FailureReason;

use super::stand::{Stand, THROTTLED, unlimited};
use crate::aggregator::Permits;
use crate::classify::CallFailure;
use crate::config::{BatchSettings, RateLimit};
use crate::testing::record;

const MS: Duration = Duration::from_millis(1);

#[test]
fn an_idle_stream_sends_at_once_and_the_next_batch_grows_meanwhile() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
    stand.feed(&["a"]);
    stand.poll();
    assert_eq!(stand.only().seqs, [1]);
    stand.feed(&["a", "b", "c"]);
    stand.poll();
    assert_eq!(stand.open().len(), 1, "one request per lane");
    let first = stand.only().id;
    stand.store_all(first);
    assert_eq!(stand.only().seqs, [2, 3, 4]);
}

#[test]
fn without_send_on_idle_records_linger() {
    let settings = BatchSettings {
        send_on_idle: false,
        ..unlimited()
    };
    let mut stand = Stand::new(settings, Ordering::Key, 1);
    stand.feed(&["a"]);
    stand.advance(9 * MS);
    assert!(stand.open().is_empty());
    assert_eq!(stand.aggregator.due(), stand.now + MS);
    stand.advance(MS);
    assert_eq!(stand.only().seqs, [1]);
}

#[test]
fn a_flush_ignores_the_linger() {
    let settings = BatchSettings {
        send_on_idle: false,
        linger: 60_000 * MS,
        ..unlimited()
    };
    let mut stand = Stand::new(settings, Ordering::Key, 1);
    stand.feed(&["a"]);
    stand.poll();
    assert!(stand.open().is_empty());
    stand.aggregator.set_flush(true, stand.now);
    stand.poll();
    assert_eq!(stand.only().seqs, [1]);
}

#[test]
fn half_idle_lanes_share_requests() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 128);
    let keys: Vec<String> = (0..40).map(|key| format!("k{key}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    stand.feed(&keys);
    stand.poll();
    let sent = stand.only();
    assert_eq!(sent.seqs.len(), 40);
    assert!(sent.lanes.len() > 10, "{:?}", sent.lanes);
}

#[test]
fn while_something_is_in_flight_passes_keep_their_distance() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 16);
    stand.feed(&["a"]);
    stand.poll();
    // Another lane, long waited for: it is ready, but the last pass was just now.
    let mut late = record(0, "b", b"x", stand.now);
    assert_ne!(stand.map.lookup(late.hash), stand.only().lanes[0]);
    late.admitted = Time::from_millis(1);
    stand.feed_record(late);
    stand.poll();
    assert_eq!(stand.open().len(), 1);
    assert_eq!(stand.aggregator.due(), stand.now + 2 * MS);
    stand.poll_when_due();
    assert_eq!(stand.open().len(), 2);
}

#[test]
fn a_full_request_goes_out_without_waiting() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
    stand.feed(&["a"]);
    stand.poll();
    let first = stand.only().id;
    let keys = vec!["b"; 1200];
    stand.feed(&keys);
    stand.poll();
    assert_eq!(stand.open().len(), 1);
    stand.store_all(first);
    assert_eq!(stand.only().seqs.len(), 500);
}

#[test]
fn ordering_none_has_two_requests_in_flight_per_lane() {
    let mut stand = Stand::new(unlimited(), Ordering::None, 1);
    stand.feed(&["a"; 1600]);
    stand.poll();
    stand.poll_when_due();
    assert_eq!(stand.open().len(), 2);
    assert!(stand.open().iter().all(|sent| sent.seqs.len() == 500));
    stand.advance(20 * MS);
    assert_eq!(stand.open().len(), 2);
}

#[test]
fn bytes_bound_a_request_and_large_records_travel_alone() {
    let mut stand = Stand::new(unlimited(), Ordering::None, 1);
    for _ in 0..10 {
        stand.feed_one("a", &vec![0; 1024 * 1024 - 1]);
    }
    stand.feed_one("a", &vec![0; 1024 * 1024]);
    stand.feed_one("a", b"small");
    stand.aggregator.set_flush(true, stand.now);
    let mut sizes = Vec::new();
    for _ in 0..10 {
        stand.poll();
        let open = stand.open();
        let Some(next) = open.first() else { break };
        sizes.push((next.seqs.len(), next.bytes));
        stand.store_all(next.id);
    }
    assert_eq!(sizes[0], (5, 5 * 1024 * 1024));
    assert_eq!(sizes[1], (5, 5 * 1024 * 1024));
    assert_eq!(sizes[2], (1, 1024 * 1024 + 1));
    assert_eq!(sizes[3].0, 1);
    assert!(stand.aggregator.is_idle());
}

#[test]
fn a_record_above_the_known_limit_fails_before_it_is_sent() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
    stand.aggregator.set_record_limit(1024 * 1024);
    stand.feed_one("a", &vec![0; 1024 * 1024]);
    stand.poll();
    assert_eq!(stand.log.failed, [(1, FailureReason::RecordTooLarge)]);
    assert!(stand.log.sent.is_empty());
}

#[test]
fn only_refused_records_are_sent_again_and_only_other_keys_follow_them() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
    stand.feed(&["a", "b", "c"]);
    stand.poll();
    let first = stand.only().id;
    stand.feed(&["b", "d"]);
    stand.answer_each(first, |seq| (seq == 2).then_some(THROTTLED));
    assert_eq!(stand.log.stored, [1, 3]);
    let second = stand.next_sent();
    assert_eq!(second.seqs, [2, 5], "the newer record of key b waits");
    stand.store_all(second.id);
    assert_eq!(stand.only().seqs, [4]);
    assert_eq!(stand.log.inversions, 0);
}

#[test]
fn a_refusal_that_newer_records_overtook_is_counted_and_makes_the_lane_cautious() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
    stand.feed(&["a", "a", "a", "b"]);
    stand.poll();
    let first = stand.only().id;
    stand.answer_each(first, |seq| (seq <= 2).then_some(THROTTLED));
    assert_eq!(stand.log.inversions, 2);
    stand.feed(&["a", "b"]);
    let second = stand.next_sent();
    assert_eq!(
        second.seqs,
        [1, 6],
        "one record per key, the rest of key a waits"
    );
    stand.store_all(second.id);
    assert_eq!(stand.only().seqs, [2]);
    let id = stand.only().id;
    stand.store_all(id);
    assert_eq!(stand.only().seqs, [5]);
    let id = stand.only().id;
    stand.store_all(id);
    // Thirty seconds without a refusal later, a key may fill a request again.
    stand.now += Duration::from_secs(31);
    stand.feed(&["a", "a", "a"]);
    stand.poll();
    assert_eq!(stand.only().seqs, [7, 8, 9]);
}

#[test]
fn leaving_the_cautious_state_merges_what_waited_by_sequence_number() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
    stand.feed(&["a"]);
    stand.poll();
    let first = stand.only().id;
    stand.answer_each(first, |_| Some(THROTTLED));
    stand.feed(&["a", "a", "b", "b"]);
    let second = stand.next_sent();
    assert_eq!(second.seqs, [1, 4]);
    let id = second.id;
    stand.now += Duration::from_secs(31);
    stand.feed(&["a", "c"]);
    stand.store_all(id);
    let mut seqs: Vec<u64> = Vec::new();
    while let Some(sent) = stand.open().first().cloned() {
        seqs.extend(&sent.seqs);
        stand.store_all(sent.id);
    }
    assert_eq!(seqs, [2, 3, 5, 6, 7]);
}

#[test]
fn strict_keeps_one_unresolved_record_per_key_and_other_keys_flow() {
    let mut stand = Stand::new(unlimited(), Ordering::Strict, 1);
    stand.feed(&["hot", "hot", "hot", "b", "c"]);
    stand.poll();
    assert_eq!(stand.only().seqs, [1, 4, 5]);
    let id = stand.only().id;
    stand.feed(&["d"]);
    stand.store_all(id);
    assert_eq!(stand.only().seqs, [2, 6]);
}

#[test]
fn a_lost_answer_repeats_exactly_that_group_in_order() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
    stand.feed(&["a", "b", "a"]);
    stand.poll();
    let first = stand.only().id;
    stand.feed(&["c", "a"]);
    stand.lose(first, CallFailure::Unclear);
    let again = stand.next_sent();
    assert_eq!(again.seqs, [1, 2, 3]);
    assert_eq!(stand.log.duplicates, 3);
    stand.store_all(again.id);
    assert_eq!(stand.only().seqs, [4, 5]);
}

#[test]
fn what_was_not_sent_is_repeated_at_once_and_counts_no_duplicate() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
    stand.feed(&["a"]);
    stand.poll();
    let first = stand.only().id;
    stand.lose(first, CallFailure::NotSent);
    assert_eq!(stand.only().seqs, [1], "the first repetition is immediate");
    assert_eq!(stand.log.duplicates, 0);
    let second = stand.only().id;
    stand.lose(second, CallFailure::NotSent);
    assert!(stand.open().is_empty());
    assert!(stand.aggregator.due() <= stand.now + 100 * MS);
}

#[test]
fn at_most_twelve_requests_per_lane_in_the_first_seconds_of_an_outage() {
    for failure in [CallFailure::NotSent, CallFailure::Unclear] {
        let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
        stand.feed(&["a"]);
        stand.poll();
        let start = stand.now;
        while stand.now < start + Duration::from_secs(5) {
            match stand.open().first().map(|sent| sent.id) {
                Some(id) => stand.lose(id, failure),
                None => stand.poll_when_due(),
            }
        }
        let sent = stand
            .log
            .sent
            .iter()
            .filter(|sent| sent.at < start + Duration::from_secs(5));
        assert!(sent.count() <= 12);
    }
}

#[test]
fn a_short_answer_makes_every_record_ambiguous() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
    stand.feed(&["a", "b"]);
    stand.poll();
    let first = stand.only().id;
    stand.answer(first, Ok(crate::api::PutRecordsAnswer::default()));
    assert!(stand.log.stored.is_empty());
    stand.poll_when_due();
    assert_eq!(stand.only().seqs, [1, 2]);
    assert_eq!(stand.log.duplicates, 2);
}

#[test]
fn a_configuration_error_holds_the_stream_and_one_record_probes() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 4);
    stand.feed(&["a", "b", "c", "d"]);
    stand.poll();
    let first = stand.only().id;
    stand.refuse(first, "ResourceNotFoundException");
    assert!(stand.log.blocked);
    assert_eq!(stand.log.not_found, 1);
    assert_eq!(
        stand.aggregator.blocked(),
        Some("ResourceNotFoundException")
    );
    assert!(stand.open().is_empty());
    for _ in 0..6 {
        let before = stand.now;
        let probe = stand.next_sent();
        assert!(probe.probe && probe.seqs == [1], "{probe:?}");
        assert!(stand.now.since(before) <= Duration::from_secs(15));
        stand.refuse(probe.id, "ResourceNotFoundException");
    }
    let probe = stand.next_sent().id;
    stand.store_all(probe);
    assert!(!stand.log.blocked);
    let mut rest = stand.only().seqs;
    rest.sort_unstable();
    assert_eq!(rest, [2, 3, 4]);
    assert!(stand.log.failed.is_empty());
}

#[test]
fn records_of_rules_that_do_not_wait_fail_at_once_while_the_others_are_held() {
    for code in [
        "ResourceNotFoundException",
        "AccessDeniedException",
        "KMSDisabledException",
    ] {
        let mut stand = Stand::new(unlimited(), Ordering::Key, 4);
        stand.feed(&["a", "b"]);
        let first = stand.feed_giving_up("c");
        stand.poll();
        let sent = stand.only();
        assert!(sent.seqs.contains(&first));
        stand.refuse(sent.id, code);
        assert!(stand.log.blocked);
        let configuration = FailureReason::Configuration;
        assert_eq!(stand.log.failed, [(first, configuration)]);
        let second = stand.feed_giving_up("d");
        stand.poll();
        assert_eq!(stand.log.failed[1..], [(second, configuration)]);
        // Alone in the stream they are what it is tried with, or nothing would show that it works again.
        let mut stand = Stand::new(unlimited(), Ordering::Key, 4);
        stand.feed_giving_up("a");
        stand.poll();
        let sent = stand.only();
        stand.refuse(sent.id, code);
        stand.now += Duration::from_secs(20);
        let third = stand.feed_giving_up("b");
        stand.poll();
        let probe = stand.only();
        assert!(probe.probe && probe.seqs == [third]);
        stand.store_all(probe.id);
        assert!(!stand.log.blocked);
    }
}

#[test]
fn expired_credentials_fail_no_record() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 4);
    stand.feed_giving_up("a");
    stand.poll();
    let sent = stand.only();
    stand.refuse(sent.id, "ExpiredTokenException");
    stand.poll();
    assert!(stand.log.blocked && stand.log.failed.is_empty());
}

#[test]
fn a_bad_record_is_found_by_halving_and_alone_fails() {
    for ordering in Ordering::ALL {
        let mut stand = Stand::new(unlimited(), ordering, 2);
        let keys: Vec<String> = (0..300).map(|key| format!("k{key}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        stand.feed(&keys);
        stand.poll();
        let mut requests = 0;
        while !stand.aggregator.is_idle() {
            let Some(sent) = stand.open().first().cloned() else {
                stand.poll_when_due();
                continue;
            };
            requests += 1;
            if sent.seqs.contains(&137) {
                stand.refuse(sent.id, "InvalidArgumentException");
            } else {
                stand.store_all(sent.id);
            }
        }
        assert_eq!(
            stand.log.failed,
            [(137, FailureReason::Refused)],
            "{ordering}"
        );
        assert_eq!(stand.log.stored.len(), 299);
        assert_eq!(stand.log.duplicates, 0);
        assert!(requests <= 40, "{ordering}: {requests} requests");
    }
}

#[test]
fn records_without_a_promise_expire_and_say_whether_they_may_be_stored() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
    let mut plain = record(0, "a", b"x", stand.now);
    plain.ack = AckMode::Accept;
    plain.deadline = stand.now + Duration::from_secs(3);
    stand.feed_record(plain);
    stand.poll();
    let first = stand.only().id;
    let mut queued = record(0, "b", b"x", stand.now);
    queued.ack = AckMode::Accept;
    queued.deadline = stand.now + Duration::from_secs(1);
    stand.feed_record(queued);
    stand.feed(&["c"]);
    stand.poll();
    stand.now += Duration::from_secs(2);
    stand.lose(first, CallFailure::Unclear);
    stand.now += Duration::from_secs(4);
    while stand.log.failed.len() < 2 {
        match stand.open().first().map(|sent| sent.id) {
            Some(id) => stand.lose(id, CallFailure::Unclear),
            None => stand.poll_when_due(),
        }
    }
    stand.log.failed.sort_unstable();
    assert_eq!(
        stand.log.failed,
        [
            (1, FailureReason::ExpiredAmbiguous),
            (2, FailureReason::Expired)
        ]
    );
    assert_eq!(stand.aggregator.held(), 1, "what was promised stays");
}

#[test]
fn an_unknown_code_is_given_up_after_five_attempts_only_where_nothing_was_promised() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
    let mut plain = record(0, "a", b"x", stand.now);
    plain.ack = AckMode::Accept;
    stand.feed_record(plain);
    stand.feed(&["b"]);
    stand.poll();
    for _ in 0..20 {
        let Some(sent) = stand.open().first().cloned() else {
            stand.poll_when_due();
            continue;
        };
        stand.answer_each(sent.id, |_| Some("SomethingNew"));
    }
    assert_eq!(stand.log.failed, [(1, FailureReason::Refused)]);
    assert_eq!(stand.aggregator.held(), 1);
    let attempts = stand
        .log
        .sent
        .iter()
        .filter(|sent| sent.seqs.contains(&1))
        .count();
    assert_eq!(attempts, 5);
}

#[test]
fn shedding_takes_the_oldest_records_that_nothing_was_promised_for() {
    let settings = BatchSettings {
        send_on_idle: false,
        linger: 60_000 * MS,
        ..unlimited()
    };
    let mut stand = Stand::new(settings, Ordering::Key, 4);
    for number in 0..20 {
        let mut plain = record(0, &format!("k{number}"), b"x", stand.now);
        plain.ack = if number % 2 == 0 {
            AckMode::Accept
        } else {
            AckMode::Stored
        };
        plain.charge = 300;
        stand.feed_record(plain);
    }
    stand.poll();
    stand.aggregator.shed(700, &mut stand.log);
    stand.log.failed.sort_unstable();
    let full = FailureReason::BufferFull;
    assert_eq!(stand.log.failed, [(1, full), (3, full), (5, full)]);
    assert_eq!(stand.aggregator.held(), 17);
}

#[test]
fn a_changed_map_waits_for_what_is_in_flight_and_gives_the_rest_back() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
    stand.feed(&["a", "b"]);
    stand.poll();
    let first = stand.only().id;
    stand.feed(&["a", "c"]);
    stand.poll();
    stand.aggregator.change_map();
    assert!(!stand.aggregator.can_give_back());
    stand.lose(first, CallFailure::Unclear);
    assert!(
        stand.open().is_empty(),
        "nothing is sent while the map changes"
    );
    assert!(stand.aggregator.can_give_back());
    let records = stand.aggregator.give_back();
    assert_eq!(
        records.iter().map(|record| record.seq).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert_eq!(stand.aggregator.held(), 0);

    let map = crate::testing::map(2);
    let rings = std::sync::Arc::new(super::stand::Rings::new(2));
    for record in records {
        rings.push(map.lookup(record.hash), vec![record]);
    }
    stand.map = std::sync::Arc::clone(&map);
    stand.aggregator.install(2, map, rings, stand.now, false);
    stand.poll();
    while !stand.aggregator.is_idle() {
        match stand.open().first().map(|sent| sent.id) {
            Some(id) => stand.store_all(id),
            None => stand.poll_when_due(),
        }
    }
    stand.log.stored.sort_unstable();
    assert_eq!(stand.log.stored, [1, 2, 3, 4]);
    assert_eq!(
        stand.log.duplicates, 2,
        "that the answer was lost is remembered"
    );
}

#[test]
fn an_ordering_that_rises_applies_when_nothing_is_in_flight() {
    let mut stand = Stand::new(unlimited(), Ordering::None, 1);
    stand.feed(&["a", "a"]);
    stand.poll();
    let first = stand.only().id;
    stand.aggregator.set_ordering(Ordering::Strict, stand.now);
    stand.feed(&["a", "a"]);
    stand.advance(20 * MS);
    assert_eq!(stand.open().len(), 1);
    stand.store_all(first);
    assert_eq!(stand.only().seqs, [3]);
}

#[test]
fn another_shard_than_predicted_is_reported() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 2);
    stand.feed(&["a"]);
    stand.poll();
    let id = stand.only().id;
    let entries = vec![crate::api::EntryAnswer::Stored {
        shard: "shardId-000000000099".into(),
    }];
    stand.answer(id, Ok(crate::api::PutRecordsAnswer { entries }));
    assert_eq!(stand.log.wrong_shard, 1);
    assert_eq!(stand.log.stored, [1]);
}

#[test]
fn without_permits_nothing_is_sent_and_the_stream_says_so() {
    let mut stand = Stand::new(unlimited(), Ordering::Key, 1);
    stand.feed(&["a"]);
    let mut permits = Permits {
        requests: 0,
        bytes: 1,
    };
    stand
        .aggregator
        .poll(stand.now, &mut permits, &mut stand.log);
    assert!(stand.aggregator.is_starved());
    assert!(stand.log.sent.is_empty());
    stand.poll();
    assert!(!stand.aggregator.is_starved());
    assert_eq!(stand.only().seqs, [1]);
}

#[test]
fn a_lane_takes_over_no_more_than_its_bytes() {
    let settings = BatchSettings {
        lane_bytes: 10_000,
        ..unlimited()
    };
    let mut stand = Stand::new(settings, Ordering::Strict, 1);
    for _ in 0..100 {
        stand.feed_one("hot", &[0; 1000]);
    }
    stand.poll();
    assert!(
        stand.aggregator.held() <= 12,
        "{} held",
        stand.aggregator.held()
    );
    while !stand.aggregator.is_idle() {
        match stand.open().first().map(|sent| sent.id) {
            Some(id) => stand.store_all(id),
            None => stand.poll_when_due(),
        }
    }
    assert_eq!(stand.log.stored, (1..=100).collect::<Vec<_>>());
}

/// Feeds `per_ms` records each millisecond for `ms` milliseconds and answers every request after 10 ms.
fn run_limited(per_ms: usize, ms: u64, shards: u32, keys: usize) -> Stand {
    let settings = BatchSettings {
        rate_limit: RateLimit::Percent(100),
        ..BatchSettings::default()
    };
    let mut stand = Stand::new(settings, Ordering::Key, shards);
    let start = stand.now;
    let mut fed = 0_usize;
    for tick in 0..ms {
        stand.now = start + Duration::from_millis(tick);
        for _ in 0..per_ms {
            fed += 1;
            stand.feed_one(&format!("key-{}", fed % keys), &[0; 200]);
        }
        let due: Vec<_> = stand
            .open()
            .iter()
            .filter(|sent| sent.at + 10 * MS <= stand.now)
            .map(|sent| sent.id)
            .collect();
        for id in due {
            stand.store_all(id);
        }
        stand.poll();
        stand
            .log
            .sent
            .retain(|sent| sent.at + Duration::from_secs(5) > stand.now);
    }
    stand
}

#[test]
fn one_hot_key_uses_its_shard() {
    let stand = run_limited(2, 4_000, 1, 1);
    // The first second's worth is the bucket that starts full.
    let stored = stand.log.stored.len();
    assert!((4_750..=5_100).contains(&stored), "{stored} stored in 4 s");
}

#[test]
fn at_full_load_requests_are_full() {
    let stand = run_limited(16, 3_000, 8, 1_000);
    let late = stand.now - Time::from_millis(1_000);
    let late = Time::ZERO + late;
    let sent: Vec<usize> = stand
        .log
        .sent
        .iter()
        .filter(|sent| sent.at > late)
        .map(|sent| sent.seqs.len())
        .collect();
    let full = sent.iter().filter(|count| **count >= 400).count();
    assert!(full * 10 >= sent.len() * 9, "{sent:?}");
    let records: usize = sent.iter().sum();
    assert!(records >= 7_600, "{records} records in the last second");
}
