//! Which rules a topic reaches: a trie over the levels of their filters.
//!
//! The cost of a look-up depends on the levels of the topic and on the wildcards that match it, not on the rules that
//! do not match. Rules read `#` as AWS IoT does: it stands for one or more levels, so `a/#` does not match `a`. A
//! wildcard in the first level never matches a topic that begins with `$`.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// An index over topic filters.
#[derive(Debug)]
pub(crate) struct TopicIndex {
    nodes: Vec<Node>,
}

/// One level of the filters that share the levels above it.
#[derive(Debug, Default)]
struct Node {
    // The names come from rules and never from topics, so a fixed hash invites nobody to craft collisions.
    literals: HashMap<Box<[u8]>, u32, FixedState>,
    plus: Option<u32>,
    /// Rules whose filter ends here.
    here: Vec<u32>,
    /// Rules whose filter ends here with `#`.
    below: Vec<u32>,
}

impl TopicIndex {
    /// An index without rules.
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node::default()],
        }
    }

    /// Adds a rule. `filter` is a valid topic filter.
    pub(crate) fn insert(&mut self, filter: &str, rule: u32) {
        let mut node = 0;
        for level in filter.split('/') {
            if level == "#" {
                self.nodes[node].below.push(rule);
                return;
            }
            node = self.child(node, level);
        }
        self.nodes[node].here.push(rule);
    }

    fn child(&mut self, parent: usize, level: &str) -> usize {
        let next =
            u32::try_from(self.nodes.len()).expect("filters are bounded far below 2^32 levels");
        let node = &mut self.nodes[parent];
        let child = if level == "+" {
            *node.plus.get_or_insert(next)
        } else {
            *node.literals.entry(level.as_bytes().into()).or_insert(next)
        };
        if child == next {
            self.nodes.push(Node::default());
        }
        child as usize
    }

    /// Appends the rules whose filter matches `topic` to `found`, in no particular order and each once. `pending` is
    /// a buffer.
    pub(crate) fn find(&self, topic: &str, pending: &mut Vec<(u32, usize)>, found: &mut Vec<u32>) {
        let bytes = topic.as_bytes();
        let reserved = bytes.first() == Some(&b'$');
        pending.clear();
        pending.push((0, 0));
        // Every node is reached on one way only, so the loop visits each at most once.
        while let Some((node, start)) = pending.pop() {
            let at_root = node == 0;
            let node = &self.nodes[node as usize];
            let Some(rest) = bytes.get(start..) else {
                found.extend_from_slice(&node.here);
                continue;
            };
            let len = rest
                .iter()
                .position(|byte| *byte == b'/')
                .unwrap_or(rest.len());
            let next = start + len + 1;
            if !node.literals.is_empty()
                && let Some(child) = node.literals.get(&rest[..len])
            {
                pending.push((*child, next));
            }
            if !(at_root && reserved) {
                found.extend_from_slice(&node.below);
                if let Some(child) = node.plus {
                    pending.push((child, next));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::topic::{HashParent, TopicLimits, matches, validate_filter, validate_name};
    use proptest::prelude::*;

    use super::*;

    fn find(index: &TopicIndex, topic: &str) -> Vec<u32> {
        let (mut pending, mut found) = (Vec::new(), Vec::new());
        index.find(topic, &mut pending, &mut found);
        found.sort_unstable();
        found
    }

    #[test]
    fn wildcards_follow_the_rules_of_aws() {
        let filters = [
            "a/b",
            "a/+",
            "a/#",
            "#",
            "+/b",
            "a/b/#",
            "$aws/things/#",
            "+/+/#",
            "a/+/c",
            "/",
            "+",
        ];
        let mut index = TopicIndex::new();
        for (rule, filter) in filters.iter().enumerate() {
            index.insert(filter, u32::try_from(rule).unwrap());
        }
        let names = |topic| {
            find(&index, topic)
                .into_iter()
                .map(|rule| filters[rule as usize])
                .collect::<Vec<_>>()
        };
        assert_eq!(names("a/b"), ["a/b", "a/+", "a/#", "#", "+/b"]);
        assert_eq!(names("a"), ["#", "+"]);
        assert_eq!(names("a/"), ["a/+", "a/#", "#"]);
        assert_eq!(names("a/b/c"), ["a/#", "#", "a/b/#", "+/+/#", "a/+/c"]);
        assert_eq!(names("/"), ["#", "/"]);
        assert_eq!(names("$aws/things/x"), ["$aws/things/#"]);
        assert_eq!(names("$aws/b"), Vec::<&str>::new());
    }

    proptest! {
        #[test]
        fn the_index_agrees_with_matching_one_by_one(
            filters in proptest::collection::vec("[ab+#$/]{1,7}", 1..20),
            topic in "[$]?[ab/]{1,7}",
        ) {
            let limits = TopicLimits { bytes_max: 100, levels_max: 100 };
            prop_assume!(validate_name(&topic, limits).is_ok());
            let filters: Vec<_> = filters.into_iter().filter(|f| validate_filter(f, limits).is_ok()).collect();
            let mut index = TopicIndex::new();
            let mut expected = Vec::new();
            for (rule, filter) in (0..).zip(&filters) {
                index.insert(filter, rule);
                if matches(filter, &topic, HashParent::Excluded) {
                    expected.push(rule);
                }
            }
            prop_assert_eq!(find(&index, &topic), expected);
        }
    }
}
