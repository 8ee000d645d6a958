//! What must hold when a run has ended.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::Ordering;

use crate::service::Sent;
use crate::world::{World, hash_of};

/// The first rule that a finished run breaks.
pub(crate) fn check(world: &World) -> Result<(), String> {
    if let Some(problem) = &world.bounds {
        return Err(problem.clone());
    }
    devices(world)?;
    conservation(world)?;
    copies(world)?;
    order(world)
}

fn devices(world: &World) -> Result<(), String> {
    for (index, connection) in world.connections.iter().enumerate() {
        if let Some(problem) = &connection.problem {
            return Err(format!("connection {index}: {problem}"));
        }
        let (left, waiting) = (connection.left, connection.ring.len());
        if left > 0 || waiting > 0 || connection.parked {
            let parked = connection.parked;
            return Err(format!(
                "connection {index} at {:?}: {left} not published, {waiting} not answered, parked {parked}",
                world.end()
            ));
        }
    }
    Ok(())
}

fn conservation(world: &World) -> Result<(), String> {
    let control = &world.pipeline().control;
    let found = control.conservation();
    let published: u64 = world
        .connections
        .iter()
        .flat_map(|c| c.published())
        .map(|(_, count)| count)
        .sum();
    if found.difference() != 0 || found.pending != 0 || found.accepted != published {
        return Err(format!("{published} published, {found:?}"));
    }
    if found.failed > 0 || !world.failed.is_empty() {
        return Err(format!("failed: {:?}", world.failed));
    }
    match control.ingest_bytes() {
        (0, _) => Ok(()),
        (used, _) => Err(format!("{used} bytes of the budget are still held")),
    }
}

/// Every message is stored, and twice only when an outcome was not known.
fn copies(world: &World) -> Result<(), String> {
    for (key, count) in world.connections.iter().flat_map(|c| c.published()) {
        for number in 0..count {
            let record = (key.to_owned(), number);
            match world.service.copies.get(&record) {
                None => return Err(format!("{record:?} is lost")),
                Some(1) => {}
                Some(copies) if world.unclear.contains(&record) => {
                    debug_assert!(*copies > 1);
                }
                Some(copies) => return Err(format!("{record:?} is stored {copies} times")),
            }
        }
    }
    match world
        .service
        .stored
        .iter()
        .find(|sent| sent.hash != hash_of(&sent.key))
    {
        Some(sent) => Err(format!("{sent:?} has another hash key")),
        None => Ok(()),
    }
}

/// First occurrences are in order; in `key` ordering except for what is counted, and that within one request.
fn order(world: &World) -> Result<(), String> {
    if world.ordering == Ordering::None {
        return Ok(());
    }
    let overtaken = overtaken(world.service.stored.iter(), |name| &world.requests[name])?;
    let counted = if world.ordering == Ordering::Strict {
        0
    } else {
        world.inversions
    };
    // Records of a request whose answer was lost may be stored already, in order, when they are refused on the second
    // way: then an inversion is counted that no reader sees. Without lost answers the count is exact.
    let exact = world.met().lost == 0;
    if overtaken > counted || (exact && overtaken < counted) {
        return Err(format!(
            "{overtaken} records were overtaken, {counted} are counted"
        ));
    }
    Ok(())
}

/// How many records were overtaken, judged on first occurrences. A record and what overtook it must have been in one
/// request.
pub(crate) fn overtaken<'a, R: Ord + 'a>(
    stored: impl Iterator<Item = &'a Sent>,
    requests: impl Fn(&(String, u64)) -> &'a BTreeSet<R>,
) -> Result<usize, String> {
    let mut seen = BTreeSet::new();
    let mut first: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for Sent { key, number, .. } in stored {
        if seen.insert((key, number)) {
            first.entry(key).or_default().push(*number);
        }
    }
    let mut overtaken = 0;
    for (key, numbers) in first {
        for (place, number) in numbers.iter().enumerate() {
            let overtakers: Vec<u64> = numbers[..place]
                .iter()
                .copied()
                .filter(|earlier| earlier > number)
                .collect();
            overtaken += usize::from(!overtakers.is_empty());
            for overtaker in overtakers {
                let requests = |number| requests(&(key.to_owned(), number));
                if requests(*number).is_disjoint(requests(overtaker)) {
                    return Err(format!(
                        "{key}: {overtaker} overtook {number} in another request"
                    ));
                }
            }
        }
    }
    Ok(overtaken)
}
