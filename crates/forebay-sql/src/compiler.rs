//! From the syntax tree to a checked program: names, versions, functions and what this version of Forebay evaluates.

use forebay_core::topic::{TopicLimits, validate_filter};

use crate::functions::{self, Body};
use crate::number::Number;
use crate::program::{Item, Items, Node, Projection};
use crate::span::Span;
use crate::syntax::{self, Expr, ExprKind, Name};
use crate::{Code, Diagnostic, SqlVersion};

/// Compiles the parts of one statement or template and collects what is wrong with them.
#[derive(Debug)]
pub(crate) struct Compiler {
    version: SqlVersion,
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Compiler {
    pub(crate) fn new(version: SqlVersion) -> Self {
        Self {
            version,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn error(&mut self, code: Code, message: String, span: Span) {
        self.errors
            .push(Diagnostic::new(code, message, span.range()));
    }

    /// Reports a construct that AWS IoT SQL has and Forebay does not evaluate yet.
    pub(crate) fn unsupported(&mut self, what: &str, span: Span) -> Node {
        self.error(
            Code::Unsupported,
            format!("{what} is not supported by this version of Forebay"),
            span,
        );
        Node::Undefined
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

    /// Checks a topic filter for its form. How long it may be is for the broker to say.
    pub(crate) fn filter(&mut self, filter: Name) -> String {
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

    pub(crate) fn projection(&mut self, projection: syntax::Projection) -> Projection {
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
    pub(crate) fn node(&mut self, expr: Expr) -> Node {
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
            ExprKind::Field(name) => Node::Payload([name.into()].into()),
            ExprKind::Payload => Node::Payload(Box::default()),
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
            ExprKind::Not(operand) => Node::Not(Box::new(self.node(*operand))),
            ExprKind::Negate(operand) => Node::Negate(Box::new(self.node(*operand))),
            ExprKind::Chain { first, rest } => {
                let first = Box::new(self.node(*first));
                Node::Chain(
                    first,
                    rest.into_iter()
                        .map(|(operator, node)| (operator, self.node(node)))
                        .collect(),
                )
            }
            ExprKind::Variable(name) => self.unsupported(&format!("the variable {name}"), span),
            ExprKind::Case {
                operand,
                branches,
                default,
            } => {
                // The parts are checked too, so that one look shows all errors.
                self.node(*operand);
                for (when, then) in branches {
                    self.node(when);
                    self.node(then);
                }
                if let Some(default) = default {
                    self.node(*default);
                }
                self.unsupported("CASE", span)
            }
            ExprKind::Cast { value, target } => {
                self.node(*value);
                self.cast_target(&target);
                self.unsupported("cast", span)
            }
            ExprKind::Exists(query) => self.query("EXISTS", *query, span),
            ExprKind::Query(query) => self.query("a nested SELECT", *query, span),
        }
    }

    fn path(&mut self, base: Expr, path: Vec<Name>) -> Node {
        let path = path.into_iter().map(|name| name.text.into_boxed_str());
        match self.node(base) {
            // Paths that begin at the payload are looked up in one go.
            Node::Payload(names) => Node::Payload(names.into_iter().chain(path).collect()),
            base => Node::Member(Box::new(base), path.collect()),
        }
    }

    fn call(&mut self, name: &Name, arguments: Vec<Expr>, span: Span) -> Node {
        let count = arguments.len();
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
        let star = arguments
            .iter()
            .find(|argument| matches!(argument.kind, ExprKind::Payload))
            .map(|star| star.span);
        let (fewest, most, evaluate) = match function.body {
            Body::Built {
                fewest,
                most,
                evaluate,
            } => (fewest, most, evaluate),
            Body::Planned => {
                // The arguments are checked too, so that one look shows all errors.
                for argument in arguments {
                    self.node(argument);
                }
                return self.unsupported(&format!("the function `{}`", function.name), name.span);
            }
            Body::Remote => {
                let message = format!(
                    "the function `{}` asks a service that Forebay has no source for",
                    function.name
                );
                self.error(Code::Unsupported, message, name.span);
                return Node::Undefined;
            }
        };
        if let Some(star) = star {
            self.error(
                Code::Star,
                format!("the function `{}` takes no `*`", function.name),
                star,
            );
        }
        let arguments: Box<[Node]> = arguments
            .into_iter()
            .map(|argument| self.node(argument))
            .collect();
        if (fewest..=most).contains(&count) {
            return Node::Call(evaluate, arguments);
        }
        let expected = if fewest == most {
            fewest.to_string()
        } else {
            format!("{fewest} to {most}")
        };
        let message = format!(
            "the function `{}` takes {expected} arguments, not {count}: the call is Undefined",
            function.name
        );
        self.warnings
            .push(Diagnostic::new(Code::Arguments, message, span.range()));
        Node::Undefined
    }

    fn cast_target(&mut self, target: &Name) {
        const ALL: [&str; 8] = [
            "String", "Nvarchar", "Text", "Ntext", "Varchar", "Int", "Integer", "Double",
        ];
        const SINCE_2016: [&str; 3] = ["Decimal", "Bool", "Boolean"];
        let is = |known: &&str| known.eq_ignore_ascii_case(&target.text);
        if SINCE_2016.iter().any(is) {
            self.requires_2016(&format!("cast as {}", target.text), target.span);
        } else if !ALL.iter().any(is) {
            let known = ALL
                .iter()
                .chain(&SINCE_2016)
                .copied()
                .collect::<Vec<_>>()
                .join(", ");
            let error = Diagnostic::new(
                Code::Unexpected,
                format!("unknown type `{}`", target.text),
                target.span.range(),
            );
            self.errors
                .push(error.help(format!("the types of cast are {known}")));
        }
    }

    fn query(&mut self, what: &str, query: syntax::Query, span: Span) -> Node {
        if !self.requires_2016(what, span) {
            return Node::Undefined;
        }
        self.node(query.source);
        self.projection(query.projection);
        if let Some(condition) = query.condition {
            self.node(condition);
        }
        self.unsupported(what, span)
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
