//! A spool that is full: devices wait, nothing is lost, and it goes on by itself once there is room.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use forebay_tests::mqtt::Version;
use forebay_tests::wait;
use serde_json::json;

use crate::ACK;
use crate::device::{Device, Habit, Running};
use crate::judgement::Account;
use crate::message::LARGE_BYTES;
use crate::site::{LIMIT, Plan, STREAMS, Site, wall_ms};

const MIB: u64 = 1 << 20;
const SPOOL: u64 = 64 * MIB;
/// Without an answer for so long, devices that always have something to say are waiting for room.
const STALL: Duration = Duration::from_secs(2);

fn answered(devices: &[Running]) -> u64 {
    devices.iter().map(Running::answered).sum()
}

/// Waits until no answer comes any more.
fn until_stalled(site: &mut Site, devices: &[Running]) -> Result<u64> {
    let (mut last, mut since) = (answered(devices), Instant::now());
    wait::until("devices that wait", LIMIT, || {
        let now = answered(devices);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        Ok((since.elapsed() >= STALL).then_some(()))
    })?;
    ensure!(site.is_running()?, "the broker ended");
    Ok(last)
}

#[test]
fn a_full_spool_makes_devices_wait_and_loses_nothing() -> Result<()> {
    let mut plan = Plan::new(ACK);
    plan.settings = vec![
        ("spool.segment", "\"16MiB\"".to_owned()),
        ("spool.max_bytes", format!("\"{}MiB\"", SPOOL / MIB)),
        ("spool.reserve", "\"0B\"".to_owned()),
        // What memory holds besides must not hide that the disk is full.
        ("memory.ingest", "\"4MiB\"".to_owned()),
        ("memory.lanes", "\"4MiB\"".to_owned()),
    ];
    let mut site = plan.build()?;
    site.inject(&json!([{
        "Operation": "PutRecords",
        "Effect": { "Type": "RequestError", "Code": "ServiceUnavailable", "Status": 503 },
    }]))?;
    let mut account = Account::default();
    let from = wall_ms();
    site.spawn()?;
    site.ready()?;
    let devices: Vec<Running> = Version::ALL
        .into_iter()
        .zip(Habit::ALL)
        .map(|(version, habit)| {
            let name = format!("large-{version:?}");
            Device::new(&name, version, habit)
                .eager()
                .start(site.broker())
        })
        .collect();
    let full = until_stalled(&mut site, &devices)?;
    let kept = full * LARGE_BYTES * STREAMS.len() as u64;
    ensure!(kept > SPOOL / 4 && kept < SPOOL, "{} MiB", kept / MIB);

    // It starts with what fills it, and waits again: there is no more room than before.
    site.kill()?;
    account.killed(wall_ms());
    site.spawn()?;
    site.ready()?;
    let again = until_stalled(&mut site, &devices)?;
    let more = (again - full) * LARGE_BYTES * STREAMS.len() as u64;
    ensure!(kept + more < SPOOL, "{} MiB", (kept + more) / MIB);

    // Room comes from the stream alone, and twice what fits goes through.
    site.heal()?;
    account.doubtful(from, wall_ms());
    wait::until_true("answers again", 2 * LIMIT, || {
        Ok(answered(&devices) > 2 * again)
    })?;
    for device in devices {
        account.add(device.finish()?);
    }
    account.add_message(&site.drain()?);
    account.judge(&site)?.expect_kept()?;
    site.stop(LIMIT)?.expect_success()?;
    Ok(())
}
