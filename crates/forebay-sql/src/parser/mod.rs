//! The parser: a Pratt parser for expressions under a recursive descent for statements.
//!
//! Words are keywords by their place, so that a payload may have members named `set`, `value` or `end`. After an
//! error in an item of a statement the parser goes on at the next comma or clause, so that one look shows all errors.

mod expression;
mod statement;

use forebay_core::limits::EXPRESSION_DEPTH_MAX;

use crate::lexer::{Kind, Lexer, Token};
use crate::span::Span;
use crate::syntax::{Expr, Name, Precedence, Statement};
use crate::{Code, Diagnostic};

/// Words that can never be a bare name.
const RESERVED: [&str; 16] = [
    "SELECT", "FROM", "WHERE", "AND", "OR", "NOT", "IN", "AS", "CASE", "WHEN", "THEN", "ELSE",
    "END", "TRUE", "FALSE", "NULL",
];

/// Parses a statement.
///
/// # Errors
/// Everything that is wrong with its syntax.
pub(crate) fn statement(text: &str) -> Result<Statement, Vec<Diagnostic>> {
    let mut parser = Parser::new(text, 0);
    let statement = parser.statement();
    parser.finish(statement)
}

/// Parses the expression of a substitution template, which begins at byte `at` and ends with `}`. Returns the byte
/// behind that brace.
///
/// # Errors
/// What is wrong with its syntax.
pub(crate) fn template_expression(text: &str, at: usize) -> Result<(Expr, usize), Diagnostic> {
    let mut parser = Parser::new(text, at);
    let parsed = parser.expression(Precedence::Or).and_then(|expr| {
        if parser.current.kind == Kind::CloseBrace {
            Ok((expr, parser.current.span.end as usize))
        } else {
            Err(parser.unexpected("`}`"))
        }
    });
    // A broken token was replaced by the end of the text; what the lexer said about it explains more.
    match parser.errors.pop() {
        Some(error) => Err(error),
        None => parsed,
    }
}

type Parsed<T> = Result<T, Diagnostic>;

struct Parser<'t> {
    lexer: Lexer<'t>,
    current: Token,
    previous: Span,
    depth: usize,
    errors: Vec<Diagnostic>,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str, at: usize) -> Self {
        let start = Span::new(at, at);
        let mut parser = Self {
            lexer: Lexer::new(text, at),
            current: Token {
                kind: Kind::End,
                span: start,
            },
            previous: start,
            depth: 0,
            errors: Vec::new(),
        };
        parser.advance();
        parser
    }

    fn finish(mut self, statement: Parsed<Statement>) -> Result<Statement, Vec<Diagnostic>> {
        match statement {
            Ok(statement) if self.errors.is_empty() => return Ok(statement),
            Ok(_) => {}
            Err(error) => self.errors.push(error),
        }
        // What follows a broken token is often an echo of it: one error per place is enough.
        self.errors.sort_by_key(|error| error.span.start);
        self.errors.dedup_by_key(|error| error.span.start);
        Err(self.errors)
    }

    /// Takes the current token. A broken token is reported and stands for the end of the text.
    fn advance(&mut self) -> Token {
        let taken = self.current;
        self.previous = taken.span;
        self.current = self.lexer.next().unwrap_or_else(|error| {
            let span = Span::new(error.span.start, error.span.end);
            self.errors.push(error);
            Token {
                kind: Kind::End,
                span,
            }
        });
        taken
    }

    /// The token after the current one.
    fn peek(&self) -> Kind {
        self.lexer
            .clone()
            .next()
            .map_or(Kind::End, |token| token.kind)
    }

    fn text(&self, token: Token) -> &'t str {
        self.lexer.text(token.span)
    }

    fn at(&self, kind: Kind) -> bool {
        self.current.kind == kind
    }

    fn take(&mut self, kind: Kind) -> bool {
        let found = self.at(kind);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, kind: Kind, what: &str) -> Parsed<Token> {
        if self.at(kind) {
            Ok(self.advance())
        } else {
            Err(self.unexpected(what))
        }
    }

    fn at_keyword(&self, keyword: &str) -> bool {
        self.at(Kind::Word) && self.text(self.current).eq_ignore_ascii_case(keyword)
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = self.at_keyword(keyword);
        if found {
            self.advance();
        }
        found
    }

    fn expect_keyword(&mut self, keyword: &str) -> Parsed<()> {
        if self.take_keyword(keyword) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("`{keyword}`")))
        }
    }

    /// Any word as a name: after `.` and after AS keywords are names.
    fn any_name(&mut self, what: &str) -> Parsed<Name> {
        let token = self.expect(Kind::Word, what)?;
        Ok(Name {
            text: self.text(token).to_owned(),
            span: token.span,
        })
    }

    fn unexpected(&self, expected: &str) -> Diagnostic {
        let span = self.current.span.range();
        if self.at(Kind::End) {
            return Diagnostic::new(
                Code::End,
                format!("expected {expected}, but the text ends here"),
                span,
            );
        }
        let found = self.text(self.current);
        let error = Diagnostic::new(
            Code::Unexpected,
            format!("expected {expected}, found `{found}`"),
            span,
        );
        let rest = self.lexer.text(Span {
            start: self.current.span.start,
            end: self.current.span.start + 2,
        });
        match rest {
            "--" | "/*" | "//" => error.help("AWS IoT SQL has no comments"),
            _ => error,
        }
    }

    /// Runs `inner` one nesting level deeper.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == EXPRESSION_DEPTH_MAX {
            let message =
                format!("expression nested too deeply: more than {EXPRESSION_DEPTH_MAX} levels");
            return Err(Diagnostic::new(
                Code::Depth,
                message,
                self.current.span.range(),
            ));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }
}

fn is_reserved(word: &str) -> bool {
    word.eq_ignore_ascii_case("UNDEFINED")
        || RESERVED
            .iter()
            .any(|reserved| word.eq_ignore_ascii_case(reserved))
}
