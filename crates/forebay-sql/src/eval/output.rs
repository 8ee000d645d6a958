//! SELECT: the outgoing payload.

use super::{EvalError, Evaluation, Selection};
use crate::SelectStar;
use crate::json::Kind;
use crate::program::{Item, Items, Node, Projection};
use crate::value::{Member, Value};
use crate::writer::write_string;

/// The parent of members that were replaced.
const NOWHERE: usize = usize::MAX;

impl<'a> Evaluation<'a> {
    pub(super) fn project(
        &mut self,
        projection: &'a Projection,
        star: SelectStar,
        out: &mut Vec<u8>,
    ) -> Result<Selection, EvalError> {
        let selection = match projection {
            Projection::Star => self.project_star(star, out),
            Projection::Value(node) => self.project_value(node, out)?,
            Projection::Items(items) => self.project_items(items, star, out)?,
        };
        let bytes = match selection {
            Selection::Payload => self.context.payload.len(),
            Selection::Filtered | Selection::Written => out.len(),
        };
        self.check_output(bytes)?;
        Ok(selection)
    }

    /// `SELECT *` alone: the payload's own bytes. Written compactly it is parsed, and forwarded as it is when it is no
    /// JSON, which is no fault of it.
    fn project_star(&mut self, star: SelectStar, out: &mut Vec<u8>) -> Selection {
        if star == SelectStar::Verbatim {
            return Selection::Payload;
        }
        let read = self.read;
        let root = self.document().map(|document| document.root());
        self.read = read;
        match root {
            Some(root) => {
                self.write_json(Value::Payload(root), out);
                Selection::Written
            }
            None => Selection::Payload,
        }
    }

    fn project_value(&mut self, node: &'a Node, out: &mut Vec<u8>) -> Result<Selection, EvalError> {
        let value = self.evaluate(node)?;
        let is_array = match value {
            Value::Undefined => return Err(EvalError::Undefined),
            Value::Array(_) => true,
            Value::Payload(item) => self
                .parsed()
                .is_some_and(|document| document.kind(item) == Kind::Array),
            _ => false,
        };
        // The first SQL version has no arrays as whole output.
        if is_array && !self.version.is_2016() {
            return Err(EvalError::Undefined);
        }
        self.write_json(value, out);
        Ok(Selection::Written)
    }

    fn project_items(
        &mut self,
        items: &'a Items,
        star: SelectStar,
        out: &mut Vec<u8>,
    ) -> Result<Selection, EvalError> {
        let has_star =
            items.leading_star || items.items.iter().any(|item| matches!(item, Item::Star));
        let mut spliced = false;
        if has_star {
            let root = self.document().map(|document| document.root());
            match root {
                Some(root) => {
                    let is_object = self
                        .parsed()
                        .is_some_and(|document| document.kind(root) == Kind::Object);
                    spliced = is_object && items.leading_star && star == SelectStar::Verbatim;
                }
                // Members can only be added to JSON, or to nothing at all.
                None if !self.context.payload.is_empty() => return Ok(Selection::Payload),
                None => {}
            }
        }
        if spliced {
            self.collect(items, true)?;
            if self.can_splice()? {
                return self.splice(out);
            }
            self.arena.forget();
        }
        self.collect(items, false)?;
        self.write_output(None, out)?;
        Ok(Selection::Written)
    }

    /// Puts the members of all items into the arena, without those of a leading `*` when they will be spliced in.
    pub(super) fn collect(
        &mut self,
        items: &'a Items,
        without_star: bool,
    ) -> Result<(), EvalError> {
        // The members of `*` were there first, so every later one might be among them.
        let search = items.may_collide || (items.leading_star && !without_star);
        for item in &items.items {
            match item {
                Item::Star if without_star => {}
                Item::Star => {
                    let whole = self.whole();
                    self.merge(whole, search)?;
                }
                Item::Members(node) => {
                    let value = self.evaluate(node)?;
                    self.merge(value, search)?;
                }
                Item::Named(names, node) => {
                    let value = self.evaluate(node)?;
                    if !matches!(value, Value::Undefined) {
                        self.insert_path(names, value, search)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds all members of an object; anything else has none.
    fn merge(&mut self, value: Value<'a>, search: bool) -> Result<(), EvalError> {
        let empty = self.arena.output.len() == self.output_base;
        match value {
            Value::Object(range) => {
                for index in range.indexes() {
                    if let Some((name, value)) = self.arena.members.get(index).copied() {
                        self.insert(None, name, Some(value), search && !empty)?;
                    }
                }
            }
            Value::Payload(item) => {
                let Some(document) = self.parsed() else {
                    return Ok(());
                };
                let duplicates =
                    document.kind(item) == Kind::Object && document.has_duplicate_names(item);
                let search = duplicates || (search && !empty);
                let mut members = document.members(item);
                while let Some((name, item)) =
                    self.parsed().and_then(|document| members.next(document))
                {
                    self.insert(None, name, Some(Value::Payload(item)), search)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds a value under a dotted alias, in objects that it shares with aliases of the same beginning.
    fn insert_path(
        &mut self,
        names: &'a [Box<str>],
        value: Value<'a>,
        search: bool,
    ) -> Result<(), EvalError> {
        let mut parent = None;
        let mut names = names.iter().peekable();
        while let Some(name) = names.next() {
            let value = names.peek().is_none().then_some(value);
            parent = Some(self.insert(parent, name, value, search)?);
        }
        Ok(())
    }

    /// Adds a member, or gives the member of that name a new value in its old place. Without a value it is an object
    /// for dotted aliases, which is kept when it is there already.
    fn insert(
        &mut self,
        parent: Option<usize>,
        name: &'a str,
        value: Option<Value<'a>>,
        search: bool,
    ) -> Result<usize, EvalError> {
        self.step(1)?;
        let base = self.output_base;
        let output = &mut self.arena.output;
        if search {
            let visited = (output.len() - base) / 256;
            let place = output
                .iter()
                .skip(base)
                .position(|member| member.parent == parent && member.name == name);
            if let Some(place) = place.map(|place| base + place) {
                let was_object = std::mem::replace(&mut output[place].value, value).is_none();
                if was_object && value.is_some() {
                    // What dotted aliases had put into the object is gone with it.
                    output
                        .iter_mut()
                        .filter(|member| member.parent == Some(place))
                        .for_each(|member| {
                            member.parent = Some(NOWHERE);
                        });
                }
                self.step(visited)?;
                return Ok(place);
            }
            self.step(visited)?;
        }
        self.arena.output.push(Member {
            parent,
            name,
            value,
        });
        Ok(self.arena.output.len() - 1)
    }

    /// True when the payload's own bytes can begin the output: no name occurs twice, in the payload or with what is
    /// added.
    fn can_splice(&mut self) -> Result<bool, EvalError> {
        let Some(document) = self.parsed() else {
            return Ok(false);
        };
        let root = document.root();
        if document.has_duplicate_names(root) {
            return Ok(false);
        }
        let added = self
            .arena
            .output
            .iter()
            .filter(|member| member.parent.is_none())
            .map(|member| member.name);
        let collides = document.has_any_member(root, added);
        let members = document.len(root) as usize;
        let steps = members + members * self.arena.output.len() / 256;
        self.step(steps)?;
        Ok(!collides)
    }

    fn splice(&mut self, out: &mut Vec<u8>) -> Result<Selection, EvalError> {
        let Some(document) = self.parsed() else {
            return Ok(Selection::Payload);
        };
        let body = document.open_object();
        out.extend_from_slice(body);
        self.write_members(None, body.len() > 1, out)?;
        out.push(b'}');
        Ok(Selection::Written)
    }

    /// Appends the object whose members have this parent.
    fn write_output(&self, parent: Option<usize>, out: &mut Vec<u8>) -> Result<(), EvalError> {
        out.push(b'{');
        self.write_members(parent, false, out)?;
        out.push(b'}');
        Ok(())
    }

    fn write_members(
        &self,
        parent: Option<usize>,
        mut comma: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), EvalError> {
        // An object of dotted aliases comes before its members.
        let from = parent.map_or(0, |parent| parent + 1);
        let members = self.arena.output.get(from..).unwrap_or_default();
        for (index, member) in members
            .iter()
            .enumerate()
            .filter(|(_, member)| member.parent == parent)
        {
            if std::mem::replace(&mut comma, true) {
                out.push(b',');
            }
            write_string(member.name, out);
            out.push(b':');
            match member.value {
                Some(value) => self.write_json(value, out),
                None => self.write_output(Some(from + index), out)?,
            }
            self.check_output(out.len())?;
        }
        Ok(())
    }
}
