//! Functions of regular expressions.

use super::{Function, Refusal, TEXT, built};
use crate::Code;
use crate::eval::{EvalError, Evaluation, TextBuilder};
use crate::pattern::{GivenUp, Pattern, PatternError, Replacement};
use crate::program::Node;
use crate::value::{Text, Value, ValueType};

pub(super) const FUNCTIONS: &[Function] = &[
    built("regexp_matches", 2, 2, regexp_matches)
        .takes(&[TEXT])
        .gives(ValueType::Boolean)
        .prepared(prepare),
    built("regexp_replace", 3, 3, regexp_replace)
        .takes(&[TEXT])
        .gives(ValueType::String)
        .prepared(prepare),
    built("regexp_substr", 2, 2, regexp_substr)
        .takes(&[TEXT])
        .gives(ValueType::String)
        .prepared(prepare),
];

/// Evaluation steps of compiling a pattern that is no constant.
const COMPILATION_STEPS: usize = 2000;
/// Evaluation steps of a search that was given up, besides its ordinary ones.
const GIVEN_UP_STEPS: usize = 1000;

type Evaluated<'a> = Result<Value<'a>, EvalError>;

/// A pattern, compiled with its rule or for this call.
enum Found<'a> {
    Constant(&'a Pattern),
    Computed(Box<Pattern>),
}

impl Found<'_> {
    fn pattern(&self) -> &Pattern {
        match self {
            Self::Constant(pattern) => pattern,
            Self::Computed(pattern) => pattern,
        }
    }
}

/// Compiles a constant pattern. One that the JVM would not compile makes the call Undefined.
fn prepare(arguments: &mut [Node]) -> Result<(), Refusal> {
    let Some(argument) = arguments.get_mut(1) else {
        return Ok(());
    };
    let Node::Text(text) = argument else {
        return Ok(());
    };
    *argument = match Pattern::new(text) {
        Ok(pattern) => Node::Pattern(Box::new(pattern)),
        Err(PatternError::Invalid) => Node::Undefined,
        Err(PatternError::Refused(construct)) => {
            return Err(Refusal {
                argument: 1,
                code: Code::Pattern,
                message: format!("the regular expression uses {construct}, which Forebay refuses"),
            });
        }
    };
    Ok(())
}

/// The text of the first argument and the pattern of the second, unless one of them is Undefined.
fn operands<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
) -> Result<Option<(&'a str, Found<'a>)>, EvalError> {
    let text = evaluation.argument(arguments, 0)?;
    let text = evaluation.text(text)?;
    let pattern = match arguments.get(1) {
        Some(Node::Pattern(pattern)) => Some(Found::Constant(pattern)),
        _ => {
            let pattern = evaluation.argument(arguments, 1)?;
            match evaluation.text(pattern)? {
                Some(pattern) => {
                    evaluation.step(COMPILATION_STEPS + pattern.len())?;
                    let compiled = Pattern::new(pattern).ok();
                    compiled.map(|pattern| Found::Computed(Box::new(pattern)))
                }
                None => None,
            }
        }
    };
    Ok(text.zip(pattern))
}

/// A search that was given up has cost much more than one that ends soon.
fn given_up<'a>(evaluation: &mut Evaluation<'a>) -> Evaluated<'a> {
    evaluation.step(GIVEN_UP_STEPS)?;
    Ok(Value::Undefined)
}

/// `regexp_matches(s, r)`: whether `s` contains a match.
fn regexp_matches<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let Some((text, found)) = operands(evaluation, arguments)? else {
        return Ok(Value::Undefined);
    };
    let pattern = found.pattern();
    evaluation.step(pattern.steps(text.len()))?;
    match pattern.is_match(text) {
        Ok(found) => Ok(Value::Bool(found)),
        Err(GivenUp) => given_up(evaluation),
    }
}

/// `regexp_substr(s, r)`: the first match, else Undefined.
fn regexp_substr<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let Some((text, found)) = operands(evaluation, arguments)? else {
        return Ok(Value::Undefined);
    };
    let pattern = found.pattern();
    evaluation.step(pattern.steps(text.len()))?;
    match pattern.find(text) {
        Ok(found) => Ok(found.map_or(Value::Undefined, |found| Value::Text(Text::Borrowed(found)))),
        Err(GivenUp) => given_up(evaluation),
    }
}

/// `regexp_replace(s, r, u)`: every match becomes `u`.
fn regexp_replace<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let found = operands(evaluation, arguments)?;
    let replacement = evaluation.argument(arguments, 2)?;
    let replacement = evaluation.text(replacement)?;
    let (Some((text, found)), Some(replacement)) = (found, replacement) else {
        return Ok(Value::Undefined);
    };
    let pattern = found.pattern();
    let Some(replacement) = Replacement::new(replacement, pattern) else {
        return Ok(Value::Undefined);
    };
    match replace(evaluation, text, pattern, &replacement)? {
        Some(Replaced::Nothing) => Ok(Value::Text(Text::Borrowed(text))),
        Some(Replaced::Made(text)) => evaluation.keep(text),
        None => Ok(Value::Undefined),
    }
}

/// What became of a text.
enum Replaced<'a> {
    /// There was no match.
    Nothing,
    Made(TextBuilder<'a>),
}

/// The text with all matches replaced; `None` when a search was given up.
fn replace<'a>(
    evaluation: &mut Evaluation<'a>,
    text: &'a str,
    pattern: &Pattern,
    replacement: &Replacement<'_>,
) -> Result<Option<Replaced<'a>>, EvalError> {
    let mut out = evaluation.builder();
    // Text up to `copied` is in `out`; the next search begins at `at`.
    let (mut copied, mut at) = (0, 0);
    let mut found_any = false;
    while at <= text.len() {
        evaluation.step(pattern.steps(0))?;
        let captures = match pattern.captures(text, at) {
            Ok(Some(captures)) => captures,
            Ok(None) => break,
            Err(GivenUp) => {
                given_up(evaluation)?;
                return Ok(None);
            }
        };
        let Some(found) = captures.get(0) else {
            break;
        };
        found_any = true;
        evaluation.step((found.end() - at) / 32)?;
        out.push_str(text.get(copied..found.start()).unwrap_or_default());
        replacement.write(&captures, &mut out);
        evaluation.check_output(out.len())?;
        copied = found.end();
        at = found.end();
        if found.start() == found.end() {
            // An empty match is taken once in each place.
            let next = text.get(at..).and_then(|rest| rest.chars().next());
            at += next.map_or(1, char::len_utf8);
        }
    }
    if !found_any {
        return Ok(Some(Replaced::Nothing));
    }
    evaluation.step(text.len() / 32)?;
    out.push_str(text.get(copied..).unwrap_or_default());
    Ok(Some(Replaced::Made(out)))
}
