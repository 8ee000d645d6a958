//! Substitution templates: text with `${expression}` in it.

use crate::compiler::Compiler;
use crate::environment::Environment;
use crate::program::Node;
use crate::{Diagnostic, SqlVersion};

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
    /// As [`compile_with`](Self::compile_with).
    pub fn compile(text: &str, version: SqlVersion) -> Result<Self, Vec<Diagnostic>> {
        Self::compile_with(text, version, &Environment::DEFAULT)
    }

    /// As [`compile`](Self::compile), in the environment of the rule.
    ///
    /// # Errors
    /// Everything that is wrong with its expressions; an expression without its closing brace.
    pub fn compile_with(
        text: &str,
        version: SqlVersion,
        environment: &Environment,
    ) -> Result<Self, Vec<Diagnostic>> {
        Self::with_variables(text, version, environment, &[])
    }

    pub(crate) fn with_variables(
        text: &str,
        version: SqlVersion,
        environment: &Environment,
        variables: &[String],
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut compiler = Compiler::new(version, environment, variables.to_vec());
        let parts = compiler.template(text, |_| {})?;
        Ok(Self {
            version,
            parts: parts.into(),
            warnings: compiler.warnings,
        })
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
