//! What was published against what a stream holds: lost, duplicated, reordered, misplaced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use forebay_tests::kinesis::{Record, Shard};
use serde_json::Value;

/// A key of the published vectors and the shard it belongs to, by number of shards.
#[derive(Debug, Clone)]
pub(crate) struct Vector {
    pub(crate) key: String,
    shards: BTreeMap<u32, usize>,
}

/// The partition keys whose shards were recorded from another implementation.
pub(crate) fn vectors() -> Result<Vec<Vector>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/partition_keys.jsonl");
    // Lines end at line feeds only: keys contain other line separators.
    std::fs::read_to_string(file)?
        .split('\n')
        .filter(|line| !line.is_empty())
        .map(vector)
        .collect()
}

fn vector(line: &str) -> Result<Vector> {
    let line: Value = serde_json::from_str(line)?;
    let key = line["partition_key"]
        .as_str()
        .context("partition_key")?
        .to_owned();
    let shards = line["shard"].as_object().context("shard")?;
    let shards = shards
        .iter()
        .map(|(count, index)| Ok((count.parse()?, index.as_u64().context("index")? as usize)))
        .collect::<Result<_>>()?;
    Ok(Vector { key, shards })
}

impl Vector {
    /// The index of its shard in an evenly split stream.
    pub(crate) fn shard(&self, count: u32) -> usize {
        self.shards[&count]
    }
}

/// What a stream holds of the numbered messages of each key.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Messages that are not there.
    pub(crate) lost: Vec<(String, u64)>,
    /// Records beyond the first of each message.
    pub(crate) duplicated: usize,
    /// First occurrences that come after the first occurrence of a newer message of their key.
    pub(crate) reordered: usize,
    /// Records that nobody published.
    pub(crate) unknown: usize,
}

/// Compares records with what was published: for each key the numbers 0 to `count - 1`.
///
/// `identify` finds key and number of a record. Records must come shard by shard in the order of each.
pub(crate) fn compare(
    published: &BTreeMap<String, u64>,
    records: &[Record],
    identify: impl Fn(&Record) -> Result<(String, u64)>,
) -> Result<Findings> {
    let mut findings = Findings::default();
    let mut seen: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for record in records {
        let (key, number) = identify(record)?;
        if published.get(&key).is_none_or(|count| number >= *count) {
            findings.unknown += 1;
            continue;
        }
        let numbers = seen.entry(key).or_default();
        if numbers.contains(&number) {
            findings.duplicated += 1;
            continue;
        }
        findings.reordered += usize::from(numbers.last().is_some_and(|newest| *newest > number));
        numbers.insert(number);
    }
    for (key, count) in published {
        let numbers = seen.get(key);
        let missing = (0..*count).filter(|n| numbers.is_none_or(|numbers| !numbers.contains(n)));
        findings
            .lost
            .extend(missing.map(|number| (key.clone(), number)));
    }
    Ok(findings)
}

impl Findings {
    /// Every message exactly once, in the order of its key.
    pub(crate) fn expect_exact(&self) -> Result<()> {
        ensure!(
            self.lost.is_empty()
                && self.duplicated == 0
                && self.reordered == 0
                && self.unknown == 0,
            "lost {} ({:?} first), duplicated {}, reordered {}, unknown {}",
            self.lost.len(),
            self.lost.first(),
            self.duplicated,
            self.reordered,
            self.unknown
        );
        Ok(())
    }
}

/// The position of each shard id in the order of hash keys.
pub(crate) fn positions(shards: &[Shard]) -> BTreeMap<String, usize> {
    let mut shards: Vec<&Shard> = shards.iter().collect();
    shards.sort_by_key(|shard| shard.hash_first);
    shards
        .iter()
        .enumerate()
        .map(|(index, shard)| (shard.id.clone(), index))
        .collect()
}
