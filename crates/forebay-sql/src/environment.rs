//! What all rules of a process share beside their documents.

use std::sync::Arc;

use crate::service_data::{DataSource, ServiceData};

/// What dividing one Int by another gives (AWS IoT developer guide, "Operators" and "SET clause", which disagree).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IntDivision {
    /// An Int, truncated toward zero: `7 / 2` is 3.
    #[default]
    Int,
    /// The exact quotient, rounded to 34 digits: `7 / 2` is 3.5.
    Decimal,
}

/// What all rules of a process share beside their documents. The default is AWS IoT's own behaviour.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// What Int divided by Int gives.
    pub int_division: IntDivision,
    /// What `accountid()` gives; twelve zeros without it. The origin of a message may say otherwise.
    pub account_id: Option<Box<str>>,
    /// What other services would answer; without it rules that ask them are refused.
    pub data: Option<Arc<dyn ServiceData>>,
}

impl Environment {
    /// As AWS IoT has it.
    pub const DEFAULT: Self = Self {
        int_division: IntDivision::Int,
        account_id: None,
        data: None,
    };

    /// True when there is data of this kind.
    pub(crate) fn has(&self, source: DataSource) -> bool {
        self.data.as_ref().is_some_and(|data| data.has(source))
    }
}

/// The environment of evaluations that are given none.
pub(crate) static DEFAULT: Environment = Environment::DEFAULT;
