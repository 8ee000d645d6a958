//! Compiled statements.

use crate::compiler::Compiler;
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
    /// Checks and compiles `sql` under a version of the language.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text: syntax, names, constructs that the version does
    /// not have or that Forebay does not evaluate.
    pub fn compile(sql: &str, version: SqlVersion) -> Result<Self, Vec<Diagnostic>> {
        let parsed = parser::statement(sql)?;
        let mut compiler = Compiler::new(version);
        let variables = compiler.assignments(parsed.set);
        let projection = compiler.projection(parsed.projection);
        let filter = parsed.filter.map(|filter| compiler.filter(filter));
        let condition = parsed.condition.map(|condition| compiler.node(condition));
        let mut errors = std::mem::take(&mut compiler.errors);
        let warnings = std::mem::take(&mut compiler.warnings);
        if !errors.is_empty() {
            errors.sort_by_key(|error| error.span.start);
            return Err(errors);
        }
        Ok(Self {
            version,
            variables,
            names: compiler.into_variables(),
            projection,
            condition,
            filter,
            warnings,
        })
    }

    /// Checks and compiles a template of the statement's rule, which may use the statement's variables: evaluated after
    /// the statement, it sees their values.
    ///
    /// # Errors
    /// As [`Template::compile`].
    pub fn template(&self, text: &str) -> Result<Template, Vec<Diagnostic>> {
        Template::with_variables(text, self.version, &self.names)
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
