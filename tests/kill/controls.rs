//! Negative controls: a harness that cannot see a loss proves nothing.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::rounds::publish_all;
use crate::site::{LIMIT, Plan, STREAMS};

#[test]
fn records_that_the_stream_drops_are_seen_to_be_lost() -> Result<()> {
    const DROPPED: usize = 3;
    let mut site = Plan::new("stored").build()?;
    site.spawn()?;
    site.ready()?;
    site.inject(&json!([{
        "StreamName": STREAMS[0],
        "Effect": { "Type": "DropRecords", "Records": DROPPED },
    }]))?;
    let mut account = publish_all(&site, "dropped", 100)?;
    account.add_message(&site.drain()?);
    let verdict = account.judge(&site)?;
    ensure!(verdict.lost() == DROPPED, "{verdict}");
    ensure!(verdict.expect_kept().is_err(), "{verdict}");
    site.stop(LIMIT)?;
    Ok(())
}

#[test]
fn answers_that_come_too_early_are_seen_to_be_broken_promises() -> Result<()> {
    const EACH: u64 = 50;
    let mut site = Plan::new("accept").build()?;
    site.spawn()?;
    site.ready()?;
    site.inject(&json!([{
        "Operation": "PutRecords",
        "Effect": { "Type": "NeverAnswer", "Stored": false },
    }]))?;
    let mut account = publish_all(&site, "early", EACH)?;
    site.kill()?;
    site.heal()?;
    site.spawn()?;
    site.ready()?;
    account.add_message(&site.drain()?);
    let verdict = account.judge(&site)?;
    // Every message of both devices, in both streams.
    ensure!(verdict.lost() as u64 == EACH * 2 * 2, "{verdict}");
    ensure!(verdict.expect_kept().is_err(), "{verdict}");
    site.stop(LIMIT)?;
    Ok(())
}
