//! A seeded simulation of the whole way from publish to acknowledgement.
//!
//! Intake outcome, sequencer, lanes, aggregator, limiter, retries, settlement and acknowledgement rings are the code
//! that production runs; threads, clock, network and service are a model driven by one seed. Every hand-over happens
//! after a random delay, so each seed is another interleaving. The model service throttles, fails in part, fails as a
//! whole, loses answers, stores late and reshards; in the end it is healthy and everything must have arrived.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it stands"
)]

mod checks;
mod devices;
mod log;
mod service;
mod shell;
mod world;

use std::panic::{RefUnwindSafe, catch_unwind, resume_unwind};

use forebay_core::Ordering;

use crate::world::World;

/// Seeds of one run, from `FOREBAY_SIM_FIRST` on; `FOREBAY_SIM_SEEDS` makes it longer.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let first = number("FOREBAY_SIM_FIRST", 0);
    first..first + number("FOREBAY_SIM_SEEDS", 200)
}

fn run(seed: u64, ordering: Ordering) -> World {
    let mut world = World::new(seed, ordering);
    world.run();
    world
}

fn check(ordering: Ordering) {
    check_seeds(ordering, |seed| checks::check(&run(seed, ordering)));
}

/// Judges the world of every seed. A panic of the product must name its seed too.
fn check_seeds(ordering: Ordering, judge: impl Fn(u64) -> Result<(), String> + RefUnwindSafe) {
    for seed in seeds() {
        let again = format!("FOREBAY_SIM_FIRST={seed} FOREBAY_SIM_SEEDS=1 shows it again");
        match catch_unwind(|| judge(seed)) {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => panic!("seed {seed}, ordering {ordering}: {problem}\n{again}"),
            Err(panic) => {
                eprintln!("seed {seed}, ordering {ordering}: {again}");
                resume_unwind(panic);
            }
        }
    }
}

#[test]
fn strict_order_never_inverts_and_loses_nothing() {
    check(Ordering::Strict);
}

#[test]
fn key_order_inverts_only_where_it_counts_it() {
    check(Ordering::Key);
}

#[test]
fn without_order_nothing_is_lost_either() {
    check(Ordering::None);
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in [3, 77, 1234] {
        for ordering in Ordering::ALL {
            let (first, second) = (run(seed, ordering), run(seed, ordering));
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
fn the_seeds_meet_every_fault() {
    let mut met = service::Met::default();
    for seed in seeds() {
        met.add(run(seed, Ordering::Key).met());
    }
    assert!(met.all(), "{met:?}");
}
