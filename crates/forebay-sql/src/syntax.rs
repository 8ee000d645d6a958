//! The syntax tree of statements, sub-selects and expressions, with spans.

use crate::span::Span;

/// A statement.
#[derive(Debug)]
pub(crate) struct Statement {
    /// The variables that SET assigns, and what to.
    pub(crate) set: Vec<(Name, Expr)>,
    pub(crate) projection: Projection,
    pub(crate) filter: Option<Name>,
    pub(crate) condition: Option<Expr>,
}

/// What SELECT selects.
#[derive(Debug)]
pub(crate) enum Projection {
    Value(Expr),
    Items(Vec<Item>),
}

/// One item of a projection.
#[derive(Debug)]
pub(crate) enum Item {
    /// `*`
    Star,
    /// `path.*`
    Members(Expr),
    /// `expr` or `expr AS alias`; `* AS alias` has [`ExprKind::Payload`].
    Expr {
        expr: Expr,
        alias: Option<Vec<Name>>,
    },
}

/// A name or a piece of text and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// An expression.
#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) kind: ExprKind,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) enum ExprKind {
    /// The text of a number literal.
    Number(String),
    String(String),
    Bool(bool),
    Null,
    /// A bare name: a member of the payload.
    Field(String),
    Variable(String),
    /// `*` as a value: the whole payload.
    Payload,
    /// `base.a.b`
    Path {
        base: Box<Expr>,
        path: Vec<Name>,
    },
    Call {
        function: Name,
        arguments: Vec<Expr>,
    },
    Cast {
        value: Box<Expr>,
        target: Name,
    },
    Case {
        operand: Box<Expr>,
        branches: Vec<(Expr, Expr)>,
        default: Option<Box<Expr>>,
    },
    Exists(Box<Query>),
    Query(Box<Query>),
    Array(Vec<Expr>),
    Object(Vec<(Name, Expr)>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    /// `first op a op b …`, all of one precedence, from left to right. Kept flat so that a long chain is no deep tree.
    Chain {
        first: Box<Expr>,
        rest: Vec<(Operator, Expr)>,
    },
}

/// A sub-select.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) projection: Projection,
    pub(crate) source: Expr,
    /// The name that the element has in the query.
    pub(crate) alias: Option<String>,
    pub(crate) condition: Option<Expr>,
}

/// A binary operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Add,
    Subtract,
    Multiply,
    /// Of two Int it is Int.
    Divide,
    /// Of two Int it is their exact quotient.
    DivideExactly,
    Remainder,
}

impl Operator {
    /// How tightly it binds its operands; NOT stands between AND and the comparisons.
    pub(crate) fn precedence(self) -> Precedence {
        match self {
            Self::Or => Precedence::Or,
            Self::And => Precedence::And,
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessEqual
            | Self::Greater
            | Self::GreaterEqual
            | Self::In => Precedence::Comparison,
            Self::Add | Self::Subtract => Precedence::Sum,
            Self::Multiply | Self::Divide | Self::DivideExactly | Self::Remainder => {
                Precedence::Product
            }
        }
    }
}

/// Precedence levels, loosest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Precedence {
    Or,
    And,
    Not,
    Comparison,
    Sum,
    Product,
    Unary,
}

impl Precedence {
    /// The next tighter level.
    pub(crate) fn tighter(self) -> Self {
        match self {
            Self::Or => Self::And,
            Self::And => Self::Not,
            Self::Not => Self::Comparison,
            Self::Comparison => Self::Sum,
            Self::Sum => Self::Product,
            Self::Product | Self::Unary => Self::Unary,
        }
    }
}
