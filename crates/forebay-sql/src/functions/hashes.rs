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
        hash(evaluation, arguments, |data| hex(&Md2::digest(data)))
    }),
    built("md5", 1, 1, |evaluation, arguments| {
        hash(evaluation, arguments, |data| hex(&Md5::digest(data)))
    }),
    built("sha1", 1, 1, |evaluation, arguments| {
        hash(evaluation, arguments, |data| {
            // This one comes with an older generation of the trait.
            hex(&<Sha1 as sha1::Digest>::digest(data))
        })
    }),
    built("sha224", 1, 1, |evaluation, arguments| {
        hash(evaluation, arguments, |data| hex(&Sha224::digest(data)))
    }),
    built("sha256", 1, 1, |evaluation, arguments| {
        hash(evaluation, arguments, |data| hex(&Sha256::digest(data)))
    }),
    built("sha384", 1, 1, |evaluation, arguments| {
        hash(evaluation, arguments, |data| hex(&Sha384::digest(data)))
    }),
    built("sha512", 1, 1, |evaluation, arguments| {
        hash(evaluation, arguments, |data| hex(&Sha512::digest(data)))
    }),
];

fn hash<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
    digest: fn(&[u8]) -> String,
) -> Result<Value<'a>, EvalError> {
    let value = evaluation.argument(arguments, 0)?;
    match evaluation.text(value)? {
        Some(text) => {
            let digits = digest(text.as_bytes());
            evaluation.made(&digits)
        }
        None => Ok(Value::Undefined),
    }
}

fn hex(digest: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 0xf)]);
    let mut text = String::with_capacity(digest.len() * 2);
    for byte in digest {
        text.push(digit(byte >> 4));
        text.push(digit(*byte));
    }
    text
}
