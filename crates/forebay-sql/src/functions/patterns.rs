//! Functions of regular expressions.

use super::{Function, planned};

pub(super) const FUNCTIONS: &[Function] = &[
    planned("regexp_matches"),
    planned("regexp_replace"),
    planned("regexp_substr"),
];
