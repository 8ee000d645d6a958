//! Rounds of kills on an ordinary disk, on one that forgets, and with a stream in trouble.

use anyhow::Result;

use crate::ACK;
use crate::rounds::{KillLoop, Trouble};
use crate::site::Plan;

/// Small segments, so that the log goes through many of them, and lanes that hold so little that an outage of a second
/// is read back from the log.
fn plan() -> Plan {
    Plan {
        settings: vec![
            ("spool.segment", "\"16MiB\"".to_owned()),
            ("spool.max_bytes", "\"256MiB\"".to_owned()),
            ("spool.reserve", "\"0B\"".to_owned()),
            ("memory.lanes", "\"1MiB\"".to_owned()),
            ("memory.refill", "\"1MiB\"".to_owned()),
        ],
        ..Plan::new(ACK)
    }
}

/// As [`plan`], and every kill is a power cut.
fn lossy(seed: u64) -> Plan {
    Plan {
        lossy: Some(seed << 16),
        ..plan()
    }
}

#[test]
fn a_broker_that_is_killed_again_and_again_keeps_what_it_answered() -> Result<()> {
    KillLoop {
        plan: |_| plan(),
        rounds: 7,
        seed: 1,
        troubles: &[Trouble::Distance],
    }
    .run()
}

#[test]
fn it_keeps_it_over_power_cuts() -> Result<()> {
    KillLoop {
        plan: lossy,
        rounds: 8,
        seed: 1,
        troubles: &[Trouble::Distance],
    }
    .run()
}

#[test]
fn it_keeps_it_over_power_cuts_while_the_stream_fails_too() -> Result<()> {
    KillLoop {
        plan: lossy,
        rounds: 8,
        seed: 1,
        troubles: &[
            Trouble::Distance,
            Trouble::Unreachable,
            Trouble::Outage,
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
            ..plan()
        },
        rounds: 4,
        seed: 1,
        troubles: &[Trouble::Distance, Trouble::Resharded],
    }
    .run()
}
