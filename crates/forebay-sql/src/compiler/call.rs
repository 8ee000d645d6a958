//! Calls of functions and casts.

use super::Compiler;
use crate::folding;
use crate::functions::{self, Body, Function};
use crate::program::{CastTarget, Node};
use crate::service_data::DataSource;
use crate::span::Span;
use crate::syntax::{Expr, ExprKind, Name};
use crate::{Code, Diagnostic};

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

impl Compiler<'_> {
    pub(super) fn call(&mut self, name: &Name, arguments: Vec<Expr>, span: Span) -> Node {
        let Some(function) = functions::find(&name.text) else {
            let message = format!("unknown function `{}`", name.text);
            let error = Diagnostic::new(Code::UnknownFunction, message, name.span.range());
            self.errors.push(match functions::nearest(&name.text) {
                Some(nearest) => error.label(format!("did you mean `{nearest}`?")),
                None => error,
            });
            return Node::Undefined;
        };
        let what = format!("the function `{}`", function.name);
        if function.since_2016 && !self.requires_2016(&what, name.span) {
            return Node::Undefined;
        }
        let is_protobuf = functions::is_protobuf(function, &arguments);
        self.placed(function, is_protobuf, &arguments, name.span);
        let spans: Vec<_> = arguments.iter().map(|argument| argument.span).collect();
        let arguments = self.arguments(function, arguments);
        let source = is_protobuf.then_some(DataSource::Protobuf);
        let source = function.needs.or(source);
        let has_source = source.is_none_or(|source| self.environment.has(source));
        match function.body {
            Body::Built { fewest, most, .. } if has_source => {
                if (fewest..=most).contains(&arguments.len()) {
                    return self.prepared(function, arguments, &spans, span);
                }
                self.wrong_count(function.name, fewest, most, arguments.len(), span);
            }
            Body::Built { .. } | Body::Absent => {
                let message = functions::no_source(function.name, source);
                self.error(Code::Unsupported, message, name.span);
            }
        }
        Node::Undefined
    }

    /// Checks that the function may stand here, with these arguments.
    fn placed(&mut self, function: &Function, is_protobuf: bool, arguments: &[Expr], span: Span) {
        if is_protobuf {
            self.protobuf(span);
        }
        if self.in_default
            && (is_protobuf || functions::FORBIDDEN_IN_DEFAULT.contains(&function.name))
        {
            let message = format!(
                "the function `{}` cannot stand in the default value of get_or_default",
                function.name
            );
            self.error(Code::Unexpected, message, span);
        }
        let star = arguments.iter().enumerate().find(|(place, argument)| {
            matches!(argument.kind, ExprKind::Payload) && !(function.takes_star)(arguments, *place)
        });
        if let Some((_, star)) = star {
            let message = format!("the function `{}` takes no `*` here", function.name);
            self.error(Code::Star, message, star.span);
        }
    }

    /// The call itself, with what can be made of its constant arguments.
    fn prepared(
        &mut self,
        function: &Function,
        mut arguments: Vec<Node>,
        spans: &[Span],
        span: Span,
    ) -> Node {
        let Body::Built { evaluate, .. } = function.body else {
            return Node::Undefined;
        };
        if let Some(prepare) = function.prepare
            && let Err(refusal) = prepare(&mut arguments)
        {
            let span = spans.get(refusal.argument).copied().unwrap_or(span);
            self.error(refusal.code, refusal.message, span);
        }
        let is_constant = function.is_pure && arguments.iter().all(folding::is_constant);
        if !is_constant {
            for (argument, span) in arguments.iter().zip(spans) {
                if matches!(argument, Node::Pattern(_)) {
                    self.note_folded(argument, *span);
                }
            }
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

    pub(super) fn cast_target(&mut self, target: &Name) -> Option<CastTarget> {
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
}
