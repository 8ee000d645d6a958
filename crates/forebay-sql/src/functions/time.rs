//! Functions of time.

use super::{Function, planned};

pub(super) const FUNCTIONS: &[Function] = &[
    planned("parse_time").since_2016(),
    planned("time_to_epoch").since_2016(),
];
