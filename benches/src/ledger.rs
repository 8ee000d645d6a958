//! What a run has published and what of it was acknowledged.

use std::collections::HashMap;

/// Largest sequence number per key that is remembered; its bit set takes 128 MiB then.
pub const SEQ_MAX: u64 = 1 << 30;

/// A set of sequence numbers, one bit each.
#[derive(Debug, Clone, Default)]
pub struct SeqSet {
    words: Vec<u64>,
    len: u64,
}

impl SeqSet {
    /// Adds `seq`. False when it is there already or above [`SEQ_MAX`].
    pub fn insert(&mut self, seq: u64) -> bool {
        if seq > SEQ_MAX {
            return false;
        }
        let word = (seq / 64) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let bit = 1 << (seq % 64);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.len += u64::from(new);
        new
    }

    /// Whether `seq` is in.
    pub fn contains(&self, seq: u64) -> bool {
        self.words
            .get((seq / 64) as usize)
            .is_some_and(|word| word & (1 << (seq % 64)) != 0)
    }

    /// How many are in.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether none is in.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of these are not in `other`.
    pub fn missing_in(&self, other: &SeqSet) -> u64 {
        let theirs = other.words.iter().copied().chain(std::iter::repeat(0));
        self.words
            .iter()
            .zip(theirs)
            .map(|(ours, theirs)| u64::from((ours & !theirs).count_ones()))
            .sum()
    }

    /// These sequence numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let words = self.words.iter().copied().enumerate();
        words.flat_map(|(index, word)| {
            (0..64)
                .filter(move |bit| word & (1 << bit) != 0)
                .map(move |bit| index as u64 * 64 + bit)
        })
    }
}

/// The messages of one key.
#[derive(Debug, Clone, Default)]
pub struct KeyLedger {
    /// The last sequence number that was handed to a socket; numbers begin at 1.
    pub published: u64,
    /// Those whose PUBACK or PUBREC said that the broker keeps them.
    pub acknowledged: SeqSet,
}

/// The messages of a run, by key. Memory: one bit per acknowledged message.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    names: Vec<String>,
    keys: Vec<KeyLedger>,
    index: HashMap<String, usize>,
}

impl Ledger {
    /// The messages of `key`, none at first.
    pub fn key(&mut self, key: &str) -> &mut KeyLedger {
        let next = self.keys.len();
        let index = match self.index.get(key) {
            Some(index) => *index,
            None => {
                self.index.insert(key.to_owned(), next);
                self.names.push(key.to_owned());
                self.keys.push(KeyLedger::default());
                next
            }
        };
        &mut self.keys[index]
    }

    /// All keys with their messages, in the order in which they came.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &KeyLedger)> {
        self.names.iter().map(String::as_str).zip(&self.keys)
    }

    /// Messages handed to sockets.
    pub fn published(&self) -> u64 {
        self.keys.iter().map(|key| key.published).sum()
    }

    /// Messages acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.keys.iter().map(|key| key.acknowledged.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_count_each_number_once_and_know_what_another_lacks() {
        let (mut ours, mut theirs) = (SeqSet::default(), SeqSet::default());
        for seq in [1, 64, 65, 1000] {
            assert!(ours.insert(seq));
            assert!(!ours.insert(seq));
        }
        assert!(!ours.insert(SEQ_MAX + 1));
        theirs.insert(64);
        theirs.insert(2000);
        assert_eq!((ours.len(), ours.missing_in(&theirs)), (4, 3));
        assert_eq!(ours.iter().collect::<Vec<_>>(), [1, 64, 65, 1000]);
        assert!(ours.contains(65) && !ours.contains(66) && !ours.contains(1 << 40));
    }

    #[test]
    fn a_ledger_sums_its_keys() {
        let mut ledger = Ledger::default();
        ledger.key("a").published = 2;
        ledger.key("b").published = 3;
        ledger.key("a").acknowledged.insert(1);
        assert_eq!((ledger.published(), ledger.acknowledged()), (5, 1));
        assert_eq!(
            ledger.keys().map(|(name, _)| name).collect::<Vec<_>>(),
            ["a", "b"]
        );
    }
}
