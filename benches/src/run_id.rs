//! The mark that tells the messages of one run from all others in a stream.

use std::fmt;

use forebay_core::Entropy;

/// Eight hexadecimal digits, in every payload of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunId([u8; 8]);

impl RunId {
    /// A new mark. Two runs get the same one once in 2^32.
    pub fn new(entropy: &mut dyn Entropy) -> Self {
        let mut bits = entropy.next_u64();
        Self([(); 8].map(|()| {
            bits = bits.rotate_left(4);
            b"0123456789abcdef"[(bits & 0xf) as usize]
        }))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
