//! The function table: every function that AWS IoT SQL has, one file per family. A new function is written in its
//! family's file and listed in that file's table.

mod collections;
mod encodings;
mod hashes;
mod message;
mod numbers;
mod patterns;
mod remote;
mod strings;
mod time;

use crate::Code;
use crate::eval::{EvalError, Evaluation};
use crate::program::Node;
use crate::service_data::DataSource;
use crate::syntax::Expr;
use crate::value::{Value, ValueType};

pub(crate) use collections::{FORBIDDEN_IN_DEFAULT, WITH_DEFAULT};
pub(crate) use encodings::is_protobuf;
pub(crate) use remote::no_source;

/// Evaluates a call. The number of arguments was checked when the statement was compiled.
pub(crate) type Evaluate =
    for<'a> fn(&mut Evaluation<'a>, &'a [Node]) -> Result<Value<'a>, EvalError>;

/// Checks the constant arguments of a call and replaces them by what is made of them once.
pub(crate) type Prepare = fn(&mut [Node]) -> Result<(), Refusal>;

/// Why a call is refused when its statement is compiled.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Place of the argument.
    pub(crate) argument: usize,
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// A function that AWS IoT SQL has.
#[derive(Debug)]
pub(crate) struct Function {
    /// Its name in lower case; names are compared without regard to case.
    pub(crate) name: &'static str,
    /// True when the first SQL version does not have it.
    pub(crate) since_2016: bool,
    /// Whether `*` may be the argument at a place.
    pub(crate) takes_star: fn(&[Expr], usize) -> bool,
    /// False when equal arguments may give different results: it asks for the message or draws at random.
    pub(crate) is_pure: bool,
    /// What its arguments are converted to; the last entry stands for all that follow.
    pub(crate) takes: &'static [Option<ValueType>],
    /// What it gives, if that is always the same type or Undefined.
    pub(crate) gives: Option<ValueType>,
    pub(crate) prepare: Option<Prepare>,
    /// The data without which it is refused.
    pub(crate) needs: Option<DataSource>,
    pub(crate) body: Body,
}

/// What Forebay does with a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body {
    /// Evaluates it, given a number of arguments in this range.
    Built {
        fewest: usize,
        most: usize,
        evaluate: Evaluate,
    },
    /// Refuses it: it asks a service that no data can stand in for.
    Absent,
}

impl Function {
    const fn since_2016(mut self) -> Self {
        self.since_2016 = true;
        self
    }

    const fn takes_star(mut self, takes: fn(&[Expr], usize) -> bool) -> Self {
        self.takes_star = takes;
        self
    }

    const fn impure(mut self) -> Self {
        self.is_pure = false;
        self
    }

    const fn takes(mut self, types: &'static [Option<ValueType>]) -> Self {
        self.takes = types;
        self
    }

    const fn gives(mut self, result: ValueType) -> Self {
        self.gives = Some(result);
        self
    }

    /// What the argument at this place is converted to.
    pub(crate) fn argument_type(&self, place: usize) -> Option<ValueType> {
        self.takes.get(place).or(self.takes.last()).copied()?
    }

    const fn needs(mut self, source: DataSource) -> Self {
        self.needs = Some(source);
        self
    }

    const fn prepared(mut self, prepare: Prepare) -> Self {
        self.prepare = Some(prepare);
        self
    }
}

/// Types for the tables of the families.
const TEXT: Option<ValueType> = Some(ValueType::String);
const NUMBER: Option<ValueType> = Some(ValueType::Number);
const ANY: Option<ValueType> = None;

const fn built(name: &'static str, fewest: usize, most: usize, evaluate: Evaluate) -> Function {
    Function {
        name,
        since_2016: false,
        takes_star: |_, _| false,
        is_pure: true,
        takes: &[],
        gives: None,
        prepare: None,
        needs: None,
        body: Body::Built {
            fewest,
            most,
            evaluate,
        },
    }
}

/// All functions of the developer guide's pages "Functions" and "SQL versions", by family.
static FAMILIES: [&[Function]; 9] = [
    message::FUNCTIONS,
    numbers::FUNCTIONS,
    strings::FUNCTIONS,
    patterns::FUNCTIONS,
    hashes::FUNCTIONS,
    collections::FUNCTIONS,
    time::FUNCTIONS,
    encodings::FUNCTIONS,
    remote::FUNCTIONS,
];

fn all() -> impl Iterator<Item = &'static Function> {
    FAMILIES.into_iter().flatten()
}

/// The function of this name, in any case.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    all().find(|function| function.name.eq_ignore_ascii_case(name))
}

/// The function that `name` was probably meant to be.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    all()
        .map(|function| (strsim::osa_distance(function.name, &name), function.name))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 5)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_unknown_ones_get_a_suggestion() {
        assert_eq!(
            find("clientId").map(|function| function.name),
            Some("clientid")
        );
        assert!(find("uper").is_none());
        assert_eq!(nearest("uper"), Some("upper"));
        assert_eq!(nearest("Is_Undefined"), Some("isundefined"));
        assert_eq!(nearest("avg"), None);
        let mut names: Vec<_> = all().map(|function| function.name).collect();
        assert!(
            names
                .iter()
                .all(|name| !name.contains(|c: char| c.is_ascii_uppercase()))
        );
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
