//! The names of the outermost object. They stand in one row with a hash each, because most statements ask for some of
//! them.

/// A name of the outermost object.
#[derive(Debug, Clone, Copy)]
pub(super) struct RootName {
    pub(super) hash: u32,
    pub(super) node: u32,
}

impl RootName {
    #[inline(always)]
    pub(super) fn new(name: &[u8], node: u32) -> Self {
        Self {
            hash: hash(name),
            node,
        }
    }
}

/// A number that differs for most pairs of names; its upper bits are the best ones. It is made for every name of every
/// payload, so it looks at the beginning and the end only.
#[inline(always)]
pub(super) fn hash(name: &[u8]) -> u32 {
    let four = |bytes: Option<&[u8; 4]>| bytes.map(|bytes| u32::from_le_bytes(*bytes));
    let (first, last) = match (four(name.first_chunk()), four(name.last_chunk())) {
        (Some(first), Some(last)) => (first, last),
        _ => (
            name.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)),
            0,
        ),
    };
    let mixed = first ^ last.rotate_left(11) ^ super::narrow(name.len()).rotate_left(25);
    mixed.wrapping_mul(0x9e37_79b1)
}

/// The same of all bytes.
fn whole_hash(name: &[u8]) -> u64 {
    let (groups, rest) = name.as_chunks();
    let rest = rest.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
    let groups = groups.iter().map(|group| u64::from_le_bytes(*group));
    groups.chain([rest]).fold(name.len() as u64, |all, group| {
        (all.rotate_left(29) ^ group).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

/// Names up to which a few bits tell that none is repeated.
const FEW: usize = 64;
/// Names up to which a table on the stack does; it has twice as many places.
const MANY: usize = 512;

/// Whether one of the names is repeated; `None` when there are too many for a quick answer, or their hashes tell too
/// little. `text` gives a name by its node.
pub(super) fn is_any_repeated<'n>(
    names: &[RootName],
    text: impl Fn(u32) -> &'n [u8],
) -> Option<bool> {
    if names.len() <= FEW {
        Some(is_any_of_few_repeated(names, text))
    } else if names.len() <= MANY {
        is_any_of_many_repeated(names, text)
    } else {
        None
    }
}

fn is_any_of_few_repeated<'n>(names: &[RootName], text: impl Fn(u32) -> &'n [u8]) -> bool {
    let mut seen = [0_u64; 4];
    names.iter().enumerate().any(|(index, name)| {
        // The two highest bits choose the word, the next six the bit.
        let word = &mut seen[(name.hash >> 30) as usize];
        let bit = 1 << (name.hash >> 24 & 63);
        let may_be_one = *word & bit != 0;
        *word |= bit;
        // Most names have a bit of their own, so that few are ever compared.
        may_be_one && {
            let mut earlier = names.iter().take(index);
            earlier.any(|other| other.hash == name.hash && text(other.node) == text(name.node))
        }
    })
}

#[inline(never)]
fn is_any_of_many_repeated<'n>(names: &[RootName], text: impl Fn(u32) -> &'n [u8]) -> Option<bool> {
    const SLOTS: usize = 2 * MANY;
    // Where a name stands in the row, counted from 1, in the slot that its hash says or in the next free one.
    let mut table = [0_u16; SLOTS];
    let mut looks_left = 4 * names.len();
    for (place, name) in (1..).zip(names) {
        let name = text(name.node);
        let mut slot = (whole_hash(name) >> (u64::BITS - SLOTS.ilog2())) as usize;
        while let Some(other) = names.get(usize::from(table[slot]).wrapping_sub(1)) {
            if text(other.node) == name {
                return Some(true);
            }
            // Names may be made to share a slot.
            looks_left = usize::checked_sub(looks_left, 1)?;
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = place;
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(names: &[String]) -> Vec<RootName> {
        let row = (0..).zip(names);
        row.map(|(node, name)| RootName::new(name.as_bytes(), node))
            .collect()
    }

    fn answer(names: &[String]) -> Option<bool> {
        is_any_repeated(&row(names), |node| names[node as usize].as_bytes())
    }

    #[test]
    fn numbered_names_are_told_apart() {
        for (count, quick) in [(1, true), (64, true), (65, true), (512, true), (513, false)] {
            let styles: [fn(usize) -> String; 5] = [
                |n| format!("n{n}"),
                |n| format!("{n}"),
                |n| format!("ch{n:03}_value"),
                |n| format!("machine_{n:04}_temperature"),
                |n| format!("a_rather_long_name_of_channel_{n}"),
            ];
            for style in styles {
                let mut names: Vec<String> = (0..count).map(style).collect();
                assert_eq!(answer(&names), quick.then_some(false), "{}", names[0]);
                names[count / 2] = names[count - 1].clone();
                let repeated = count > 1;
                assert_eq!(answer(&names), quick.then_some(repeated), "{}", names[0]);
            }
        }
    }

    #[test]
    fn names_of_one_slot_are_not_compared_without_end() {
        let slot = |name: &String| whole_hash(name.as_bytes()) >> 54;
        let names: Vec<String> = (0..)
            .map(|n| format!("n{n}"))
            .filter(|name| slot(name) == 7)
            .take(100)
            .collect();
        assert_eq!(answer(&names), None);
        assert_eq!(answer(&names[..64]), Some(false));
    }
}
