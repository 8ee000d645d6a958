//! Deliberate faults of the spool: each must be found, or the simulation would prove nothing.

use super::simulation::simulate;
use crate::mutation::Mutation;

/// The simulation must find a spool that does this wrong.
fn dies(mutation: Mutation, early_answer: bool) {
    let found = (0..3000)
        .any(|seed| std::panic::catch_unwind(|| simulate(seed, mutation, early_answer)).is_err());
    assert!(found, "{mutation:?} was not found");
}

#[test]
fn the_simulation_finds_a_spool_without_the_flush() {
    dies(Mutation::NoFlush, false);
}

#[test]
fn the_simulation_finds_an_answer_before_the_commit() {
    dies(Mutation::None, true);
}

#[test]
fn the_simulation_finds_recycling_before_the_checkpoint_is_durable() {
    dies(Mutation::RecycleEarly, false);
}

#[test]
fn the_simulation_finds_sequence_numbers_used_again() {
    dies(Mutation::ReuseSequences, false);
}

#[test]
fn the_simulation_finds_a_last_frame_that_is_not_written_again() {
    dies(Mutation::NoRewrite, false);
}

#[test]
fn the_simulation_finds_a_flush_that_is_repeated_and_believed() {
    dies(Mutation::FlushAgain, false);
}

#[test]
fn the_simulation_finds_a_directory_that_is_not_flushed() {
    dies(Mutation::NoDirectorySync, false);
}

#[test]
fn the_simulation_finds_a_header_that_counts_before_its_frames() {
    dies(Mutation::HeaderFirst, false);
}
