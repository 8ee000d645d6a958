//! What a statement or a template does, as data: what it reads, what it converts, what was evaluated beforehand, and
//! which way its output takes.

mod walk;

use std::ops::Range;

use crate::compiler::Compiler;
use crate::environment::Environment;
use crate::program::{Node, Projection};
use crate::value::ValueType;
use crate::{Diagnostic, SelectStar, SqlVersion, parser};

/// What a statement or a template does. Spans are bytes of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The way of the output.
    pub output: OutputPath,
    /// What is done with the payload's bytes.
    pub payload: PayloadUse,
    /// Members of the payload that are read, in the order of the text; a path occurs once.
    pub reads: Vec<Read>,
    /// Functions that are called, in the order of the text.
    pub calls: Vec<Call>,
    /// Operands that are converted, or may have to be.
    pub conversions: Vec<Conversion>,
    /// What was evaluated when the statement was compiled.
    pub folded: Vec<Folded>,
    /// Variables of SET, `@` included.
    pub variables: Vec<String>,
}

/// The way of an output, the cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputPath {
    /// The payload's own bytes are the output.
    Verbatim,
    /// The payload's own bytes begin the output and members are added to them, as long as no name occurs twice.
    Splice,
    /// The output is written member by member; values that are only copied keep their source text.
    Written,
    /// One value is written.
    Value,
    /// The text of a template.
    Text,
}

/// What is done with the payload's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PayloadUse {
    /// Nothing, beyond what a verbatim output copies.
    Unread,
    /// A function takes them as they are.
    Bytes,
    /// They are parsed as JSON.
    Parsed,
}

/// A member of the payload that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The names that lead to it; none is the whole payload.
    pub path: Vec<String>,
    /// True inside a nested query, where the path begins at the element.
    pub of_element: bool,
    /// Where it is read first.
    pub span: Range<usize>,
}

/// A call of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The function's name in lower case.
    pub function: &'static str,
    /// True when its result may change from message to message although its arguments do not: it asks for the message,
    /// its publisher, the time or a random number.
    pub asks_message: bool,
    /// The name.
    pub span: Range<usize>,
}

/// An operand that is converted to another type, or may have to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion {
    /// The operand.
    pub span: Range<usize>,
    /// Its type, where it is known beforehand; otherwise the message decides.
    pub from: Option<ValueType>,
    /// What the operator or function takes.
    pub to: ValueType,
}

/// A part that was evaluated when the statement was compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// The part.
    pub span: Range<usize>,
    /// Its value.
    pub value: FoldedValue,
}

/// The value of a part that was evaluated beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoldedValue {
    /// The text of a number, `true`, `false` or `null`.
    Scalar(String),
    /// A string.
    String(String),
    /// No value.
    Undefined,
    /// A regular expression, translated and compiled. True when its searches may have to backtrack.
    Pattern {
        /// A search is not bounded by the length of the text alone, but by a step limit.
        backtracks: bool,
    },
}

impl Folded {
    pub(crate) fn new(constant: &Node, span: Range<usize>) -> Self {
        let value = match constant {
            Node::Null => FoldedValue::Scalar("null".to_owned()),
            Node::Bool(value) => FoldedValue::Scalar(value.to_string()),
            Node::Number(number) => {
                let mut text = Vec::new();
                number.write(&mut text);
                FoldedValue::Scalar(String::from_utf8_lossy(&text).into_owned())
            }
            Node::Text(text) => FoldedValue::String(text.to_string()),
            Node::Pattern(pattern) => FoldedValue::Pattern {
                backtracks: pattern.backtracks(),
            },
            _ => FoldedValue::Undefined,
        };
        Self { span, value }
    }
}

impl Explanation {
    /// Explains a statement.
    ///
    /// # Errors
    /// As [`Statement::compile_with`](crate::Statement::compile_with).
    pub fn of_statement(
        sql: &str,
        version: SqlVersion,
        star: SelectStar,
        environment: &Environment,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut walk = walk::Walk::default();
        walk.statement(&parser::statement(sql)?);
        let mut compiler = Compiler::new(version, environment, Vec::new());
        compiler.folded = Some(Vec::new());
        let parts = compiler.statement(parser::statement(sql)?)?;
        let output = match &parts.projection {
            Projection::Star if star == SelectStar::Verbatim => OutputPath::Verbatim,
            Projection::Star => OutputPath::Written,
            Projection::Value(_) => OutputPath::Value,
            Projection::Items(items) if items.leading_star && star == SelectStar::Verbatim => {
                OutputPath::Splice
            }
            Projection::Items(_) => OutputPath::Written,
        };
        let star_alone = matches!(parts.projection, Projection::Star);
        if star_alone && output == OutputPath::Written {
            walk.payload = PayloadUse::Parsed;
        }
        let folded = compiler.folded.take().unwrap_or_default();
        Ok(walk.finish(output, folded, compiler.into_variables()))
    }

    /// Explains a template of a rule whose statement has these variables.
    ///
    /// # Errors
    /// As [`Template::compile_with`](crate::Template::compile_with).
    pub fn of_template(
        text: &str,
        version: SqlVersion,
        environment: &Environment,
        variables: &[String],
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut walk = walk::Walk::default();
        let mut compiler = Compiler::new(version, environment, variables.to_vec());
        compiler.folded = Some(Vec::new());
        compiler.template(text, |expr| walk.expression(expr))?;
        let folded = compiler.folded.take().unwrap_or_default();
        Ok(walk.finish(OutputPath::Text, folded, Vec::new()))
    }
}

#[cfg(test)]
mod tests;
