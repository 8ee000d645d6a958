//! A hash map whose clones share their nodes: changing one copies only the path to the change.
//!
//! A hash array mapped trie (Bagwell, "Ideal Hash Trees", 2001): 32 ways per level, five bits of the hash each. Readers
//! keep a version for as long as they like; a writer that owns the only reference to a node changes it in place.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

const BITS: u32 = 5;
const MASK: u64 = (1 << BITS) - 1;
/// Levels that five bits of a 64-bit hash give; below them keys with equal hashes share a list.
const LEVELS: u32 = 64 / BITS;

#[derive(Debug, Clone)]
enum Slot<K, V> {
    Entry(K, V),
    Branch(Arc<Branch<K, V>>),
    Collisions(Vec<(K, V)>),
}

#[derive(Debug, Clone)]
struct Branch<K, V> {
    /// Bit n is set when way n has a slot.
    ways: u32,
    slots: Vec<Slot<K, V>>,
}

impl<K, V> Default for Branch<K, V> {
    fn default() -> Self {
        Self {
            ways: 0,
            slots: Vec::new(),
        }
    }
}

impl<K, V> Branch<K, V> {
    /// The bit of a way, and the index of its slot whether it exists or not.
    fn locate(&self, hash: u64, level: u32) -> (u32, usize) {
        let bit = 1_u32 << ((hash >> (level * BITS)) & MASK);
        (bit, (self.ways & (bit - 1)).count_ones() as usize)
    }
}

/// The map. All clones must be used with the same hasher, which is passed in so that nodes do not carry it.
#[derive(Debug, Clone)]
pub(super) struct PersistentMap<K, V> {
    root: Option<Arc<Branch<K, V>>>,
    len: usize,
}

impl<K, V> Default for PersistentMap<K, V> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> PersistentMap<K, V> {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The value of `key`.
    pub(super) fn get<Q>(&self, hasher: &impl BuildHasher, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut branch = self.root.as_deref()?;
        let hash = hasher.hash_one(key);
        for level in 0..LEVELS {
            let (bit, index) = branch.locate(hash, level);
            if branch.ways & bit == 0 {
                return None;
            }
            match &branch.slots[index] {
                Slot::Entry(found, value) => return (found.borrow() == key).then_some(value),
                Slot::Branch(next) => branch = next,
                Slot::Collisions(list) => {
                    return list
                        .iter()
                        .find(|(found, _)| found.borrow() == key)
                        .map(|(_, value)| value);
                }
            }
        }
        None
    }

    /// The value of `key`, made with `default` if it is not there, to be changed.
    pub(super) fn get_or_insert_with(
        &mut self,
        hasher: &impl BuildHasher,
        key: K,
        default: impl FnOnce() -> V,
    ) -> &mut V {
        if self.get(hasher, &key).is_none() {
            let hash = hasher.hash_one(&key);
            let root = Arc::make_mut(self.root.get_or_insert_with(Arc::default));
            insert(root, hasher, hash, 0, key.clone(), default());
            self.len += 1;
        }
        self.get_mut(hasher, &key).expect("it was inserted above")
    }

    /// The value of `key`, to be changed. Copies the path to it where it is shared.
    pub(super) fn get_mut<Q>(&mut self, hasher: &impl BuildHasher, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        // A miss must not copy the path.
        self.get(hasher, key)?;
        let hash = hasher.hash_one(key);
        let mut branch = Arc::make_mut(self.root.as_mut()?);
        for level in 0..LEVELS {
            let (_, index) = branch.locate(hash, level);
            match &mut branch.slots[index] {
                Slot::Entry(_, value) => return Some(value),
                Slot::Branch(next) => branch = Arc::make_mut(next),
                Slot::Collisions(list) => {
                    return list
                        .iter_mut()
                        .find(|(found, _)| (*found).borrow() == key)
                        .map(|(_, value)| value);
                }
            }
        }
        None
    }

    /// Takes `key` out.
    pub(super) fn remove<Q>(&mut self, hasher: &impl BuildHasher, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.get(hasher, key)?;
        let hash = hasher.hash_one(key);
        let root = Arc::make_mut(self.root.as_mut()?);
        let removed = remove(root, hash, 0, key);
        self.len -= usize::from(removed.is_some());
        if root.slots.is_empty() {
            self.root = None;
        }
        removed
    }

    /// Calls `visit` for every entry, in the order of the hashes.
    pub(super) fn for_each(&self, visit: &mut impl FnMut(&K, &V)) {
        if let Some(root) = &self.root {
            for_each(root, visit);
        }
    }
}

fn for_each<K, V>(branch: &Branch<K, V>, visit: &mut impl FnMut(&K, &V)) {
    for slot in &branch.slots {
        match slot {
            Slot::Entry(key, value) => visit(key, value),
            Slot::Branch(next) => for_each(next, visit),
            Slot::Collisions(list) => list.iter().for_each(|(key, value)| visit(key, value)),
        }
    }
}

/// Inserts a key that is not there.
fn insert<K: Clone + Eq + Hash, V: Clone>(
    branch: &mut Branch<K, V>,
    hasher: &impl BuildHasher,
    hash: u64,
    level: u32,
    key: K,
    value: V,
) {
    let (bit, index) = branch.locate(hash, level);
    if branch.ways & bit == 0 {
        branch.ways |= bit;
        branch.slots.insert(index, Slot::Entry(key, value));
        return;
    }
    match &mut branch.slots[index] {
        Slot::Branch(next) => {
            insert(Arc::make_mut(next), hasher, hash, level + 1, key, value);
        }
        Slot::Collisions(list) => list.push((key, value)),
        occupied @ Slot::Entry(..) => {
            let Slot::Entry(other, old) = std::mem::replace(occupied, Slot::Collisions(Vec::new()))
            else {
                return;
            };
            if level + 1 == LEVELS {
                *occupied = Slot::Collisions(vec![(other, old), (key, value)]);
            } else {
                let mut next = Branch::default();
                let other_hash = hasher.hash_one(&other);
                insert(&mut next, hasher, other_hash, level + 1, other, old);
                insert(&mut next, hasher, hash, level + 1, key, value);
                *occupied = Slot::Branch(Arc::new(next));
            }
        }
    }
}

/// Removes a key that is there, and branches that it leaves empty.
fn remove<K, V, Q>(branch: &mut Branch<K, V>, hash: u64, level: u32, key: &Q) -> Option<V>
where
    K: Borrow<Q> + Clone,
    V: Clone,
    Q: Eq + ?Sized,
{
    let (bit, index) = branch.locate(hash, level);
    let removed = match &mut branch.slots[index] {
        Slot::Entry(..) => match branch.slots.remove(index) {
            Slot::Entry(_, value) => {
                branch.ways &= !bit;
                return Some(value);
            }
            Slot::Branch(_) | Slot::Collisions(_) => None,
        },
        Slot::Branch(next) => {
            let next = Arc::make_mut(next);
            let removed = remove(next, hash, level + 1, key);
            if !next.slots.is_empty() {
                return removed;
            }
            removed
        }
        Slot::Collisions(list) => {
            let at = list.iter().position(|(found, _)| found.borrow() == key)?;
            let (_, removed) = list.swap_remove(at);
            if !list.is_empty() {
                return Some(removed);
            }
            Some(removed)
        }
    };
    branch.ways &= !bit;
    branch.slots.remove(index);
    removed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::hash::{BuildHasherDefault, Hasher};

    use forebay_core::{Entropy, SeededEntropy};

    use super::*;

    /// A hasher with few values, so that deep branches and collisions happen.
    #[derive(Default)]
    struct Coarse(u64);

    impl Hasher for Coarse {
        fn finish(&self) -> u64 {
            match self.0 % 3 {
                0 => 0,
                1 => self.0 << 55,
                _ => self.0,
            }
        }

        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = self.0.wrapping_mul(31).wrapping_add(u64::from(*byte));
            }
        }
    }

    #[test]
    fn behaves_like_an_ordinary_map_and_old_versions_stay() {
        let hasher = BuildHasherDefault::<Coarse>::default();
        let mut entropy = SeededEntropy::new(42);
        let mut map = PersistentMap::<u16, u64>::default();
        let mut model = BTreeMap::new();
        let mut versions = Vec::new();
        for step in 0..20_000_u64 {
            let key = entropy.below(300) as u16;
            if entropy.below(3) == 0 {
                assert_eq!(map.remove(&hasher, &key), model.remove(&key));
            } else {
                *map.get_or_insert_with(&hasher, key, || 0) = step;
                model.insert(key, step);
            }
            if step % 4_000 == 0 {
                versions.push((map.clone(), model.clone()));
            }
        }
        versions.push((map, model));
        for (map, model) in versions {
            assert_eq!(map.len(), model.len());
            let mut found = BTreeMap::new();
            map.for_each(&mut |key, value| assert!(found.insert(*key, *value).is_none()));
            assert_eq!(found, model);
            for key in 0..300 {
                assert_eq!(map.get(&hasher, &key), model.get(&key));
            }
        }
    }
}
