//! Compiled statements.

use crate::compiler::Compiler;
use crate::environment::Environment;
use crate::program::{Node, Projection};
use crate::{Diagnostic, SqlVersion, Template, parser};

/// How the payload's own members are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SelectStar {
    /// `SELECT *` gives the payload's own bytes, `SELECT *, items` begins with them.
    #[default]
    Verbatim,
    /// Both are written anew, without white space.
    Compact,
}

/// A statement, checked and compiled: immutable, and shared by all threads that evaluate it.
#[derive(Debug)]
pub struct Statement {
    pub(crate) version: SqlVersion,
    /// The values of the variables, in the order of SET.
    pub(crate) variables: Box<[Node]>,
    names: Vec<String>,
    pub(crate) projection: Projection,
    pub(crate) condition: Option<Node>,
    filter: Option<String>,
    warnings: Vec<Diagnostic>,
}

impl Statement {
    /// Checks and compiles `sql` under a version of the language, in an environment that is as AWS IoT has it.
    ///
    /// # Errors
    /// As [`compile_with`](Self::compile_with).
    pub fn compile(sql: &str, version: SqlVersion) -> Result<Self, Vec<Diagnostic>> {
        Self::compile_with(sql, version, &Environment::DEFAULT)
    }

    /// Checks and compiles `sql` under a version of the language.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text: syntax, names, constructs that the version does
    /// not have or that Forebay does not evaluate.
    pub fn compile_with(
        sql: &str,
        version: SqlVersion,
        environment: &Environment,
    ) -> Result<Self, Vec<Diagnostic>> {
        let parsed = parser::statement(sql)?;
        let mut compiler = Compiler::new(version, environment, Vec::new());
        let parts = compiler.statement(parsed)?;
        Ok(Self {
            version,
            variables: parts.variables,
            projection: parts.projection,
            condition: parts.condition,
            filter: parts.filter,
            warnings: std::mem::take(&mut compiler.warnings),
            names: compiler.into_variables(),
        })
    }

    /// Checks and compiles a template of the statement's rule, which may use the statement's variables: evaluated after
    /// the statement, it sees their values.
    ///
    /// # Errors
    /// As [`Template::compile_with`].
    pub fn template(&self, text: &str) -> Result<Template, Vec<Diagnostic>> {
        self.template_with(text, &Environment::DEFAULT)
    }

    /// As [`template`](Self::template), in the environment of the rule.
    ///
    /// # Errors
    /// As [`Template::compile_with`].
    pub fn template_with(
        &self,
        text: &str,
        environment: &Environment,
    ) -> Result<Template, Vec<Diagnostic>> {
        Template::with_variables(text, self.version, environment, &self.names)
    }

    /// The names of its variables, `@` included, in the order of SET.
    pub fn variables(&self) -> &[String] {
        &self.names
    }

    /// The version of the language that it was compiled under.
    pub fn version(&self) -> SqlVersion {
        self.version
    }

    /// The topic filter; `None` for a statement without FROM.
    pub fn filter(&self) -> Option<&str> {
        self.filter.as_deref()
    }

    /// What works and is probably not meant, such as a call with a wrong number of arguments.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}
