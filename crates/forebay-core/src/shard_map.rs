//! Which open shard owns a hash key.

use std::ops::RangeInclusive;

use crate::HashKey;

/// One open shard: its id and the hash keys it owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    id: String,
    start: u128,
    end: u128,
}

impl Shard {
    /// A shard that owns the hash keys `start` to `end`, both included.
    pub fn new(id: impl Into<String>, start: u128, end: u128) -> Self {
        Self {
            id: id.into(),
            start,
            end,
        }
    }

    /// The id that the service gave it, such as `shardId-000000000000`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The hash keys that it owns.
    pub fn range(&self) -> RangeInclusive<u128> {
        self.start..=self.end
    }
}

/// Why a list of shards is no map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShardMapError {
    /// No open shard.
    #[error("no open shard")]
    Empty,
    /// The open ranges leave a gap, overlap, or do not cover the whole space. Happens for a moment while a stream is
    /// resharded: keep the old map and ask again.
    #[error(
        "the open shards do not cover the hash key space without gap or overlap, at shard {shard}"
    )]
    NotContiguous {
        /// The shard at which it shows.
        shard: String,
    },
}

/// The open shards of one stream, sorted by hash key. Immutable: a new state is a new map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardMap {
    ends: Box<[u128]>,
    shards: Box<[Shard]>,
}

impl ShardMap {
    /// A map of the open shards of a stream, in any order.
    ///
    /// # Errors
    /// When the ranges do not cover 0 to 2^128 - 1 exactly once.
    pub fn new(mut shards: Vec<Shard>) -> Result<Self, ShardMapError> {
        shards.sort_by_key(|shard| shard.start);
        let mut next = Some(0);
        for shard in &shards {
            if next != Some(shard.start) || shard.end < shard.start {
                return Err(ShardMapError::NotContiguous {
                    shard: shard.id.clone(),
                });
            }
            next = shard.end.checked_add(1);
        }
        match (next, shards.last()) {
            (_, None) => Err(ShardMapError::Empty),
            (Some(_), Some(last)) => Err(ShardMapError::NotContiguous {
                shard: last.id.clone(),
            }),
            (None, Some(_)) => Ok(Self {
                ends: shards.iter().map(|shard| shard.end).collect(),
                shards: shards.into(),
            }),
        }
    }

    /// The map of a stream just created with `count` shards, as the service splits the space: equal parts, the last
    /// one takes the remainder. For tests, simulations and predictions only: a live stream is asked.
    pub fn even(count: u32) -> Option<Self> {
        let width = match count {
            0 => return None,
            1 => u128::MAX,
            // floor(2^128 / count): 2^128 itself does not fit, so the remainder of 2^128 - 1 decides.
            _ => {
                let count = u128::from(count);
                u128::MAX / count + u128::from(u128::MAX % count == count - 1)
            }
        };
        let shards = (0..count)
            .map(|index| {
                let start = u128::from(index) * width;
                let end = if index + 1 == count {
                    u128::MAX
                } else {
                    start + width - 1
                };
                Shard::new(format!("shardId-{index:012}"), start, end)
            })
            .collect();
        Self::new(shards).ok()
    }

    /// Index of the shard that owns `hash`, below [`len`](Self::len). Logarithmic in the number of shards.
    pub fn lookup(&self, hash: HashKey) -> usize {
        self.ends.partition_point(|end| *end < hash.value())
    }

    /// The shard with this index.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn shard(&self, index: usize) -> &Shard {
        &self.shards[index]
    }

    /// All open shards, by hash key.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Number of open shards, at least 1.
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// Always false: a map has at least one shard.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Index of the shard with this id.
    pub fn position(&self, shard_id: &str) -> Option<usize> {
        self.shards.iter().position(|shard| shard.id == shard_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_maps_cover_the_space() {
        for count in [1, 2, 3, 4, 7, 16, 128, 1000] {
            let map = ShardMap::even(count).unwrap();
            assert_eq!(map.len(), count as usize);
            assert_eq!(map.lookup(HashKey::new(0)), 0);
            assert_eq!(map.lookup(HashKey::new(u128::MAX)), count as usize - 1);
            for (index, shard) in map.shards().iter().enumerate() {
                assert_eq!(map.lookup(HashKey::new(*shard.range().start())), index);
                assert_eq!(map.lookup(HashKey::new(*shard.range().end())), index);
            }
        }
        let three = ShardMap::even(3).unwrap();
        assert_eq!(
            *three.shard(0).range().end(),
            113_427_455_640_312_821_154_458_202_477_256_070_484
        );
        assert!(ShardMap::even(0).is_none());
    }

    #[test]
    fn gaps_overlaps_and_missing_ends_are_refused() {
        let shard = |id: &str, start, end| Shard::new(id, start, end);
        assert_eq!(ShardMap::new(vec![]), Err(ShardMapError::Empty));
        for shards in [
            vec![shard("a", 0, 9), shard("b", 11, u128::MAX)],
            vec![shard("a", 0, 9), shard("b", 9, u128::MAX)],
            vec![shard("a", 0, 9), shard("b", 10, 20)],
            vec![shard("a", 1, u128::MAX)],
        ] {
            assert!(matches!(
                ShardMap::new(shards),
                Err(ShardMapError::NotContiguous { .. })
            ));
        }
        assert!(ShardMap::new(vec![shard("b", 10, u128::MAX), shard("a", 0, 9)]).is_ok());
    }
}
