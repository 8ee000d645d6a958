//! The checked form of expressions, made once when a rule is created and run for every message.

use crate::datetime;
use crate::functions::Evaluate;
use crate::number::Number;
use crate::pattern::Pattern;
use crate::syntax::Operator;

/// An expression without anything left to check.
#[derive(Debug)]
pub(crate) enum Node {
    Undefined,
    Null,
    Bool(bool),
    Number(Number),
    Text(Box<str>),
    /// A constant regular expression, compiled.
    Pattern(Box<Pattern>),
    /// A constant pattern of times, read.
    Time(Box<datetime::Pattern>),
    /// A member of the payload, by the names that lead to it; no name is the payload itself.
    Payload(Box<[Box<str>]>),
    /// A member of the element that the innermost nested query looks at; no name is the element itself.
    Element(Box<[Box<str>]>),
    /// A variable, by its place in SET.
    Variable(usize),
    /// A member of any other value.
    Member(Box<Node>, Box<[Box<str>]>),
    Array(Box<[Node]>),
    Object(Box<[(Box<str>, Node)]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    /// Operators of one precedence from left to right.
    Chain(Box<Node>, Box<[(Operator, Node)]>),
    Call(Evaluate, Box<[Node]>),
    Case(Box<Case>),
    Cast(Box<Node>, CastTarget),
    Query(Box<Query>),
    Exists(Box<Query>),
}

/// `CASE operand WHEN … THEN … ELSE default END`
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) operand: Node,
    pub(crate) branches: Box<[(Node, Node)]>,
    pub(crate) default: Option<Node>,
}

/// The types of cast that differ from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CastTarget {
    Text,
    Int,
    Double,
    Decimal,
    Bool,
}

/// A nested query.
#[derive(Debug)]
pub(crate) struct Query {
    /// What it goes over, seen from outside.
    pub(crate) source: Node,
    /// `FROM *`: an object stands for an array of one.
    pub(crate) wraps: bool,
    pub(crate) projection: Projection,
    pub(crate) condition: Option<Node>,
}

/// What a statement selects.
#[derive(Debug)]
pub(crate) enum Projection {
    /// `SELECT *` and nothing else.
    Star,
    /// `SELECT VALUE expr`
    Value(Node),
    Items(Items),
}

/// The items of a projection and what is known about their names.
#[derive(Debug)]
pub(crate) struct Items {
    pub(crate) items: Box<[Item]>,
    /// `*` comes first and only once, so that the payload's own bytes can begin the output.
    pub(crate) leading_star: bool,
    /// Two items may give a member of one name.
    pub(crate) may_collide: bool,
}

/// One item of a projection.
#[derive(Debug)]
pub(crate) enum Item {
    /// All members of the payload, or of the element of a nested query.
    Star,
    /// All members of a value.
    Members(Node),
    /// One member, under a name or, with several names, inside objects.
    Named(Box<[Box<str>]>, Node),
}
