//! From a partition key to its shard: what every record pays.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use forebay_core::{Entropy, HashKey, SeededEntropy, ShardMap};

const KEYS: u64 = 1000;

fn keys() -> Vec<String> {
    (0..KEYS).map(|key| format!("d-{key:03}")).collect()
}

fn hash(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("partition_key_hash");
    group.throughput(Throughput::Elements(KEYS));
    let keys = keys();
    group.bench_function("d-000", |bencher| {
        bencher.iter(|| {
            for key in &keys {
                black_box(HashKey::of_partition_key(black_box(key)));
            }
        });
    });
    group.finish();
}

fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shard_map_lookup");
    group.throughput(Throughput::Elements(KEYS));
    for shards in [1, 16, 1000] {
        let map = ShardMap::even(shards).expect("the number of shards is legal");
        group.bench_function(format!("{shards} shards"), |bencher| {
            let mut entropy = SeededEntropy::new(1);
            bencher.iter_batched(
                || {
                    let hash = |_| HashKey::new(entropy.uuid_bits());
                    (0..KEYS).map(hash).collect::<Vec<_>>()
                },
                |hashes| {
                    for hash in hashes {
                        black_box(map.lookup(hash));
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, hash, lookup);
criterion_main!(benches);
