//! The checked form of expressions, made once when a rule is created and run for every message.

use crate::functions::Evaluate;
use crate::number::Number;
use crate::syntax::Operator;

/// An expression without anything left to check.
#[derive(Debug)]
pub(crate) enum Node {
    Undefined,
    Null,
    Bool(bool),
    Number(Number),
    Text(Box<str>),
    /// A member of the payload, by the names that lead to it; no name is the payload itself.
    Payload(Box<[Box<str>]>),
    /// A member of any other value.
    Member(Box<Node>, Box<[Box<str>]>),
    Array(Box<[Node]>),
    Object(Box<[(Box<str>, Node)]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    /// Operators of one precedence from left to right.
    Chain(Box<Node>, Box<[(Operator, Node)]>),
    Call(Evaluate, Box<[Node]>),
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
    /// All members of the payload.
    Star,
    /// All members of a value.
    Members(Node),
    /// One member, under a name or, with several names, inside objects.
    Named(Box<[Box<str>]>, Node),
}
