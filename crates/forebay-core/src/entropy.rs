//! The door for randomness: jitter, assigned client ids and random partition keys.

use std::hash::{BuildHasher, RandomState};

/// A source of random bits. State machines take one as an argument, so that a simulation can seed it.
pub trait Entropy {
    /// The next 64 random bits.
    fn next_u64(&mut self) -> u64;

    /// A number in `0..bound`, or 0 when `bound` is 0. The bias of the reduction is below 2^-32 for bounds below 2^32.
    fn below(&mut self, bound: u64) -> u64 {
        // Lemire's multiply-and-shift: no division and no modulo by zero.
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// 128 random bits with the version and variant bits of a random UUID (RFC 9562, version 4).
    fn uuid_bits(&mut self) -> u128 {
        let bits = (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64());
        (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62)
    }
}

/// SplitMix64: small, fast, and the same sequence for the same seed on every platform. Not for secrets.
#[derive(Debug, Clone)]
pub struct SeededEntropy {
    state: u64,
}

impl SeededEntropy {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A sequence that no other process has, seeded from the operating system through the standard library's hasher.
    pub fn from_os() -> Self {
        Self::new(RandomState::new().hash_one(0x0066_6f72_6562_6179_u64))
    }
}

impl Entropy for SeededEntropy {
    fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence_and_bounds_hold() {
        let (mut a, mut b) = (SeededEntropy::new(7), SeededEntropy::new(7));
        for bound in [1, 2, 3, 1000, u64::MAX] {
            let value = a.below(bound);
            assert_eq!(value, b.below(bound));
            assert!(value < bound);
        }
        assert_eq!(a.below(0), 0);
    }

    #[test]
    fn uuid_bits_carry_version_and_variant() {
        let text = format!("{:032x}", SeededEntropy::new(1).uuid_bits());
        assert_eq!(text.as_bytes()[12], b'4');
        assert!(b"89ab".contains(&text.as_bytes()[16]));
    }
}
