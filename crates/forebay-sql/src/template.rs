//! Substitution templates: text with `${expression}` in it.

use crate::compiler::Compiler;
use crate::program::Node;
use crate::{Code, Diagnostic, SqlVersion, parser};

/// A substitution template, checked and compiled.
#[derive(Debug)]
pub struct Template {
    pub(crate) version: SqlVersion,
    pub(crate) parts: Box<[Part]>,
    warnings: Vec<Diagnostic>,
}

/// A piece of a template.
#[derive(Debug)]
pub(crate) enum Part {
    Literal(Box<str>),
    Expression(Node),
}

impl Template {
    /// Checks and compiles `text` under a version of the language. A `$` without a brace and lone braces are text.
    ///
    /// # Errors
    /// Everything that is wrong with its expressions; an expression without its closing brace.
    pub fn compile(text: &str, version: SqlVersion) -> Result<Self, Vec<Diagnostic>> {
        Self::with_variables(text, version, &[])
    }

    pub(crate) fn with_variables(
        text: &str,
        version: SqlVersion,
        variables: &[String],
    ) -> Result<Self, Vec<Diagnostic>> {
        const OPEN: &str = "${";
        let mut compiler = Compiler::with_variables(version, variables.to_vec());
        let mut parts = Vec::new();
        let mut at = 0;
        loop {
            let rest = text.get(at..).unwrap_or_default();
            let (literal, found) = match rest.split_once(OPEN) {
                Some((literal, _)) => (literal, true),
                None => (rest, false),
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.into()));
            }
            if !found {
                break;
            }
            let open = at + literal.len();
            match parser::template_expression(text, open + OPEN.len()) {
                Ok((expr, end)) => {
                    parts.push(Part::Expression(compiler.node(expr)));
                    at = end;
                }
                Err(error) => {
                    compiler.errors.push(unfinished(error, open, text.len()));
                    return Err(compiler.errors);
                }
            }
        }
        let Compiler {
            errors, warnings, ..
        } = compiler;
        if errors.is_empty() {
            Ok(Self {
                version,
                parts: parts.into(),
                warnings,
            })
        } else {
            Err(errors)
        }
    }

    /// The text when it holds no expression.
    pub fn literal(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// What works and is probably not meant.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}

/// An expression that runs to the end of the text lacks its brace more often than anything else.
fn unfinished(error: Diagnostic, open: usize, end: usize) -> Diagnostic {
    match error.code {
        Code::End => Diagnostic::new(Code::Template, "`${` without its closing `}`", open..end)
            .help("there is no escape for a literal `${` in a substitution template"),
        _ => error,
    }
}
