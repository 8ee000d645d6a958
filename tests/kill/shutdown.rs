//! SIGTERM under load: the exit is clean and in time, and what was answered is kept, whatever the stream does.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use forebay_tests::wait;
use serde_json::json;

use crate::ACK;
use crate::judgement::Account;
use crate::rounds::Fleet;
use crate::site::{LIMIT, Plan, wall_ms};

const DEADLINE: Duration = Duration::from_secs(5);
/// What the process may take besides its deadline.
const GRACE: Duration = Duration::from_secs(1);
/// Enough for every device to be in the middle of something.
const ANSWERS: u64 = 1000;

fn sigterm_under_load(reachable: bool) -> Result<()> {
    let mut plan = Plan::new(ACK);
    let deadline = format!("\"{}s\"", DEADLINE.as_secs());
    plan.settings.push(("shutdown.deadline", deadline));
    let mut site = plan.build()?;
    let fleet = Fleet::start(&site)?;
    let mut account = Account::default();
    site.spawn()?;
    site.ready()?;
    wait::until_true("load", LIMIT, || Ok(fleet.answered() > ANSWERS))?;
    if !reachable {
        site.inject(&json!([{
            "Operation": "PutRecords",
            "Effect": { "Type": "NeverAnswer", "Stored": false },
        }]))?;
        let before = fleet.answered();
        wait::until_true("load that goes to the disk alone", LIMIT, || {
            Ok(fleet.answered() > before + ANSWERS)
        })?;
    }
    let since = Instant::now();
    let finished = site.stop(LIMIT)?;
    let took = since.elapsed();
    ensure!(finished.code() == Some(0), "{finished:?}");
    ensure!(took <= DEADLINE + GRACE, "{took:?}");
    // What was in flight at the end has an unknown outcome; what was settled has not.
    account.killed(wall_ms());
    site.heal()?;
    site.spawn()?;
    site.ready()?;
    fleet.finish(&mut account)?;
    account.add_message(&site.drain()?);
    account.judge(&site)?.expect_kept()?;
    site.stop(LIMIT)?.expect_success()?;
    Ok(())
}

#[test]
fn sigterm_under_load_loses_nothing() -> Result<()> {
    sigterm_under_load(true)
}

#[test]
fn sigterm_without_the_stream_leaves_what_is_owed_on_the_disk() -> Result<()> {
    sigterm_under_load(false)
}
