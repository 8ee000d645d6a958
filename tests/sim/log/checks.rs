//! What must hold when a run has ended.

use super::ledger::{Class, Name};
use super::plan::STREAMS;
use super::world::World;
use crate::checks::overtaken;
use crate::service::Sent;
use crate::world::hash_of;
use forebay_core::Ordering;

/// The first rule that a finished run breaks.
pub(super) fn check(world: &World) -> Result<(), String> {
    if let Some(problem) = &world.site.problem {
        return Err(problem.clone());
    }
    rest(world)?;
    arrivals(world)?;
    copies(world)?;
    order(world)
}

/// Everybody is done, and every budget and queue is empty.
fn rest(world: &World) -> Result<(), String> {
    for (index, device) in world.devices.iter().enumerate() {
        if !device.is_done() {
            return Err(format!(
                "device {index} is not done at {:?}: {device:?}",
                world.site.now
            ));
        }
    }
    let process = world.process.as_ref().ok_or("no process is running")?;
    let control = &process.pipeline.control;
    let found = control.conservation();
    if found.difference() != 0 || found.pending != 0 {
        return Err(format!("{found:?}"));
    }
    let log = control.log().ok_or("there is no log")?;
    let figures = [
        ("bytes of ingest", control.ingest_bytes().0),
        ("parked", control.parked() as u64),
        ("bytes of lanes", log.lane_bytes.0),
        ("records in memory", log.in_memory),
        ("records waiting for the log", log.waiting_records as u64),
        ("records owed", log.stat.unsettled_records),
        ("open packet ids", log.stat.open_ids as u64),
        ("lagging lanes", log.lagging_lanes as u64),
        (
            "bytes of streams",
            control
                .streams()
                .iter()
                .map(|stream| stream.used_bytes())
                .sum(),
        ),
    ];
    if let Some((name, figure)) = figures.into_iter().find(|(_, figure)| *figure > 0) {
        return Err(format!("{name}: {figure} at the end"));
    }
    match world.site.ledger.failed.first() {
        Some(failed) => Err(failed.clone()),
        None => Ok(()),
    }
}

/// What was promised is there, what is there was published, and a publish of the log is there as a whole.
fn arrivals(world: &World) -> Result<(), String> {
    let (ledger, services) = (&world.site.ledger, &world.site.services);
    for (name, published) in &ledger.published {
        if !published.answered && !published.logged {
            continue;
        }
        for stream in &published.streams {
            if !services[*stream].copies.contains_key(name) {
                let stream = STREAMS[*stream];
                return Err(format!("{name:?} is not in {stream}: {published:?}"));
            }
        }
    }
    for (stream, service) in services.iter().enumerate() {
        for sent in &service.stored {
            let name = (sent.key.clone(), sent.number);
            let known = ledger.published.get(&name).is_some_and(|published| {
                published.bytes == sent.bytes && published.streams.contains(&stream)
            });
            if !known || sent.hash != hash_of(&sent.key) {
                return Err(format!(
                    "{sent:?} was never published to {}",
                    STREAMS[stream]
                ));
            }
        }
    }
    Ok(())
}

/// Every copy but the first has a cause, and those that the sender causes are counted by it.
fn copies(world: &World) -> Result<(), String> {
    let ledger = &world.site.ledger;
    let mut unclear = 0;
    for (stream, service) in world.site.services.iter().enumerate() {
        for (name, copies) in &service.copies {
            let published = &ledger.published[name];
            let carried = &ledger.carried[&(stream, name.clone())];
            let known = published.sends + carried.restarts;
            if *copies > known + carried.unclear {
                return Err(format!(
                    "{name:?} is in {} {copies} times: {published:?} {carried:?}",
                    STREAMS[stream]
                ));
            }
            unclear += copies.saturating_sub(known);
        }
    }
    if unclear > ledger.again as u64 {
        return Err(format!(
            "{unclear} copies come from unclear answers, {} were counted",
            ledger.again
        ));
    }
    Ok(())
}

/// First occurrences of what goes the same way are in order; in `key` ordering except for what is counted.
fn order(world: &World) -> Result<(), String> {
    if world.site.ordering == Ordering::None {
        return Ok(());
    }
    let ledger = &world.site.ledger;
    let mut found = 0;
    for (stream, service) in world.site.services.iter().enumerate() {
        let place = |name: &Name| (stream, name.clone());
        for class in [Class::Log, Class::Direct] {
            let counts = |sent: &&Sent| {
                let name = (sent.key.clone(), sent.number);
                let published = &ledger.published[&name];
                // What nothing is promised for may have been dropped before its device repeated it.
                let repeated = published.sends > 1 && !published.answered;
                let dropped = class == Class::Direct && repeated;
                published.class == class && !dropped && !ledger.late.contains(&place(&name))
            };
            let stored = service.stored.iter().filter(counts);
            found += overtaken(stored, |name| &ledger.carried[&place(name)].requests)
                .map_err(|problem| format!("{problem} in {}, {class:?}", STREAMS[stream]))?;
        }
    }
    let counted = match world.site.ordering {
        Ordering::Strict => 0,
        _ => ledger.inversions,
    };
    match found > counted {
        true => Err(format!(
            "{found} records were overtaken, {counted} are counted"
        )),
        false => Ok(()),
    }
}
