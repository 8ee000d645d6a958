//! Projections, of statements and of nested queries.

use forebay_core::limits::EXPRESSION_DEPTH_MAX;

use super::Compiler;
use crate::Code;
use crate::program::{Item, Items, Projection, Query};
use crate::syntax::{self, Expr, ExprKind};

impl Compiler<'_> {
    pub(super) fn projection(&mut self, projection: syntax::Projection) -> Projection {
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

    pub(super) fn query(&mut self, query: syntax::Query) -> Query {
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
