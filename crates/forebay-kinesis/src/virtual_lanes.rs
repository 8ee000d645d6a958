//! Lanes for a stream whose shards may not be listed: equal parts of the hash key space under names of our own.
//!
//! ListShards needs a permission that AWS IoT's own Kinesis action does not, and a stream that does not exist has no
//! shards. Order per key holds all the same, since a key always falls into the same part.

use std::sync::{Arc, LazyLock};

use forebay_core::{Shard, ShardMap};

/// Number of lanes: enough for a few shards, few enough that each gets something.
const LANES: u32 = 8;
/// What their names begin with; no shard of the service is named so.
const PREFIX: &str = "virtual-";

static MAP: LazyLock<Arc<ShardMap>> = LazyLock::new(|| {
    let even = ShardMap::even(LANES).expect("a few equal parts cover the key space");
    let shards = even.shards().iter().enumerate();
    let named = shards.map(|(index, shard)| {
        let range = shard.range();
        Shard::new(format!("{PREFIX}{index}"), *range.start(), *range.end())
    });
    Arc::new(ShardMap::new(named.collect()).expect("the same parts under other names"))
});

/// The map of virtual lanes.
pub(crate) fn map() -> Arc<ShardMap> {
    Arc::clone(&MAP)
}

/// True for the name of a virtual lane.
pub(crate) fn is_virtual(shard: &str) -> bool {
    shard.starts_with(PREFIX)
}
