//! Rounds of kills on an ordinary disk, on one that forgets, and with a stream in trouble.

use anyhow::Result;

use crate::ACK;
use crate::rounds::{KillLoop, Trouble};
use crate::site::Plan;

#[test]
fn a_broker_that_is_killed_again_and_again_keeps_what_it_answered() -> Result<()> {
    KillLoop {
        plan: |_| Plan::new(ACK),
        rounds: 20,
        seed: 1,
        troubles: &[Trouble::Distance],
    }
    .run()
}

#[test]
fn it_keeps_it_while_the_stream_fails_too() -> Result<()> {
    KillLoop {
        plan: |_| Plan::new(ACK),
        rounds: 15,
        seed: 1,
        troubles: &[
            Trouble::Distance,
            Trouble::Unreachable,
            Trouble::Throttled,
            Trouble::Unanswered,
            Trouble::Restarted,
        ],
    }
    .run()
}

#[test]
fn it_keeps_it_while_shards_are_split_and_merged() -> Result<()> {
    KillLoop {
        plan: |_| Plan {
            kinesalite: true,
            ..Plan::new(ACK)
        },
        rounds: 8,
        seed: 1,
        troubles: &[Trouble::Distance, Trouble::Resharded],
    }
    .run()
}
