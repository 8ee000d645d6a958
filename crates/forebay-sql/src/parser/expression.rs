//! Expressions.

use super::{Parsed, Parser, is_reserved};
use crate::lexer::{Kind, string_value};
use crate::span::Span;
use crate::syntax::{Expr, ExprKind, Name, Operator, Precedence};
use crate::{Code, Diagnostic};

impl Parser<'_> {
    /// An expression whose operators bind at least as tightly as `least`.
    pub(super) fn expression(&mut self, least: Precedence) -> Parsed<Expr> {
        let mut left = self.prefix(least)?;
        while let Some(operator) = self
            .operator()
            .filter(|operator| operator.precedence() >= least)
        {
            self.advance();
            // The level rises with each step down, so operators alone never nest deeply.
            let right = self.expression(operator.precedence().tighter())?;
            left = chain(left, operator, right);
        }
        Ok(left)
    }

    fn operator(&self) -> Option<Operator> {
        Some(match self.current.kind {
            Kind::Equal => Operator::Equal,
            Kind::NotEqual => Operator::NotEqual,
            Kind::Less => Operator::Less,
            Kind::LessEqual => Operator::LessEqual,
            Kind::Greater => Operator::Greater,
            Kind::GreaterEqual => Operator::GreaterEqual,
            Kind::Plus => Operator::Add,
            Kind::Minus => Operator::Subtract,
            Kind::Star => Operator::Multiply,
            Kind::Slash => Operator::Divide,
            Kind::Percent => Operator::Remainder,
            Kind::Word if self.at_keyword("OR") => Operator::Or,
            Kind::Word if self.at_keyword("AND") => Operator::And,
            Kind::Word if self.at_keyword("IN") => Operator::In,
            _ => return None,
        })
    }

    fn prefix(&mut self, least: Precedence) -> Parsed<Expr> {
        let start = self.current.span;
        if self.at_keyword("NOT") && least <= Precedence::Not {
            self.advance();
            let operand = self.nested(|parser| parser.expression(Precedence::Not))?;
            let span = start.to(operand.span);
            return Ok(Expr {
                kind: ExprKind::Not(Box::new(operand)),
                span,
            });
        }
        if self.take(Kind::Minus) {
            let operand = self.nested(|parser| parser.expression(Precedence::Unary))?;
            let span = start.to(operand.span);
            return Ok(Expr {
                kind: ExprKind::Negate(Box::new(operand)),
                span,
            });
        }
        let primary = self.primary()?;
        self.path(primary)
    }

    /// The members that follow `base`. A `.*` is left for the item of a projection.
    fn path(&mut self, base: Expr) -> Parsed<Expr> {
        let mut path = Vec::new();
        while self.at(Kind::Dot) && self.peek() != Kind::Star {
            self.advance();
            path.push(self.any_name("the name of a member")?);
        }
        let Some(last) = path.last() else {
            return match base.kind {
                ExprKind::Payload if !self.at(Kind::Dot) => Err(star(base.span)),
                _ => Ok(base),
            };
        };
        let span = base.span.to(last.span);
        Ok(Expr {
            kind: ExprKind::Path {
                base: Box::new(base),
                path,
            },
            span,
        })
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let token = self.current;
        let kind = match token.kind {
            Kind::Number => {
                self.advance();
                ExprKind::Number(self.text(token).to_owned())
            }
            Kind::String => {
                self.advance();
                ExprKind::String(string_value(self.text(token)))
            }
            Kind::Variable => {
                self.advance();
                ExprKind::Variable(self.text(token).to_owned())
            }
            Kind::Star => {
                self.advance();
                ExprKind::Payload
            }
            Kind::OpenParen => return self.nested(Self::parenthesis),
            Kind::OpenBracket => self.nested(Self::array)?,
            Kind::OpenBrace => self.nested(Self::object)?,
            Kind::Word if self.peek() == Kind::OpenParen || self.at_keyword("CASE") => {
                self.nested(Self::word)?
            }
            Kind::Word => self.word()?,
            _ => return Err(self.unexpected("an expression")),
        };
        Ok(Expr {
            kind,
            span: token.span.to(self.previous),
        })
    }

    fn parenthesis(&mut self) -> Parsed<Expr> {
        let start = self.advance().span;
        let mut inner = if self.at_keyword("SELECT") {
            let query = self.query()?;
            Expr {
                span: start,
                kind: ExprKind::Query(Box::new(query)),
            }
        } else {
            self.expression(Precedence::Or)?
        };
        self.expect(Kind::CloseParen, "`)`")?;
        inner.span = start.to(self.previous);
        Ok(inner)
    }

    fn word(&mut self) -> Parsed<ExprKind> {
        let token = self.current;
        let text = self.text(token);
        let keyword = text.to_ascii_uppercase();
        match keyword.as_str() {
            "TRUE" | "FALSE" => {
                self.advance();
                return Ok(ExprKind::Bool(keyword == "TRUE"));
            }
            "NULL" => {
                self.advance();
                return Ok(ExprKind::Null);
            }
            "CASE" => return self.case(),
            _ if is_reserved(text) => return Err(reserved(text, token.span)),
            _ => {}
        }
        self.advance();
        if !self.at(Kind::OpenParen) {
            return Ok(ExprKind::Field(text.to_owned()));
        }
        match keyword.as_str() {
            "CAST" => self.cast(),
            "EXISTS" => {
                self.advance();
                if !self.at_keyword("SELECT") {
                    return Err(self.unexpected("`SELECT`"));
                }
                let query = self.query()?;
                self.expect(Kind::CloseParen, "`)`")?;
                Ok(ExprKind::Exists(Box::new(query)))
            }
            _ => {
                let function = Name {
                    text: text.to_owned(),
                    span: token.span,
                };
                self.advance();
                let arguments = self.list(Kind::CloseParen, false, Self::argument)?;
                Ok(ExprKind::Call {
                    function,
                    arguments,
                })
            }
        }
    }

    /// An argument of a function or a member of an object literal: an expression, `*`, or a sub-select that needs no
    /// parentheses of its own.
    fn argument(&mut self) -> Parsed<Expr> {
        let start = self.current.span;
        if self.at_keyword("SELECT") {
            let query = self.query()?;
            return Ok(Expr {
                kind: ExprKind::Query(Box::new(query)),
                span: start.to(self.previous),
            });
        }
        if self.at(Kind::Star) && self.peek() != Kind::Dot {
            self.advance();
            return Ok(Expr {
                kind: ExprKind::Payload,
                span: start,
            });
        }
        self.expression(Precedence::Or)
    }

    /// What stands between an opening token, already taken, and `close`, separated by commas.
    fn list<T>(
        &mut self,
        close: Kind,
        trailing_comma: bool,
        mut element: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let what = match close {
            Kind::CloseParen => "`,` or `)`",
            Kind::CloseBracket => "`,` or `]`",
            _ => "`,` or `}`",
        };
        let mut elements = Vec::new();
        if self.take(close) {
            return Ok(elements);
        }
        loop {
            elements.push(element(self)?);
            if self.take(Kind::Comma) {
                if trailing_comma && self.take(close) {
                    return Ok(elements);
                }
            } else {
                self.expect(close, what)?;
                return Ok(elements);
            }
        }
    }

    fn array(&mut self) -> Parsed<ExprKind> {
        self.advance();
        Ok(ExprKind::Array(self.list(
            Kind::CloseBracket,
            true,
            |parser| parser.expression(Precedence::Or),
        )?))
    }

    fn object(&mut self) -> Parsed<ExprKind> {
        self.advance();
        let members = self.list(Kind::CloseBrace, true, |parser| {
            let key = parser.expect(Kind::String, "a member name in quotes")?;
            let name = Name {
                text: string_value(parser.text(key)),
                span: key.span,
            };
            parser.expect(Kind::Colon, "`:`")?;
            Ok((name, parser.argument()?))
        })?;
        Ok(ExprKind::Object(members))
    }

    fn cast(&mut self) -> Parsed<ExprKind> {
        self.advance();
        let value = Box::new(self.expression(Precedence::Or)?);
        self.expect_keyword("AS")?;
        let target = self.any_name("the name of a type")?;
        self.expect(Kind::CloseParen, "`)`")?;
        Ok(ExprKind::Cast { value, target })
    }

    fn case(&mut self) -> Parsed<ExprKind> {
        self.advance();
        let operand = Box::new(self.expression(Precedence::Or)?);
        let mut branches = Vec::new();
        while self.take_keyword("WHEN") {
            let when = self.expression(Precedence::Or)?;
            self.expect_keyword("THEN")?;
            branches.push((when, self.expression(Precedence::Or)?));
        }
        if branches.is_empty() {
            return Err(self.unexpected("`WHEN`"));
        }
        let default = if self.take_keyword("ELSE") {
            Some(Box::new(self.expression(Precedence::Or)?))
        } else {
            None
        };
        self.expect_keyword("END")?;
        Ok(ExprKind::Case {
            operand,
            branches,
            default,
        })
    }
}

/// Joins two operands; operators of one level that follow each other make one flat chain.
fn chain(left: Expr, operator: Operator, right: Expr) -> Expr {
    let span = left.span.to(right.span);
    let kind = match left.kind {
        ExprKind::Chain { first, mut rest }
            if rest
                .last()
                .is_some_and(|(last, _)| last.precedence() == operator.precedence()) =>
        {
            rest.push((operator, right));
            ExprKind::Chain { first, rest }
        }
        _ => ExprKind::Chain {
            first: Box::new(left),
            rest: vec![(operator, right)],
        },
    };
    Expr { kind, span }
}

fn star(span: Span) -> Diagnostic {
    Diagnostic::new(Code::Star, "`*` is no value here", span.range())
        .help("`*` stands for all members of the payload as an item of SELECT, before `.name`, and as an argument")
}

fn reserved(word: &str, span: Span) -> Diagnostic {
    Diagnostic::new(
        Code::Reserved,
        format!("`{word}` is a reserved word and cannot be a bare name"),
        span.range(),
    )
    .help(format!(
        "a member of the payload of that name is read with `*.{word}`"
    ))
}
