//! A parsed payload. Values are found by their node and know where they stand in the source, so that what a
//! statement only copies keeps its text.

use std::collections::HashMap;
use std::fmt;

use super::exact::{self, ExactTree};
use super::source;
use super::tape::{TapeBuffers, TapeTree};
use crate::eval::PayloadFault;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    /// An integer that the tape already holds.
    Int(i64),
    /// Any other number: its text decides.
    Number,
    String,
    Array,
    Object,
}

/// A value of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item {
    pub(super) node: u32,
    /// Where its text begins.
    pub(super) at: u32,
}

/// Buffers that parsing reuses.
#[derive(Default)]
pub(crate) struct Buffers {
    tape: TapeBuffers,
    exact: exact::Buffers,
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers").finish_non_exhaustive()
    }
}

/// A payload that is a JSON object or array.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    source: &'a [u8],
    root: Item,
    tree: Tree<'a>,
}

#[derive(Debug)]
enum Tree<'a> {
    Tape(TapeTree<'a>),
    Exact(ExactTree<'a>),
}

impl<'a> Document<'a> {
    /// Parses a payload: through the tape when it is very large, unless a glance at the bytes says that the tape might lose
    /// something; else, and where simd-json finds an error, through the exact parser, whose verdict is final.
    pub(crate) fn parse(payload: &'a [u8], buffers: &'a mut Buffers) -> Result<Self, PayloadFault> {
        Self::parse_by(payload, buffers, super::reader::is_exact(payload))
    }

    fn parse_by(
        payload: &'a [u8],
        buffers: &'a mut Buffers,
        exact: bool,
    ) -> Result<Self, PayloadFault> {
        let at = source::skip_space(payload, 0);
        if !matches!(payload.get(at), Some(b'{' | b'[')) {
            return Err(PayloadFault::NotJson);
        }
        let tape = if exact {
            None
        } else {
            TapeTree::parse(payload, &mut buffers.tape)
        };
        let tree = match tape {
            Some(tree) => Tree::Tape(tree),
            None => Tree::Exact(ExactTree::parse(payload, &mut buffers.exact)?),
        };
        Ok(Self {
            source: payload,
            root: Item {
                node: 0,
                at: offset(at),
            },
            tree,
        })
    }

    /// The whole payload as a value.
    pub(crate) fn root(&self) -> Item {
        self.root
    }

    pub(crate) fn kind(&self, item: Item) -> Kind {
        match &self.tree {
            Tree::Tape(tree) => tree.kind(item.node),
            Tree::Exact(tree) => tree.kind(item.node),
        }
    }

    /// The text of a number.
    pub(crate) fn number_text(&self, item: Item) -> &'a [u8] {
        let start = item.at as usize;
        let end = match &self.tree {
            Tree::Tape(_) => source::scalar_end(self.source, start),
            Tree::Exact(tree) => tree.end(item.node),
        };
        self.source.get(start..end).unwrap_or_default()
    }

    /// The value of a string or the name of a member, without its escapes.
    pub(crate) fn string(&self, node: u32) -> &'a str {
        match &self.tree {
            Tree::Tape(tree) => tree.string(node),
            Tree::Exact(tree) => tree.string(node),
        }
    }

    /// The value of a string.
    pub(crate) fn text(&self, item: Item) -> &'a str {
        self.string(item.node)
    }

    /// Nodes of a value, itself included.
    fn size(&self, node: u32) -> u32 {
        match &self.tree {
            Tree::Tape(tree) => tree.size(node),
            Tree::Exact(tree) => tree.size(node),
        }
    }

    /// Members of an object or elements of an array, duplicates counted.
    pub(crate) fn len(&self, item: Item) -> u32 {
        match &self.tree {
            Tree::Tape(tree) => tree.len(item.node),
            Tree::Exact(tree) => tree.len(item.node),
        }
    }

    /// The member called `name` of an object; the last one when there are several.
    pub(crate) fn member(&self, object: Item, name: &str) -> Option<Item> {
        if let Tree::Exact(tree) = &self.tree {
            return tree
                .member(object.node, name)
                .map(|name| self.value_of(name));
        }
        let mut members = self.members(object);
        let mut found = None;
        while let Some(member) = members.next_node(self) {
            if self.string(member) == name {
                found = Some(member);
            }
        }
        found.map(|name| self.value_of(name))
    }

    /// The value behind the name at this node.
    fn value_of(&self, name: u32) -> Item {
        let at = match &self.tree {
            Tree::Tape(tree) => source::member_value(self.source, tree.string_start(name)),
            Tree::Exact(tree) => tree.start(name + 1),
        };
        Item {
            node: name + 1,
            at: offset(at),
        }
    }

    /// The members of an object, duplicates included; none of any other value.
    pub(crate) fn members(&self, object: Item) -> Members {
        let left = if self.kind(object) == Kind::Object {
            self.len(object)
        } else {
            0
        };
        Members {
            next: object.node + 1,
            left,
        }
    }

    /// The elements of an array; none of any other value.
    pub(crate) fn elements(&self, array: Item) -> Elements {
        let left = if self.kind(array) == Kind::Array {
            self.len(array)
        } else {
            0
        };
        Elements {
            next: array.node + 1,
            left,
            at: array.at,
            is_first: true,
        }
    }

    /// True when some name occurs twice in this object, not looking into its members.
    pub(crate) fn has_duplicate_names(&self, object: Item) -> bool {
        let count = self.len(object);
        let told = match &self.tree {
            Tree::Exact(tree) => tree.has_duplicates(object.node),
            Tree::Tape(_) => has_duplicates(self.names(object), count),
        };
        told.unwrap_or_else(|| self.distinct_members(object).len() < count as usize)
    }

    /// True when this object has a member of one of these names.
    pub(crate) fn has_any_member<'n>(
        &self,
        object: Item,
        mut names: impl Iterator<Item = &'n str> + Clone,
    ) -> bool {
        match &self.tree {
            Tree::Exact(tree) => names.any(|name| tree.member(object.node, name).is_some()),
            Tree::Tape(_) => {
                let is_one = |own: &[u8]| names.clone().any(|name| name.as_bytes() == own);
                self.names(object).any(is_one)
            }
        }
    }

    fn names(&self, object: Item) -> Names<'_, 'a> {
        Names {
            document: self,
            members: self.members(object),
        }
    }

    /// The members of an object with each name once: at the place of its first occurrence, with the last value.
    pub(crate) fn distinct_members(&self, object: Item) -> Vec<(&'a str, Item)> {
        let mut distinct: Vec<(&'a str, Item)> = Vec::new();
        let mut places = HashMap::new();
        let mut members = self.members(object);
        while let Some((name, value)) = members.next(self) {
            let place = *places.entry(name).or_insert(distinct.len());
            match distinct.get_mut(place) {
                Some(member) => member.1 = value,
                None => distinct.push((name, value)),
            }
        }
        distinct
    }

    fn subtree_has_duplicate_names(&self, item: Item) -> bool {
        let end = item.node + self.size(item.node);
        (item.node..end).any(|node| {
            // Only kinds and names are asked, which need no position.
            let inner = Item { node, at: 0 };
            self.kind(inner) == Kind::Object
                && self.len(inner) > 1
                && self.has_duplicate_names(inner)
        })
    }

    /// Appends the JSON text of a value: its source without white space outside strings, each name of an object once.
    pub(crate) fn write(&self, item: Item, out: &mut Vec<u8>) {
        match (self.kind(item), &self.tree) {
            (Kind::Array | Kind::Object, _) if self.subtree_has_duplicate_names(item) => {
                self.write_distinct(item, out);
            }
            (Kind::Array | Kind::Object, _) | (_, Tree::Tape(_)) => {
                source::copy_compact(self.source, item.at as usize, out);
            }
            (_, Tree::Exact(tree)) => {
                let text = self.source.get(item.at as usize..tree.end(item.node));
                out.extend_from_slice(text.unwrap_or_default());
            }
        }
    }

    fn write_distinct(&self, item: Item, out: &mut Vec<u8>) {
        match self.kind(item) {
            Kind::Object => {
                out.push(b'{');
                for (index, (name, value)) in self.distinct_members(item).into_iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    crate::writer::write_string(name, out);
                    out.push(b':');
                    self.write_distinct(value, out);
                }
                out.push(b'}');
            }
            Kind::Array => {
                out.push(b'[');
                let mut elements = self.elements(item);
                let mut first = true;
                while let Some((element, _)) = elements.next(self) {
                    if !std::mem::take(&mut first) {
                        out.push(b',');
                    }
                    self.write_distinct(element, out);
                }
                out.push(b']');
            }
            _ => source::copy_compact(self.source, item.at as usize, out),
        }
    }

    /// The source of the root object from its `{` up to its last member, white space before the `}` left out.
    pub(crate) fn open_object(&self) -> &'a [u8] {
        let from = self.source.get(self.root.at as usize..).unwrap_or_default();
        let body = from.trim_ascii_end().strip_suffix(b"}").unwrap_or(from);
        body.trim_ascii_end()
    }
}

/// A walk over the members of an object.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    next: u32,
    left: u32,
}

impl Members {
    /// The node of the next name.
    fn next_node(&mut self, document: &Document<'_>) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let name = self.next;
        self.next = name + 1 + document.size(name + 1);
        Some(name)
    }

    pub(crate) fn next<'a>(&mut self, document: &Document<'a>) -> Option<(&'a str, Item)> {
        let name = self.next_node(document)?;
        Some((document.string(name), document.value_of(name)))
    }
}

/// A walk over the elements of an array.
#[derive(Debug, Clone)]
pub(crate) struct Elements {
    next: u32,
    left: u32,
    /// Where the array begins, or the element before the next one.
    at: u32,
    is_first: bool,
}

impl Elements {
    /// The next element and how many bytes were looked at to find it.
    pub(crate) fn next(&mut self, document: &Document<'_>) -> Option<(Item, usize)> {
        self.left = self.left.checked_sub(1)?;
        let (at, looked_at) = match &document.tree {
            Tree::Exact(tree) => (tree.start(self.next), 0),
            Tree::Tape(_) => {
                let start = self.at as usize;
                // Behind the bracket, or behind the element before and its comma.
                let behind = if self.is_first {
                    start + 1
                } else {
                    let end = source::value_end(document.source, start);
                    source::skip_space(document.source, end) + 1
                };
                let at = source::skip_space(document.source, behind);
                (at, at - start)
            }
        };
        let item = Item {
            node: self.next,
            at: offset(at),
        };
        self.next += document.size(self.next);
        self.at = item.at;
        self.is_first = false;
        Some((item, looked_at))
    }
}

/// A walk over the names of an object, of whatever tree.
#[derive(Clone)]
struct Names<'d, 'a> {
    document: &'d Document<'a>,
    members: Members,
}

impl<'a> Iterator for Names<'_, 'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.members.next_node(self.document)?;
        Some(self.document.string(name).as_bytes())
    }
}

/// Whether one of so many names occurs twice; `None` for more than 64.
pub(super) fn has_duplicates<'n>(
    names: impl Iterator<Item = &'n [u8]> + Clone,
    count: u32,
) -> Option<bool> {
    if count > 64 {
        return None;
    }
    let mut seen = 0_u64;
    Some(names.clone().enumerate().any(|(index, name)| {
        let bit = 1 << fingerprint(name);
        // Most names have a bit of their own, so that few pairs are ever compared.
        let may_be_one = seen & bit != 0;
        seen |= bit;
        may_be_one && names.clone().take(index).any(|earlier| earlier == name)
    }))
}

/// A number below 64 that differs for most pairs of names.
fn fingerprint(bytes: &[u8]) -> u32 {
    let byte = |index: usize| bytes.get(index).map_or(0, |byte| u32::from(*byte));
    let len = bytes.len();
    let mix = byte(0).wrapping_mul(7)
        + byte(len / 2).wrapping_mul(31)
        + byte(len.wrapping_sub(1)).wrapping_mul(5);
    (mix + u32::try_from(len).unwrap_or(0).wrapping_mul(13)) % 64
}

/// An offset into a payload, whose length is far below 4 GiB.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
