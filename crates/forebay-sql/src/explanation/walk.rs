//! A walk over the syntax tree that notes what is read, called and converted.

use super::{Call, Conversion, Explanation, Folded, OutputPath, PayloadUse, Read};
use crate::functions::{self, Function};
use crate::span::Span;
use crate::syntax::{Expr, ExprKind, Item, Operator, Projection, Query, Statement};
use crate::value::ValueType;

/// What was noted so far.
pub(super) struct Walk {
    pub(super) payload: PayloadUse,
    reads: Vec<Read>,
    calls: Vec<Call>,
    conversions: Vec<Conversion>,
    /// The aliases of the nested queries around the expression, innermost last.
    scopes: Vec<Option<String>>,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            payload: PayloadUse::Unread,
            reads: Vec::new(),
            calls: Vec::new(),
            conversions: Vec::new(),
            scopes: Vec::new(),
        }
    }
}

impl Walk {
    pub(super) fn finish(
        self,
        output: OutputPath,
        folded: Vec<Folded>,
        variables: Vec<String>,
    ) -> Explanation {
        Explanation {
            output,
            payload: self.payload,
            reads: self.reads,
            calls: self.calls,
            conversions: self.conversions,
            folded,
            variables,
        }
    }

    pub(super) fn statement(&mut self, statement: &Statement) {
        for (_, value) in &statement.set {
            self.expression(value);
        }
        match &statement.projection {
            // It needs no look into the payload.
            Projection::Items(items) if matches!(items.as_slice(), [Item::Star]) => {}
            projection => self.projection(projection),
        }
        if let Some(condition) = &statement.condition {
            self.operand(condition, Some(ValueType::Boolean));
        }
    }

    fn projection(&mut self, projection: &Projection) {
        let items = match projection {
            Projection::Value(value) => return self.expression(value),
            Projection::Items(items) => items,
        };
        for item in items {
            match item {
                Item::Star => self.read(Vec::new(), None),
                Item::Members(expr) | Item::Expr { expr, .. } => self.expression(expr),
            }
        }
    }

    /// Notes a member that is read. `span` is missing for a bare `*`, which has no path of its own.
    fn read(&mut self, path: Vec<String>, span: Option<Span>) {
        let of_element = !self.scopes.is_empty();
        if !of_element {
            self.payload = PayloadUse::Parsed;
        }
        let known = |read: &Read| read.path == path && read.of_element == of_element;
        if let Some(span) = span
            && !self.reads.iter().any(known)
        {
            self.reads.push(Read {
                path,
                of_element,
                span: span.range(),
            });
        }
    }

    fn field(&mut self, name: &str, rest: impl Iterator<Item = String>, span: Span) {
        let is_alias = matches!(self.scopes.last(), Some(Some(alias)) if alias == name);
        let first = (!is_alias).then(|| name.to_owned());
        self.read(first.into_iter().chain(rest).collect(), Some(span));
    }

    /// An operand of something that takes `to`, or any type.
    fn operand(&mut self, expr: &Expr, to: Option<ValueType>) {
        self.expression(expr);
        let from = type_of(expr);
        if let Some(to) = to
            && from != Some(to)
        {
            let span = expr.span.range();
            self.conversions.push(Conversion { span, from, to });
        }
    }

    pub(super) fn expression(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Number(_)
            | ExprKind::String(_)
            | ExprKind::Bool(_)
            | ExprKind::Null
            | ExprKind::Variable(_) => {}
            ExprKind::Field(name) => self.field(name, std::iter::empty(), expr.span),
            ExprKind::Payload => self.read(Vec::new(), Some(expr.span)),
            ExprKind::Path { base, path } => {
                let names = path.iter().map(|name| name.text.clone());
                match &base.kind {
                    ExprKind::Field(name) => self.field(name, names, expr.span),
                    ExprKind::Payload => self.read(names.collect(), Some(expr.span)),
                    _ => self.expression(base),
                }
            }
            ExprKind::Call {
                function,
                arguments,
            } => {
                if let Some(known) = functions::find(&function.text) {
                    self.call(known, function.span, arguments);
                }
            }
            ExprKind::Cast { value, .. } => self.expression(value),
            ExprKind::Case {
                operand,
                branches,
                default,
            } => {
                self.expression(operand);
                for (when, then) in branches {
                    self.expression(when);
                    self.expression(then);
                }
                if let Some(default) = default {
                    self.expression(default);
                }
            }
            ExprKind::Exists(query) | ExprKind::Query(query) => self.query(query),
            ExprKind::Array(elements) => elements.iter().for_each(|one| self.expression(one)),
            ExprKind::Object(members) => {
                members.iter().for_each(|(_, value)| self.expression(value));
            }
            ExprKind::Not(operand) => self.operand(operand, Some(ValueType::Boolean)),
            ExprKind::Negate(operand) => self.operand(operand, Some(ValueType::Number)),
            ExprKind::Chain { first, rest } => self.chain(first, rest),
        }
    }

    fn call(&mut self, function: &'static Function, span: Span, arguments: &[Expr]) {
        self.calls.push(Call {
            function: function.name,
            asks_message: !function.is_pure,
            span: span.range(),
        });
        let takes_bytes = matches!(function.name, "encode" | "decode");
        for (place, argument) in arguments.iter().enumerate() {
            match argument.kind {
                // They take the bytes as they were received.
                ExprKind::Payload if takes_bytes && self.scopes.is_empty() => {
                    self.payload = self.payload.max(PayloadUse::Bytes);
                }
                _ => self.operand(argument, function.argument_type(place)),
            }
        }
    }

    fn query(&mut self, query: &Query) {
        self.expression(&query.source);
        self.scopes.push(query.alias.clone());
        self.projection(&query.projection);
        if let Some(condition) = &query.condition {
            self.operand(condition, Some(ValueType::Boolean));
        }
        self.scopes.pop();
    }

    fn chain(&mut self, first: &Expr, rest: &[(Operator, Expr)]) {
        let mut left = type_of(first);
        let mut left_expr = Some(first);
        for (operator, right) in rest {
            let to = match operator {
                Operator::Add => joined(left, type_of(right)),
                operator => operand_type(*operator),
            };
            // From the second operator on the left side is a result, whose type its operator says.
            if let Some(first) = left_expr.take() {
                self.operand(first, to);
            }
            self.operand(right, to);
            left = result_type(*operator, left, type_of(right));
        }
    }
}

/// What an operator converts its operands to.
fn operand_type(operator: Operator) -> Option<ValueType> {
    match operator {
        Operator::Or | Operator::And => Some(ValueType::Boolean),
        Operator::Less
        | Operator::LessEqual
        | Operator::Greater
        | Operator::GreaterEqual
        | Operator::Subtract
        | Operator::Multiply
        | Operator::Divide
        | Operator::DivideExactly
        | Operator::Remainder => Some(ValueType::Number),
        // These compare as they are.
        Operator::Equal | Operator::NotEqual | Operator::In | Operator::Add => None,
    }
}

/// What `+` makes of its operands: with a string on a side both are joined as strings, and nothing else is converted.
fn joined(left: Option<ValueType>, right: Option<ValueType>) -> Option<ValueType> {
    let is_string = |value| value == Some(ValueType::String);
    (is_string(left) || is_string(right)).then_some(ValueType::String)
}

fn result_type(
    operator: Operator,
    left: Option<ValueType>,
    right: Option<ValueType>,
) -> Option<ValueType> {
    match operator {
        Operator::Add => match (left, right) {
            (Some(ValueType::Number), Some(ValueType::Number)) => Some(ValueType::Number),
            _ => joined(left, right),
        },
        Operator::Subtract
        | Operator::Multiply
        | Operator::Divide
        | Operator::DivideExactly
        | Operator::Remainder => Some(ValueType::Number),
        _ => Some(ValueType::Boolean),
    }
}

/// The type of an expression, where it does not depend on the message. What is Undefined at times counts as the type
/// that it has otherwise.
fn type_of(expr: &Expr) -> Option<ValueType> {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::Negate(_) => Some(ValueType::Number),
        ExprKind::String(_) => Some(ValueType::String),
        ExprKind::Bool(_) | ExprKind::Not(_) | ExprKind::Exists(_) => Some(ValueType::Boolean),
        ExprKind::Null => Some(ValueType::Null),
        ExprKind::Array(_) => Some(ValueType::Array),
        ExprKind::Object(_) => Some(ValueType::Object),
        ExprKind::Call { function, .. } => functions::find(&function.text)?.gives,
        ExprKind::Cast { target, .. } => match target.text.to_ascii_lowercase().as_str() {
            "int" | "integer" | "double" | "decimal" => Some(ValueType::Number),
            "bool" | "boolean" => Some(ValueType::Boolean),
            _ => Some(ValueType::String),
        },
        ExprKind::Chain { first, rest } => rest.iter().fold(type_of(first), |left, (op, right)| {
            result_type(*op, left, type_of(right))
        }),
        ExprKind::Field(_)
        | ExprKind::Variable(_)
        | ExprKind::Payload
        | ExprKind::Path { .. }
        | ExprKind::Case { .. }
        | ExprKind::Query(_) => None,
    }
}
