//! The same simulation with the log: the process dies and comes back over the same disk and the same service.
//!
//! Besides the production code of the other runs this one drives the durable log on a simulated disk that tears, drops,
//! refuses and is slow, and devices that publish in every mode and quality of service, lose their connections and
//! repeat themselves. In the end everything is healthy. What was answered must then be at the service, in order, with
//! no more copies than there are causes for, and nothing may be held anywhere. The last tests make deliberate mistakes
//! and expect to see them.

mod checks;
mod clock;
mod device;
mod ledger;
mod packet_ids;
mod plan;
mod process;
mod sender;
mod site;
mod world;

use forebay_core::Ordering;

use self::plan::Wiring;
use self::site::Met;
use self::world::World;

fn run(seed: u64, ordering: Ordering, wiring: Wiring) -> World {
    let mut world = World::new(seed, ordering, wiring);
    world.run();
    world
}

fn check(ordering: Ordering) {
    crate::check_seeds(ordering, |seed| {
        checks::check(&run(seed, ordering, Wiring::Right))
    });
}

#[test]
fn strict_order_and_every_promise_survive_restarts() {
    check(Ordering::Strict);
}

#[test]
fn key_order_and_every_promise_survive_restarts() {
    check(Ordering::Key);
}

#[test]
fn without_order_every_promise_survives_restarts_too() {
    check(Ordering::None);
}

#[test]
fn one_seed_gives_one_trace_over_restarts() {
    for seed in [5, 8, 4321] {
        for ordering in Ordering::ALL {
            let run = || run(seed, ordering, Wiring::Right);
            let (first, second) = (run(), run());
            assert!(!first.trace().is_empty());
            assert_eq!(
                first.trace(),
                second.trace(),
                "seed {seed}, ordering {ordering}"
            );
        }
    }
}

#[test]
fn the_seeds_meet_every_fault_of_disk_and_process() {
    let mut met = Met::default();
    for seed in crate::seeds() {
        met.add(run(seed, Ordering::Key, Wiring::Right).met());
    }
    assert_eq!(met.missing(), Vec::<&str>::new(), "{met:?}");
}

/// How many seeds a mistake survives at most before a run has to see it.
const MISTAKE_SEEDS: u64 = 60;

/// What is said about the first run that a mistake spoils.
fn seen(wiring: Wiring, ordering: Ordering) -> String {
    let mut problems = (0..MISTAKE_SEEDS).filter_map(|seed| {
        let outcome = std::panic::catch_unwind(|| checks::check(&run(seed, ordering, wiring)));
        outcome.unwrap_or_else(|_| Err("panic".to_owned())).err()
    });
    problems.next().unwrap_or_default()
}

#[test]
fn a_sink_that_settles_before_the_service_accepted_is_seen() {
    let problem = seen(Wiring::SettlesWhenSent, Ordering::Key);
    assert!(problem.contains("is not"), "{problem}");
}

#[test]
fn a_restart_that_forgets_the_disk_is_seen() {
    let problem = seen(Wiring::ForgetsDisk, Ordering::Key);
    assert!(problem.contains("is not"), "{problem}");
}

#[test]
fn an_answer_at_admission_is_seen() {
    let problem = seen(Wiring::AnswersWhenAdmitted, Ordering::Key);
    assert!(problem.contains("is not"), "{problem}");
}

#[test]
fn a_completion_before_its_release_is_durable_is_seen() {
    let problem = seen(Wiring::CompletesWhenReleased, Ordering::Key);
    assert!(problem.contains("was completed and is open"), "{problem}");
}

#[test]
fn a_sender_without_order_is_seen() {
    let problem = seen(Wiring::SendsInAnyOrder, Ordering::Strict);
    assert!(problem.contains("overt"), "{problem}");
}

#[test]
fn a_request_that_is_sent_twice_is_seen() {
    let problem = seen(Wiring::SendsTwice, Ordering::Key);
    assert!(problem.contains("times"), "{problem}");
}

#[test]
fn records_that_a_changed_map_loses_are_seen() {
    let problem = seen(Wiring::DropsWhatIsGivenBack, Ordering::Key);
    assert!(problem.contains("is not"), "{problem}");
}
