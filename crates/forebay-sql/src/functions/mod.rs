//! The function table: every function that AWS IoT SQL has, one file per family of those that Forebay evaluates.

mod message;

use crate::eval::{EvalError, Evaluation};
use crate::program::Node;
use crate::value::Value;

/// Evaluates a call. The number of arguments was checked when the statement was compiled.
pub(crate) type Evaluate =
    for<'a> fn(&mut Evaluation<'a>, &'a [Node]) -> Result<Value<'a>, EvalError>;

/// A function that AWS IoT SQL has.
#[derive(Debug)]
pub(crate) struct Function {
    /// Its name in lower case; names are compared without regard to case.
    pub(crate) name: &'static str,
    /// True when the first SQL version does not have it.
    pub(crate) since_2016: bool,
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
    /// Refuses it: not built in this version.
    Planned,
    /// Refuses it: it asks a service that Forebay has no source for.
    Remote,
}

const fn built(name: &'static str, fewest: usize, most: usize, evaluate: Evaluate) -> Function {
    Function {
        name,
        since_2016: false,
        body: Body::Built {
            fewest,
            most,
            evaluate,
        },
    }
}

const fn planned(name: &'static str) -> Function {
    Function {
        name,
        since_2016: false,
        body: Body::Planned,
    }
}

const fn planned_2016(name: &'static str) -> Function {
    Function {
        name,
        since_2016: true,
        body: Body::Planned,
    }
}

const fn remote(name: &'static str, since_2016: bool) -> Function {
    Function {
        name,
        since_2016,
        body: Body::Remote,
    }
}

/// All functions of the developer guide's pages "Functions" and "SQL versions", by family.
static FUNCTIONS: [Function; 81] = [
    // Message and connection context.
    built("clientid", 0, 0, message::clientid),
    built("timestamp", 0, 0, message::timestamp),
    built("topic", 0, 1, message::topic),
    planned("accountid"),
    planned("get_mqtt_property"),
    planned("get_user_properties"),
    planned("principal"),
    planned_2016("sourceip"),
    planned("sql_version"),
    planned("traceid"),
    // Numbers.
    planned("abs"),
    planned("acos"),
    planned("asin"),
    planned("atan"),
    planned("atan2"),
    planned("bitand"),
    planned("bitnot"),
    planned("bitor"),
    planned("bitxor"),
    planned("ceil"),
    planned("cos"),
    planned("cosh"),
    planned("exp"),
    planned("floor"),
    planned("ln"),
    planned("log"),
    planned("mod"),
    planned("nanvl"),
    planned("power"),
    planned("rand"),
    planned("remainder"),
    planned("round"),
    planned("sign"),
    planned("sin"),
    planned("sinh"),
    planned("sqrt"),
    planned("tan"),
    planned("tanh"),
    planned("trunc"),
    // Text.
    planned("chr"),
    planned("concat"),
    planned("endswith"),
    planned_2016("indexof"),
    planned_2016("length"),
    planned("lower"),
    planned("lpad"),
    planned("ltrim"),
    planned("md2"),
    planned("md5"),
    planned("newuuid"),
    planned_2016("numbytes"),
    planned("regexp_matches"),
    planned("regexp_replace"),
    planned("regexp_substr"),
    planned("replace"),
    planned("rpad"),
    planned("rtrim"),
    planned("sha1"),
    planned("sha224"),
    planned("sha256"),
    planned("sha384"),
    planned("sha512"),
    planned("startswith"),
    planned("substring"),
    planned("trim"),
    planned("upper"),
    // Collections and missing values.
    planned("get"),
    planned_2016("get_or_default"),
    planned("isnull"),
    planned_2016("isundefined"),
    planned_2016("transform"),
    // Time and encodings.
    planned_2016("decode"),
    planned_2016("encode"),
    planned_2016("parse_time"),
    planned_2016("time_to_epoch"),
    // Other services.
    remote("aws_lambda", false),
    remote("get_dynamodb", true),
    remote("get_registry_data", true),
    remote("get_secret", false),
    remote("get_thing_shadow", true),
    remote("machinelearning_predict", false),
];

/// The function of this name, in any case.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS
        .iter()
        .find(|function| function.name.eq_ignore_ascii_case(name))
}

/// The function that `name` was probably meant to be.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    FUNCTIONS
        .iter()
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
        for (index, function) in FUNCTIONS.iter().enumerate() {
            assert_eq!(function.name, function.name.to_ascii_lowercase());
            assert!(
                FUNCTIONS[..index]
                    .iter()
                    .all(|other| other.name != function.name),
                "{}",
                function.name
            );
        }
    }
}
