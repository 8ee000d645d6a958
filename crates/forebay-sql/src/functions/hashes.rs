//! Hashes: lower-case hexadecimal digits of the hash of a text's UTF-8 bytes.

use md2::Md2;
use md5::Md5;
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha224, Sha256, Sha384, Sha512};

use super::{Evaluate, Function, TEXT};
use crate::eval::{EvalError, Evaluation};
use crate::program::Node;
use crate::value::{Value, ValueType};

const fn built(name: &'static str, fewest: usize, most: usize, evaluate: Evaluate) -> Function {
    super::built(name, fewest, most, evaluate)
        .takes(&[TEXT])
        .gives(ValueType::String)
}

pub(super) const FUNCTIONS: &[Function] = &[
    built("md2", 1, 1, |evaluation, arguments| {
        hash(evaluation, arguments, |data| Digits::of(&Md2::digest(data)))
    }),
    built("md5", 1, 1, |evaluation, arguments| {
        hash(evaluation, arguments, |data| Digits::of(&Md5::digest(data)))
    }),
    built("sha1", 1, 1, |evaluation, arguments| {
        hash(evaluation, arguments, |data| {
            // This one comes with an older generation of the trait.
            Digits::of(&<Sha1 as sha1::Digest>::digest(data))
        })
    }),
    built("sha224", 1, 1, |evaluation, arguments| {
        hash(evaluation, arguments, |data| {
            Digits::of(&Sha224::digest(data))
        })
    }),
    built("sha256", 1, 1, |evaluation, arguments| {
        hash(evaluation, arguments, |data| {
            Digits::of(&Sha256::digest(data))
        })
    }),
    built("sha384", 1, 1, |evaluation, arguments| {
        hash(evaluation, arguments, |data| {
            Digits::of(&Sha384::digest(data))
        })
    }),
    built("sha512", 1, 1, |evaluation, arguments| {
        hash(evaluation, arguments, |data| {
            Digits::of(&Sha512::digest(data))
        })
    }),
];

fn hash<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
    digest: fn(&[u8]) -> Digits,
) -> Result<Value<'a>, EvalError> {
    let value = evaluation.argument(arguments, 0)?;
    match evaluation.text(value)? {
        Some(text) => evaluation.made(digest(text.as_bytes()).text()),
        None => Ok(Value::Undefined),
    }
}

/// Bytes of the longest digest.
const DIGEST_BYTES_MAX: usize = 64;

/// A digest in hexadecimal digits.
struct Digits {
    bytes: [u8; 2 * DIGEST_BYTES_MAX],
    len: usize,
}

impl Digits {
    fn of(digest: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut bytes = [0; 2 * DIGEST_BYTES_MAX];
        for (pair, byte) in bytes.chunks_exact_mut(2).zip(digest) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 0xf)];
        }
        let len = 2 * digest.len();
        Self { bytes, len }
    }

    fn text(&self) -> &str {
        let digits = self.bytes.get(..self.len).unwrap_or_default();
        std::str::from_utf8(digits).unwrap_or_default()
    }
}
