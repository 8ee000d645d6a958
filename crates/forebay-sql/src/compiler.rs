//! From the syntax tree to a checked program: names, versions, functions and what this version of Forebay evaluates.

use forebay_core::limits::EXPRESSION_DEPTH_MAX;
use forebay_core::topic::{TopicLimits, validate_filter};

use crate::environment::{Environment, IntDivision};
use crate::explanation::Folded;
use crate::folding;
use crate::functions::{self, Body, Function};
use crate::number::Number;
use crate::program::{Case, CastTarget, Item, Items, Node, Projection, Query};
use crate::service_data::DataSource;
use crate::span::Span;
use crate::syntax::{self, Expr, ExprKind, Name, Operator};
use crate::template::Part;
use crate::{Code, Diagnostic, SqlVersion, parser};

/// Variables of one statement (AWS IoT developer guide, SET clause).
const VARIABLES_MAX: usize = 10;

/// Calls of `decode(…, 'proto', …)` in one statement (same guide, decoding protobuf message payloads).
const PROTOBUF_CALLS_MAX: usize = 2;

/// The types of cast (same guide, function cast).
const CAST_TARGETS: [(&str, CastTarget); 11] = [
    ("String", CastTarget::Text),
    ("Nvarchar", CastTarget::Text),
    ("Text", CastTarget::Text),
    ("Ntext", CastTarget::Text),
    ("Varchar", CastTarget::Text),
    ("Int", CastTarget::Int),
    ("Integer", CastTarget::Int),
    ("Double", CastTarget::Double),
    ("Decimal", CastTarget::Decimal),
    ("Bool", CastTarget::Bool),
    ("Boolean", CastTarget::Bool),
];

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

    fn projection(&mut self, projection: syntax::Projection) -> Projection {
        let items = match projection {
            syntax::Projection::Value(value) => return Projection::Value(self.node(value)),
            syntax::Projection::Items(items) => items,
        };
        if let [syntax::Item::Star] = items.as_slice() {
            return Projection::Star;
        }
        let mut compiled = Vec::with_capacity(items.len());
        for (position, item) in items.into_iter().enumerate() {
            self.item(position, item, &mut compiled);
        }
        let stars = compiled
            .iter()
            .filter(|item| matches!(item, Item::Star))
            .count();
        let leading_star = stars == 1 && matches!(compiled.first(), Some(Item::Star));
        Projection::Items(Items {
            may_collide: may_collide(&compiled),
            leading_star,
            items: compiled.into(),
        })
    }

    fn item(&mut self, position: usize, item: syntax::Item, compiled: &mut Vec<Item>) {
        match item {
            syntax::Item::Star => compiled.push(Item::Star),
            syntax::Item::Members(expr) => {
                let node = self.node(expr);
                compiled.push(Item::Members(node));
            }
            syntax::Item::Expr {
                expr,
                alias: Some(alias),
            } => {
                if let Some(name) = alias.get(EXPRESSION_DEPTH_MAX) {
                    let message = format!("alias of more than {EXPRESSION_DEPTH_MAX} nested names");
                    self.error(Code::Depth, message, name.span);
                }
                let names = alias.into_iter().map(|name| name.text.into()).collect();
                let node = self.node(expr);
                compiled.push(Item::Named(names, node));
            }
            syntax::Item::Expr {
                expr:
                    Expr {
                        kind: ExprKind::Object(members),
                        span,
                    },
                alias: None,
            } => {
                // Without an alias the members of an object literal are members of the output.
                if self.requires_2016("an object literal", span) {
                    for (name, member) in members {
                        let node = self.node(member);
                        compiled.push(Item::Named([name.text.into()].into(), node));
                    }
                }
            }
            syntax::Item::Expr { expr, alias: None } => {
                let name = own_name(&expr).unwrap_or_else(|| format!("_{position}"));
                let node = self.node(expr);
                compiled.push(Item::Named([name.into()].into(), node));
            }
        }
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

    fn call(&mut self, name: &Name, arguments: Vec<Expr>, span: Span) -> Node {
        let Some(function) = functions::find(&name.text) else {
            let error = Diagnostic::new(
                Code::UnknownFunction,
                format!("unknown function `{}`", name.text),
                name.span.range(),
            );
            self.errors.push(match functions::nearest(&name.text) {
                Some(nearest) => error.label(format!("did you mean `{nearest}`?")),
                None => error,
            });
            return Node::Undefined;
        };
        if function.since_2016
            && !self.requires_2016(&format!("the function `{}`", function.name), name.span)
        {
            return Node::Undefined;
        }
        let is_protobuf = functions::is_protobuf(function, &arguments);
        if is_protobuf {
            self.protobuf(name.span);
        }
        if self.in_default
            && (is_protobuf || functions::FORBIDDEN_IN_DEFAULT.contains(&function.name))
        {
            let message = format!(
                "the function `{}` cannot stand in the default value of get_or_default",
                function.name
            );
            self.error(Code::Unexpected, message, name.span);
        }
        let star = arguments.iter().enumerate().find(|(place, argument)| {
            matches!(argument.kind, ExprKind::Payload) && !(function.takes_star)(&arguments, *place)
        });
        if let Some((_, star)) = star {
            let message = format!("the function `{}` takes no `*` here", function.name);
            self.error(Code::Star, message, star.span);
        }
        let spans: Vec<_> = arguments.iter().map(|argument| argument.span).collect();
        let mut arguments = self.arguments(function, arguments);
        let (fewest, most, evaluate) = match function.body {
            Body::Built {
                fewest,
                most,
                evaluate,
            } => (fewest, most, evaluate),
            Body::Absent => {
                let message = functions::no_source(function.name, None);
                self.error(Code::Unsupported, message, name.span);
                return Node::Undefined;
            }
        };
        let needs = function
            .needs
            .or(is_protobuf.then_some(DataSource::Protobuf));
        if let Some(source) = needs
            && !self.environment.has(source)
        {
            let message = functions::no_source(function.name, Some(source));
            self.error(Code::Unsupported, message, name.span);
            return Node::Undefined;
        }
        if !(fewest..=most).contains(&arguments.len()) {
            self.wrong_count(function.name, fewest, most, arguments.len(), span);
            return Node::Undefined;
        }
        if let Some(prepare) = function.prepare
            && let Err(refusal) = prepare(&mut arguments)
        {
            let span = spans.get(refusal.argument).copied().unwrap_or(span);
            self.error(refusal.code, refusal.message, span);
        }
        let is_constant = function.is_pure && arguments.iter().all(folding::is_constant);
        if let Some(pattern) = arguments
            .iter()
            .position(|argument| matches!(argument, Node::Pattern(_)))
            .filter(|_| !is_constant)
            && let Some(span) = spans.get(pattern)
        {
            self.note_folded(&arguments[pattern], *span);
        }
        self.folded_if(is_constant, Node::Call(evaluate, arguments.into()), span)
    }

    /// Checks that a statement decodes protobuf at most twice, and a template never.
    fn protobuf(&mut self, span: Span) {
        self.protobuf_calls += 1;
        if self.in_template {
            let message = "a substitution template cannot decode protobuf".to_owned();
            self.error(Code::Unexpected, message, span);
        } else if self.protobuf_calls > PROTOBUF_CALLS_MAX {
            let message = format!("protobuf is decoded more than {PROTOBUF_CALLS_MAX} times");
            self.error(Code::Unexpected, message, span);
        }
    }

    fn arguments(&mut self, function: &Function, arguments: Vec<Expr>) -> Vec<Node> {
        let outer = self.in_default;
        let has_default = function.name == functions::WITH_DEFAULT;
        let nodes = arguments
            .into_iter()
            .enumerate()
            .map(|(place, argument)| {
                self.in_default = outer || (has_default && place == 1);
                self.node(argument)
            })
            .collect();
        self.in_default = outer;
        nodes
    }

    /// A call with a wrong number of arguments is Undefined, which is no error.
    fn wrong_count(&mut self, name: &str, fewest: usize, most: usize, count: usize, span: Span) {
        let expected = if fewest == most {
            fewest.to_string()
        } else {
            format!("{fewest} to {most}")
        };
        let message = format!(
            "the function `{name}` takes {expected} arguments, not {count}: the call is Undefined"
        );
        self.warnings
            .push(Diagnostic::new(Code::Arguments, message, span.range()));
    }

    fn cast_target(&mut self, target: &Name) -> Option<CastTarget> {
        let is = |known: &&(&str, CastTarget)| known.0.eq_ignore_ascii_case(&target.text);
        if let Some((_, found)) = CAST_TARGETS.iter().find(is) {
            let is_new = matches!(found, CastTarget::Decimal | CastTarget::Bool);
            if is_new {
                self.requires_2016(&format!("cast as {}", target.text), target.span);
            }
            return Some(*found);
        }
        let known: Vec<_> = CAST_TARGETS.iter().map(|(name, _)| *name).collect();
        let error = Diagnostic::new(
            Code::Unexpected,
            format!("unknown type `{}`", target.text),
            target.span.range(),
        );
        self.errors
            .push(error.help(format!("the types of cast are {}", known.join(", "))));
        None
    }

    fn query(&mut self, query: syntax::Query) -> Query {
        let wraps = matches!(query.source.kind, ExprKind::Payload);
        // Its source is seen from outside, everything else from inside.
        let source = self.node(query.source);
        self.scopes.push(query.alias);
        let projection = self.projection(query.projection);
        let condition = query.condition.map(|condition| self.node(condition));
        self.scopes.pop();
        Query {
            source,
            wraps,
            projection,
            condition,
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

/// The name of an item without alias: the last name of a path, or the name of a function.
fn own_name(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Field(name) => Some(name.clone()),
        ExprKind::Path { path, .. } => path.last().map(|name| name.text.clone()),
        ExprKind::Call { function, .. } => Some(function.text.to_ascii_lowercase()),
        ExprKind::Cast { .. } => Some("cast".to_owned()),
        _ => None,
    }
}

/// Whether two items may give a member of one name. A leading `*` is not asked here: its members are compared with
/// the others for each message.
fn may_collide(items: &[Item]) -> bool {
    let merges = items
        .iter()
        .filter(|item| !matches!(item, Item::Named(..)))
        .count();
    if merges > usize::from(matches!(items.first(), Some(Item::Star))) {
        return true;
    }
    let mut names: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            Item::Named(names, _) => names.first(),
            Item::Star | Item::Members(_) => None,
        })
        .collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}
