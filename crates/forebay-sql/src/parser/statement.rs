//! Statements and sub-selects.

use super::{Parsed, Parser, is_reserved};
use crate::lexer::{Kind, Token, string_value};
use crate::syntax::{Expr, ExprKind, Item, Name, Precedence, Projection, Query, Statement};
use crate::{Code, Diagnostic};

impl Parser<'_> {
    pub(super) fn statement(&mut self) -> Parsed<Statement> {
        let set = self.assignments()?;
        let select = self.current;
        if !self.take_keyword("SELECT") {
            return Err(self.hint(self.unexpected("`SELECT`"), &["SELECT"]));
        }
        let projection = self.projection(select)?;
        let filter = if self.take_keyword("FROM") {
            Some(self.filter()?)
        } else {
            None
        };
        let condition = if self.take_keyword("WHERE") {
            Some(self.expression(Precedence::Or)?)
        } else {
            None
        };
        if !self.at(Kind::End) {
            let (expected, words): (_, &[_]) = match (&filter, &condition) {
                (None, None) => (
                    "`FROM`, `WHERE` or the end of the statement",
                    &["FROM", "WHERE", "AS"],
                ),
                (Some(_), None) => ("`WHERE` or the end of the statement", &["WHERE"]),
                _ => ("the end of the statement", &["AND", "OR"]),
            };
            return Err(self.hint(self.unexpected(expected), words));
        }
        Ok(Statement {
            set,
            projection,
            filter,
            condition,
        })
    }

    /// A word that is almost one of `words` was probably meant to be it.
    fn hint(&self, error: Diagnostic, words: &[&str]) -> Diagnostic {
        if !self.at(Kind::Word) {
            return error;
        }
        let found = self.text(self.current).to_ascii_uppercase();
        match words
            .iter()
            .find(|word| strsim::osa_distance(word, &found) <= 1)
        {
            Some(word) => error.label(format!("did you mean `{word}`?")),
            None => error,
        }
    }

    fn assignments(&mut self) -> Parsed<Vec<(Name, Expr)>> {
        let mut set = Vec::new();
        if !self.at_keyword("SET") || self.peek() != Kind::Variable {
            return Ok(set);
        }
        self.advance();
        loop {
            let variable = self.expect(Kind::Variable, "a variable")?;
            let name = Name {
                text: self.text(variable).to_owned(),
                span: variable.span,
            };
            self.expect(Kind::Equal, "`=`")?;
            set.push((name, self.expression(Precedence::Or)?));
            if !self.take(Kind::Comma) {
                return Ok(set);
            }
        }
    }

    fn filter(&mut self) -> Parsed<Name> {
        if self.at(Kind::String) {
            let token = self.advance();
            return Ok(Name {
                text: string_value(self.text(token)),
                span: token.span,
            });
        }
        Err(self
            .unexpected("a topic filter in quotes")
            .help("FROM takes one topic filter in single quotes, such as 'dt/+/telemetry'"))
    }

    fn projection(&mut self, select: Token) -> Parsed<Projection> {
        if !self.value_is_keyword() {
            return Ok(Projection::Items(self.items()));
        }
        self.advance();
        let value = if self.at(Kind::Star) && self.peek() != Kind::Dot {
            let star = self.advance();
            Expr {
                kind: ExprKind::Payload,
                span: star.span,
            }
        } else {
            self.expression(Precedence::Or)?
        };
        if self.at(Kind::Comma) {
            let span = select.span.to(self.current.span).range();
            return Err(Diagnostic::new(
                Code::ValueItems,
                "SELECT VALUE selects exactly one item",
                span,
            ));
        }
        Ok(Projection::Value(value))
    }

    /// After SELECT, `value` is the keyword unless what follows makes it the name of a member.
    fn value_is_keyword(&self) -> bool {
        if !self.at_keyword("VALUE") {
            return false;
        }
        let mut lexer = self.lexer.clone();
        let mut next = || {
            lexer.next().unwrap_or(Token {
                kind: Kind::End,
                span: self.current.span,
            })
        };
        let ends_operand = |token: Token, words: &[&str]| {
            token.kind == Kind::Word
                && words
                    .iter()
                    .any(|word| self.text(token).eq_ignore_ascii_case(word))
        };
        let token = next();
        match token.kind {
            Kind::Star => {
                let token = next();
                matches!(token.kind, Kind::Dot | Kind::End)
                    || ends_operand(token, &["FROM", "WHERE"])
            }
            Kind::Comma
            | Kind::Dot
            | Kind::CloseParen
            | Kind::Plus
            | Kind::Minus
            | Kind::Slash
            | Kind::Percent
            | Kind::Equal
            | Kind::NotEqual
            | Kind::Less
            | Kind::LessEqual
            | Kind::Greater
            | Kind::GreaterEqual
            | Kind::End => false,
            _ => !ends_operand(token, &["AS", "FROM", "IN", "AND", "OR"]),
        }
    }

    fn items(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        loop {
            match self.item() {
                Ok(item) => items.push(item),
                Err(error) => {
                    self.errors.push(error);
                    self.recover();
                }
            }
            if !self.take(Kind::Comma) {
                return items;
            }
        }
    }

    /// Skips to the comma or clause that follows a broken item.
    fn recover(&mut self) {
        let mut open = 0_usize;
        loop {
            match self.current.kind {
                Kind::End => return,
                Kind::OpenParen | Kind::OpenBracket | Kind::OpenBrace => open += 1,
                Kind::CloseParen | Kind::CloseBracket | Kind::CloseBrace => {
                    open = open.saturating_sub(1)
                }
                Kind::Comma if open == 0 => return,
                Kind::Word
                    if open == 0 && (self.at_keyword("FROM") || self.at_keyword("WHERE")) =>
                {
                    return;
                }
                _ => {}
            }
            self.advance();
        }
    }

    fn item(&mut self) -> Parsed<Item> {
        if self.at(Kind::Star) && self.peek() != Kind::Dot {
            let star = self.advance().span;
            let alias = self.alias()?;
            return Ok(match alias {
                None if self.operator_follows() => {
                    return Err(
                        Diagnostic::new(Code::Star, "`*` is no value here", star.range())
                            .help("`*` as an item of SELECT stands alone or before AS"),
                    );
                }
                None => Item::Star,
                alias => Item::Expr {
                    expr: Expr {
                        kind: ExprKind::Payload,
                        span: star,
                    },
                    alias,
                },
            });
        }
        let expr = self.expression(Precedence::Or)?;
        if self.at(Kind::Dot) && self.peek() == Kind::Star {
            let dot = self.advance().span;
            let star = self.advance().span;
            return match expr.kind {
                ExprKind::Payload => Err(Diagnostic::new(
                    Code::Star,
                    "`*.*` selects nothing",
                    expr.span.to(star).range(),
                )
                .help("`*` alone stands for all members of the payload")),
                ExprKind::Chain { .. } | ExprKind::Not(_) | ExprKind::Negate(_) => Err(
                    Diagnostic::new(Code::Star, "`.*` must follow a path", dot.to(star).range()),
                ),
                _ => Ok(Item::Members(expr)),
            };
        }
        let alias = self.alias()?;
        Ok(Item::Expr { expr, alias })
    }

    fn operator_follows(&self) -> bool {
        !matches!(
            self.current.kind,
            Kind::Comma | Kind::End | Kind::CloseParen | Kind::CloseBrace
        ) && !(self.at(Kind::Word))
    }

    fn alias(&mut self) -> Parsed<Option<Vec<Name>>> {
        if !self.take_keyword("AS") {
            if self.at(Kind::Word) && !is_reserved(self.text(self.current)) {
                let error = self.unexpected("`,`, `AS` or the end of the items");
                return Err(match self.hint(error, &["FROM", "WHERE"]) {
                    hinted @ Diagnostic { label: Some(_), .. } => hinted,
                    plain => plain.help("an alias follows AS, such as `temperature AS t`"),
                });
            }
            return Ok(None);
        }
        let mut alias = vec![self.any_name("an alias")?];
        while self.take(Kind::Dot) {
            alias.push(self.any_name("the name of a member")?);
        }
        Ok(Some(alias))
    }

    /// A sub-select, from its SELECT on.
    pub(super) fn query(&mut self) -> Parsed<Query> {
        let select = self.advance();
        let errors = self.errors.len();
        let projection = self.projection(select)?;
        // Items recover by themselves, but inside an expression the first error has to end it.
        if self.errors.len() > errors {
            self.errors.truncate(errors + 1);
            if let Some(error) = self.errors.pop() {
                return Err(error);
            }
        }
        self.expect_keyword("FROM")?;
        let source = self.query_source()?;
        let alias = if self.take_keyword("AS") {
            Some(self.any_name("an alias")?.text)
        } else {
            None
        };
        let condition = if self.take_keyword("WHERE") {
            Some(self.expression(Precedence::Or)?)
        } else {
            None
        };
        Ok(Query {
            projection,
            source,
            alias,
            condition,
        })
    }

    fn query_source(&mut self) -> Parsed<Expr> {
        if self.at(Kind::Star) && self.peek() != Kind::Dot {
            let span = self.advance().span;
            return Ok(Expr {
                kind: ExprKind::Payload,
                span,
            });
        }
        self.expression(Precedence::Or)
    }
}
