//! The rules in force, and the numbers by which the pipeline knows them.
//!
//! A record names its rule by a number that outlives the set that produced it: it may wait in a lane or come back from
//! the log when the set was replaced long ago. Numbers are given out once per name and never used for another one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use forebay_metrics::Registry;
use forebay_rules::RuleSet;

use crate::tally::RuleCounters;

/// The number of rules that are gone and left records in the log.
pub(crate) const RETIRED: u32 = 0;
/// The metric label of these.
const RETIRED_LABEL: &str = "retired";
/// The metric label of rules beyond the limit of label values.
const OTHER_LABEL: &str = "other";
/// Names that may be known at the same time, those of deleted rules included.
const NAMES_MAX: usize = 1_000_000;

/// More rule names were used since the start than can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "too many rule names since the start: {names} > {NAMES_MAX}; restart to forget deleted rules"
)]
pub struct TooManyRuleNames {
    /// How many there would be.
    pub names: usize,
}

/// What is known of one rule besides what it does.
#[derive(Debug)]
pub(crate) struct RuleEntry {
    pub(crate) name: Arc<str>,
    pub(crate) counters: RuleCounters,
}

/// All rules that there were since the start, by number.
pub(crate) type RuleEntries = Arc<[Arc<RuleEntry>]>;

/// One version of the rules.
#[derive(Debug)]
pub(crate) struct RulesInForce {
    pub(crate) set: Arc<RuleSet>,
    /// The number of each rule, by its index in the set.
    pub(crate) numbers: Box<[u32]>,
    pub(crate) entries: RuleEntries,
    pub(crate) by_name: Arc<HashMap<Arc<str>, u32>>,
    version: u64,
}

/// The rules in force, replaced as a whole.
#[derive(Debug)]
pub(crate) struct RuleBook {
    current: ArcSwap<RulesInForce>,
    /// The version of `current`, so that whoever looks for every message reads one number.
    version: AtomicU64,
    /// Held while the rules are replaced.
    replacing: Mutex<()>,
    label_limit: usize,
}

impl RuleBook {
    /// The first rules. At most `label_limit` rules have metric labels of their own.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub(crate) fn new(
        set: &Arc<RuleSet>,
        registry: &Registry,
        label_limit: usize,
    ) -> Result<Self, TooManyRuleNames> {
        let retired = RuleEntry {
            name: Arc::from(""),
            counters: RuleCounters::new(registry, RETIRED_LABEL),
        };
        let empty = RulesInForce {
            set: Arc::clone(set),
            numbers: Box::default(),
            entries: Arc::from([Arc::new(retired)]),
            by_name: Arc::default(),
            version: 0,
        };
        let book = Self {
            current: ArcSwap::from_pointee(empty),
            version: AtomicU64::new(0),
            replacing: Mutex::new(()),
            label_limit,
        };
        book.replace(Arc::clone(set), registry)?;
        Ok(book)
    }

    /// Puts other rules in force. A publish that begins from now on is evaluated by them.
    ///
    /// # Errors
    /// When there were too many names since the start. The rules stay as they were.
    pub(crate) fn replace(
        &self,
        set: Arc<RuleSet>,
        registry: &Registry,
    ) -> Result<(), TooManyRuleNames> {
        let _replacing = self
            .replacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        let is_new = |name: &str| !current.by_name.contains_key(name);
        let new = set.rules().iter().filter(|rule| is_new(rule.name()));
        let names = current.entries.len() + new.clone().count();
        if names > NAMES_MAX {
            return Err(TooManyRuleNames { names });
        }
        let (entries, by_name) = if names == current.entries.len() {
            (Arc::clone(&current.entries), Arc::clone(&current.by_name))
        } else {
            let mut entries = current.entries.to_vec();
            let mut by_name = HashMap::clone(&current.by_name);
            for rule in new {
                let name: Arc<str> = Arc::from(rule.name());
                let label = match entries.len() <= self.label_limit {
                    true => &*name,
                    false => OTHER_LABEL,
                };
                let counters = RuleCounters::new(registry, label);
                by_name.insert(Arc::clone(&name), entries.len() as u32);
                entries.push(Arc::new(RuleEntry { name, counters }));
            }
            (entries.into(), Arc::new(by_name))
        };
        let version = current.version + 1;
        let rules = set.rules().iter();
        self.current.store(Arc::new(RulesInForce {
            numbers: rules.map(|rule| by_name[rule.name()]).collect(),
            set,
            entries,
            by_name,
            version,
        }));
        // Whoever sees the number also sees what it stands for.
        self.version.store(version, Ordering::Release);
        Ok(())
    }

    /// The rules in force.
    pub(crate) fn current(&self) -> Arc<RulesInForce> {
        self.current.load_full()
    }

    /// True when `rules` are no longer in force.
    pub(crate) fn is_newer_than(&self, rules: &RulesInForce) -> bool {
        self.version.load(Ordering::Acquire) != rules.version
    }
}

/// Rules by number as one thread keeps them: looked up anew only when a number comes that it has not met.
#[derive(Debug)]
pub(crate) struct KnownRules(RuleEntries);

impl KnownRules {
    pub(crate) fn new(book: &RuleBook) -> Self {
        Self(Arc::clone(&book.current().entries))
    }

    /// The rule with this number, which was given out before any record could carry it.
    pub(crate) fn entry(&mut self, number: u32, book: &RuleBook) -> &RuleEntry {
        if number as usize >= self.0.len() {
            self.0 = Arc::clone(&book.current().entries);
        }
        &self.0[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use forebay_rules::{RuleDocument, RuleLimits, RuleSettings};

    use super::*;

    fn set(names: &[&str]) -> Arc<RuleSet> {
        let documents = names.iter().map(|name| {
            let text = br#"{"sql": "SELECT * FROM 'a'", "actions": []}"#;
            let document = RuleDocument::from_json(text, Some(name)).unwrap();
            (document, RuleSettings::default())
        });
        Arc::new(RuleSet::build(documents.collect(), RuleLimits::default()).unwrap())
    }

    #[test]
    fn a_name_keeps_its_number_over_replacements() {
        let registry = Registry::new();
        let book = RuleBook::new(&set(&["a", "b"]), &registry, 2).unwrap();
        let mut known = KnownRules::new(&book);
        let first = book.current();
        assert_eq!(&*first.numbers, [1, 2]);
        book.replace(set(&["b", "c"]), &registry).unwrap();
        assert!(book.is_newer_than(&first));
        let second = book.current();
        assert_eq!(&*second.numbers, [2, 3]);
        assert!(!book.is_newer_than(&second));
        book.replace(set(&["c", "a"]), &registry).unwrap();
        assert_eq!(&*book.current().numbers, [3, 1]);
        let names = [0, 1, 2, 3].map(|number| known.entry(number, &book).name.to_string());
        assert_eq!(names, ["", "a", "b", "c"]);
        known.entry(3, &book).counters.success.increment(7);
        let shown = registry.render();
        assert!(shown.contains("rule=\"other\",action=\"kinesis\",result=\"success\"} 7"));
        assert!(!shown.contains("rule=\"c\""));
    }
}
