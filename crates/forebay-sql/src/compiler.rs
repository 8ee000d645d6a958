//! From the syntax tree to a checked program: names, versions, functions and what this version of Forebay evaluates.

mod call;
mod projection;

use forebay_core::topic::{TopicLimits, validate_filter};

use crate::environment::{Environment, IntDivision};
use crate::explanation::Folded;
use crate::folding;
use crate::number::Number;
use crate::program::{Case, Node, Projection};
use crate::span::Span;
use crate::syntax::{self, Expr, ExprKind, Name, Operator};
use crate::template::Part;
use crate::{Code, Diagnostic, SqlVersion, parser};

/// Variables of one statement (AWS IoT developer guide, SET clause).
const VARIABLES_MAX: usize = 10;

/// The parts of a compiled statement.
pub(crate) struct Parts {
    pub(crate) variables: Box<[Node]>,
    pub(crate) projection: Projection,
    pub(crate) condition: Option<Node>,
    pub(crate) filter: Option<String>,
}

/// Compiles the parts of one statement or template and collects what is wrong with them.
#[derive(Debug)]
pub(crate) struct Compiler<'e> {
    version: SqlVersion,
    environment: &'e Environment,
    /// Names of the variables that are assigned so far, `@` included.
    variables: Vec<String>,
    /// The nested queries around the expression, innermost last, each with its alias.
    scopes: Vec<Option<String>>,
    /// Inside the default value of `get_or_default`.
    in_default: bool,
    in_template: bool,
    protobuf_calls: usize,
    /// What was evaluated once and for all, if somebody asks.
    pub(crate) folded: Option<Vec<Folded>>,
    errors: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl<'e> Compiler<'e> {
    /// A compiler for a statement, or for templates that may use the variables of one.
    pub(crate) fn new(
        version: SqlVersion,
        environment: &'e Environment,
        variables: Vec<String>,
    ) -> Self {
        Self {
            version,
            environment,
            variables,
            scopes: Vec::new(),
            in_default: false,
            in_template: false,
            protobuf_calls: 0,
            folded: None,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn error(&mut self, code: Code, message: String, span: Span) {
        self.errors
            .push(Diagnostic::new(code, message, span.range()));
    }

    /// Reports a construct that the rule's SQL version does not have; true when it has it.
    fn requires_2016(&mut self, what: &str, span: Span) -> bool {
        if self.version.is_2016() {
            return true;
        }
        let message = format!(
            "{what} needs SQL version 2016-03-23, and the rule has {}",
            self.version
        );
        self.errors
            .push(Diagnostic::new(Code::Version, message, span.range()).help(
            "set \"awsIotSqlVersion\": \"2016-03-23\"; without it a rule has version 2015-10-08",
        ));
        false
    }

    /// Compiles a whole statement.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text.
    pub(crate) fn statement(
        &mut self,
        parsed: syntax::Statement,
    ) -> Result<Parts, Vec<Diagnostic>> {
        let variables = self.assignments(parsed.set);
        let projection = self.projection(parsed.projection);
        let filter = parsed.filter.map(|filter| self.filter(filter));
        let condition = parsed.condition.map(|condition| self.node(condition));
        let mut errors = std::mem::take(&mut self.errors);
        if !errors.is_empty() {
            errors.sort_by_key(|error| error.span.start);
            return Err(errors);
        }
        Ok(Parts {
            variables,
            projection,
            condition,
            filter,
        })
    }

    /// Compiles a template. `each` sees every expression before it is compiled.
    ///
    /// # Errors
    /// Everything that is wrong with its expressions; an expression without its closing brace.
    pub(crate) fn template(
        &mut self,
        text: &str,
        mut each: impl FnMut(&Expr),
    ) -> Result<Vec<Part>, Vec<Diagnostic>> {
        const OPEN: &str = "${";
        self.in_template = true;
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
                    each(&expr);
                    parts.push(Part::Expression(self.node(expr)));
                    at = end;
                }
                Err(error) => {
                    self.errors.push(unfinished(error, open, text.len()));
                    break;
                }
            }
        }
        let errors = std::mem::take(&mut self.errors);
        if errors.is_empty() {
            Ok(parts)
        } else {
            Err(errors)
        }
    }

    /// Compiles the assignments of SET. A variable is visible in those that follow it.
    fn assignments(&mut self, set: Vec<(Name, Expr)>) -> Box<[Node]> {
        if let Some((variable, _)) = set.get(VARIABLES_MAX) {
            let message = format!("more than {VARIABLES_MAX} variables");
            self.error(Code::Variable, message, variable.span);
        }
        set.into_iter()
            .map(|(variable, value)| {
                let node = self.node(value);
                if self.variables.contains(&variable.text) {
                    let message = format!("the variable {} is assigned twice", variable.text);
                    self.error(Code::Variable, message, variable.span);
                }
                self.variables.push(variable.text);
                node
            })
            .collect()
    }

    /// The variables that were assigned, by place.
    pub(crate) fn into_variables(self) -> Vec<String> {
        self.variables
    }

    /// Evaluates what has constant operands only.
    fn fold(&mut self, node: Node, span: Span) -> Node {
        match folding::fold(&node, self.version) {
            Some(constant) => {
                self.note_folded(&constant, span);
                constant
            }
            None => node,
        }
    }

    fn note_folded(&mut self, constant: &Node, span: Span) {
        let Some(folded) = &mut self.folded else {
            return;
        };
        // The operands were folded first; the whole is what counts.
        folded.retain(|inner| {
            inner.span.start < span.range().start || inner.span.end > span.range().end
        });
        folded.push(Folded::new(constant, span.range()));
    }

    fn variable(&mut self, name: &str, span: Span) -> Node {
        match self.variables.iter().position(|known| known == name) {
            Some(place) => Node::Variable(place),
            None => {
                let message = format!("the variable {name} is not assigned before it is used");
                self.error(Code::Variable, message, span);
                Node::Undefined
            }
        }
    }

    /// A bare name: a member of the payload, or of the element of the query around it.
    fn field(&self, name: String) -> Node {
        match self.scopes.last() {
            None => Node::Payload([name.into()].into()),
            // The alias wins over a member of the same name.
            Some(Some(alias)) if *alias == name => Node::Element(Box::default()),
            Some(_) => Node::Element([name.into()].into()),
        }
    }

    /// `*` as a value: the payload, or the element of the query around it.
    fn whole(&self) -> Node {
        if self.scopes.is_empty() {
            Node::Payload(Box::default())
        } else {
            Node::Element(Box::default())
        }
    }

    /// Checks a topic filter for its form. How long it may be is for the broker to say.
    fn filter(&mut self, filter: Name) -> String {
        let unlimited = TopicLimits {
            bytes_max: usize::MAX,
            levels_max: usize::MAX,
        };
        if let Err(reason) = validate_filter(&filter.text, unlimited) {
            let message = format!("{:?} is no topic filter: {reason}", filter.text);
            self.error(Code::Filter, message, filter.span);
        }
        filter.text
    }

    /// Compiles an expression. What cannot be compiled is reported and stands as Undefined.
    fn node(&mut self, expr: Expr) -> Node {
        let span = expr.span;
        match expr.kind {
            ExprKind::Number(text) => match Number::literal(text.as_bytes(), self.version) {
                Some(number) => Node::Number(number),
                None => {
                    self.error(
                        Code::Range,
                        format!("the number {text} is beyond the range of Decimal"),
                        span,
                    );
                    Node::Undefined
                }
            },
            ExprKind::String(text) => Node::Text(text.into()),
            ExprKind::Bool(value) => Node::Bool(value),
            ExprKind::Null => Node::Null,
            ExprKind::Field(name) => self.field(name),
            ExprKind::Payload => self.whole(),
            ExprKind::Path { base, path } => self.path(*base, path),
            ExprKind::Call {
                function,
                arguments,
            } => self.call(&function, arguments, span),
            ExprKind::Array(elements) => {
                self.requires_2016("an array literal", span);
                Node::Array(
                    elements
                        .into_iter()
                        .map(|element| self.node(element))
                        .collect(),
                )
            }
            ExprKind::Object(members) => {
                self.requires_2016("an object literal", span);
                Node::Object(
                    members
                        .into_iter()
                        .map(|(name, value)| (name.text.into(), self.node(value)))
                        .collect(),
                )
            }
            ExprKind::Not(operand) => {
                let operand = Box::new(self.node(*operand));
                let is_constant = folding::is_constant(&operand);
                self.folded_if(is_constant, Node::Not(operand), span)
            }
            ExprKind::Negate(operand) => {
                let operand = Box::new(self.node(*operand));
                let is_constant = folding::is_constant(&operand);
                self.folded_if(is_constant, Node::Negate(operand), span)
            }
            ExprKind::Chain { first, rest } => self.chain(*first, rest, span),
            ExprKind::Variable(name) => self.variable(&name, span),
            ExprKind::Case {
                operand,
                branches,
                default,
            } => Node::Case(Box::new(Case {
                operand: self.node(*operand),
                branches: branches
                    .into_iter()
                    .map(|(when, then)| (self.node(when), self.node(then)))
                    .collect(),
                default: default.map(|default| self.node(*default)),
            })),
            ExprKind::Cast { value, target } => {
                let value = Box::new(self.node(*value));
                let is_constant = folding::is_constant(&value);
                match self.cast_target(&target) {
                    Some(target) => self.folded_if(is_constant, Node::Cast(value, target), span),
                    None => Node::Undefined,
                }
            }
            ExprKind::Exists(query) => {
                self.requires_2016("EXISTS", span);
                Node::Exists(Box::new(self.query(*query)))
            }
            ExprKind::Query(query) => {
                self.requires_2016("a nested SELECT", span);
                Node::Query(Box::new(self.query(*query)))
            }
        }
    }

    fn folded_if(&mut self, is_constant: bool, node: Node, span: Span) -> Node {
        if is_constant {
            self.fold(node, span)
        } else {
            node
        }
    }

    fn chain(&mut self, first: Expr, rest: Vec<(Operator, Expr)>, span: Span) -> Node {
        let first = Box::new(self.node(first));
        let rest: Box<[_]> = rest
            .into_iter()
            .map(|(operator, operand)| {
                let operator = match (operator, self.environment.int_division) {
                    (Operator::Divide, IntDivision::Decimal) => Operator::DivideExactly,
                    _ => operator,
                };
                (operator, self.node(operand))
            })
            .collect();
        let is_constant = folding::is_constant(&first)
            && rest
                .iter()
                .all(|(_, operand)| folding::is_constant(operand));
        self.folded_if(is_constant, Node::Chain(first, rest), span)
    }

    fn path(&mut self, base: Expr, path: Vec<Name>) -> Node {
        let path = path.into_iter().map(|name| name.text.into_boxed_str());
        match self.node(base) {
            // Paths that begin at the payload are looked up in one go.
            Node::Payload(names) => Node::Payload(names.into_iter().chain(path).collect()),
            Node::Element(names) => Node::Element(names.into_iter().chain(path).collect()),
            base => Node::Member(Box::new(base), path.collect()),
        }
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
