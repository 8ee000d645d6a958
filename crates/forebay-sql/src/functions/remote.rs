//! Functions whose answer another service has. They are evaluated on data in memory; a rule that uses one without its
//! data is refused.

use super::{Body, Function, built};
use crate::eval::{EvalError, Evaluation};
use crate::program::Node;
use crate::service_data::{DataFault, DataRequest, DataSource};
use crate::value::{Text, Value};

const fn absent(name: &'static str) -> Function {
    Function {
        name,
        since_2016: false,
        takes_star: |_, _| true,
        is_pure: false,
        takes: &[],
        gives: None,
        prepare: None,
        needs: None,
        body: Body::Absent,
    }
}

pub(super) const FUNCTIONS: &[Function] = &[
    absent("aws_lambda"),
    absent("get_dynamodb").since_2016(),
    built("get_registry_data", 3, 3, get_registry_data)
        .since_2016()
        .impure()
        .needs(DataSource::Registry),
    built("get_secret", 3, 4, get_secret)
        .impure()
        .needs(DataSource::Secrets),
    built("get_thing_shadow", 2, 3, get_thing_shadow)
        .since_2016()
        .impure()
        .needs(DataSource::Shadows),
    absent("machinelearning_predict"),
];

type Evaluated<'a> = Result<Value<'a>, EvalError>;

/// Why a function of another service is refused.
pub(crate) fn no_source(name: &str, needs: Option<DataSource>) -> String {
    match needs {
        Some(source) => format!(
            "the function `{name}` needs the setting {}, which names its data",
            source.setting()
        ),
        None => format!("the function `{name}` asks a service that Forebay has no source for"),
    }
}

/// An argument that must have a text.
fn required<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
    place: usize,
    function: &'static str,
) -> Result<&'a str, EvalError> {
    let value = evaluation.argument(arguments, place)?;
    let text = evaluation.text(value)?;
    text.ok_or(EvalError::Function(function, DataFault::Missing))
}

/// A mode, which like every mode is a constant.
fn mode(arguments: &[Node], place: usize) -> &str {
    match arguments.get(place) {
        Some(Node::Text(mode)) => mode,
        _ => "",
    }
}

/// `get_registry_data("DescribeThing" | "ListThingGroupsForThing", thing, role)`: once per statement and its templates.
fn get_registry_data<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    const NAME: &str = "get_registry_data";
    let fault = |reason| EvalError::Function(NAME, DataFault::Contract(reason));
    if !evaluation.take_registry_call() {
        return Err(fault("it is called more than once"));
    }
    let thing = required(evaluation, arguments, 1, NAME)?;
    let request = match mode(arguments, 0) {
        "DescribeThing" => DataRequest::Thing { name: thing },
        "ListThingGroupsForThing" => DataRequest::ThingGroups { thing },
        _ => {
            return Err(fault(
                "its operation is neither \"DescribeThing\" nor \"ListThingGroupsForThing\"",
            ));
        }
    };
    let answer = evaluation.ask(NAME, &request)?;
    evaluation.json_value(answer)
}

/// `get_secret(id, "SecretString" | "SecretBinary"[, key], role)`: the secret, or one member of one that is JSON.
fn get_secret<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    const NAME: &str = "get_secret";
    let fault = |reason| EvalError::Function(NAME, DataFault::Contract(reason));
    let id = required(evaluation, arguments, 0, NAME)?;
    let binary = match mode(arguments, 1) {
        "SecretString" => false,
        "SecretBinary" => true,
        _ => {
            return Err(fault(
                "its type is neither \"SecretString\" nor \"SecretBinary\"",
            ));
        }
    };
    let key = match arguments.len() {
        4 => Some(required(evaluation, arguments, 2, NAME)?),
        _ => None,
    };
    let secret = evaluation.ask(NAME, &DataRequest::Secret { id, binary })?;
    let text = Value::Text(Text::Borrowed(secret));
    // A secret that only looks like a number is text.
    let is_document = !binary && secret.trim_start().starts_with(['{', '[']);
    let value = if is_document {
        evaluation.json_value(secret)?
    } else {
        text
    };
    let Some(key) = key else {
        return Ok(value);
    };
    if !evaluation.is_object(value) {
        return Err(fault(
            "it asks for a key of a secret that is no JSON object",
        ));
    }
    match evaluation.member(value, key)? {
        Value::Undefined => Err(EvalError::Function(NAME, DataFault::Missing)),
        member => Ok(member),
    }
}

/// `get_thing_shadow(thing[, shadow], role)`
fn get_thing_shadow<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    const NAME: &str = "get_thing_shadow";
    let thing = required(evaluation, arguments, 0, NAME)?;
    let name = match arguments.len() {
        3 => Some(required(evaluation, arguments, 1, NAME)?),
        _ => None,
    };
    let answer = evaluation.ask(NAME, &DataRequest::Shadow { thing, name })?;
    evaluation.json_value(answer)
}
