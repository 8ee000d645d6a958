//! What was published against what a stream holds: lost, duplicated, reordered, misplaced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::kinesis::{Record, Shard};

/// A key of the published vectors and the shard it belongs to, by number of shards.
#[derive(Debug, Clone)]
pub struct Vector {
    pub key: String,
    shards: BTreeMap<u32, usize>,
}

/// The partition keys whose shards were recorded from another implementation.
///
/// # Errors
/// If the file of the vectors cannot be read.
pub fn vectors() -> Result<Vec<Vector>> {
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
    ///
    /// # Panics
    /// If the vectors have nothing about a stream with so many shards.
    pub fn shard(&self, count: u32) -> usize {
        self.shards[&count]
    }
}

/// A message: its key and its number among the messages of that key, counted from 0.
pub type Numbered = (String, u64);

/// What a stream holds of the numbered messages of each key.
#[derive(Debug, Default)]
pub struct Findings {
    /// Messages that are not there.
    pub lost: Vec<Numbered>,
    /// Records beyond the first of each message.
    pub duplicated: Vec<Numbered>,
    /// Messages whose first occurrence comes after that of a newer message of their key.
    pub reordered: Vec<Numbered>,
    /// Records that nobody published.
    pub unknown: usize,
}

/// Compares records with what was published: for each key the numbers 0 to `count - 1`.
///
/// `identify` finds key and number of a record. Records must come shard by shard in the order of each.
///
/// # Errors
/// The first one of `identify`.
pub fn compare(
    published: &BTreeMap<String, u64>,
    records: &[Record],
    identify: impl Fn(&Record) -> Result<Numbered>,
) -> Result<Findings> {
    let mut findings = Findings::default();
    let mut seen: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for record in records {
        let (key, number) = identify(record)?;
        if published.get(&key).is_none_or(|count| number >= *count) {
            findings.unknown += 1;
            continue;
        }
        let numbers = seen.entry(key.clone()).or_default();
        if numbers.contains(&number) {
            findings.duplicated.push((key, number));
            continue;
        }
        if numbers.last().is_some_and(|newest| *newest > number) {
            findings.reordered.push((key, number));
        }
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
    ///
    /// # Errors
    /// Otherwise, with what is wrong.
    pub fn expect_exact(&self) -> Result<()> {
        ensure!(
            self.duplicated.is_empty(),
            "duplicated {} ({:?} first)",
            self.duplicated.len(),
            self.duplicated.first()
        );
        self.expect_complete()?;
        self.expect_ordered()
    }

    /// Every message is there, and nothing else.
    ///
    /// # Errors
    /// Otherwise, with what is wrong.
    pub fn expect_complete(&self) -> Result<()> {
        ensure!(
            self.lost.is_empty() && self.unknown == 0,
            "lost {} ({:?} first), unknown {}",
            self.lost.len(),
            self.lost.first(),
            self.unknown
        );
        Ok(())
    }

    /// The first occurrences of each key are in the order of publishing.
    ///
    /// # Errors
    /// Otherwise, with what is wrong.
    pub fn expect_ordered(&self) -> Result<()> {
        ensure!(
            self.reordered.is_empty(),
            "reordered {} ({:?} first)",
            self.reordered.len(),
            self.reordered.first()
        );
        Ok(())
    }
}

/// The position of each shard id in the order of hash keys.
pub fn positions(shards: &[Shard]) -> BTreeMap<String, usize> {
    let mut shards: Vec<&Shard> = shards.iter().collect();
    shards.sort_by_key(|shard| shard.hash_first);
    shards
        .iter()
        .enumerate()
        .map(|(index, shard)| (shard.id.clone(), index))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Findings about a stream that holds these messages, of three published ones of key `a` and one of `b`.
    fn find(stored: &[(&str, u64)]) -> Findings {
        let records: Vec<Record> = stored
            .iter()
            .map(|(key, number)| Record {
                shard: String::new(),
                sequence_number: String::new(),
                partition_key: (*key).to_owned(),
                data: number.to_string().into_bytes(),
                arrival_ms: 0,
            })
            .collect();
        let published = [("a".to_owned(), 3), ("b".to_owned(), 1)].into();
        compare(&published, &records, |record| {
            let number = String::from_utf8(record.data.clone())?.parse()?;
            Ok((record.partition_key.clone(), number))
        })
        .unwrap()
    }

    #[test]
    fn every_message_once_and_in_order_is_exact() {
        let stored = [("a", 0), ("b", 0), ("a", 1), ("a", 2)];
        find(&stored).expect_exact().unwrap();
    }

    #[test]
    fn losses_duplicates_inversions_and_strangers_are_found() {
        let findings = find(&[("a", 1), ("a", 0), ("a", 1), ("c", 0), ("a", 3)]);
        assert_eq!(findings.lost, [("a".to_owned(), 2), ("b".to_owned(), 0)]);
        assert_eq!(findings.duplicated, [("a".to_owned(), 1)]);
        assert_eq!(findings.reordered, [("a".to_owned(), 0)]);
        assert_eq!(findings.unknown, 2);
        assert!(findings.expect_complete().is_err());
        assert!(findings.expect_ordered().is_err());
        assert!(findings.expect_exact().is_err());
    }

    #[test]
    fn order_is_judged_on_first_occurrences() {
        let findings = find(&[("a", 0), ("a", 1), ("a", 0), ("a", 2), ("b", 0)]);
        findings.expect_complete().unwrap();
        findings.expect_ordered().unwrap();
        assert_eq!(findings.duplicated, [("a".to_owned(), 0)]);
    }
}
