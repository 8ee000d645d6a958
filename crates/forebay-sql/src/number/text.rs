//! The one text form of a Decimal, for JSON, concatenation and templates.

use super::Decimal;

/// Appends the text: plain when the first digit stands between 1E-6 and 1E+20, else scientific. A whole number keeps
/// `.0`: only SQL version 2015-10-08 has whole Decimals of this size.
pub(super) fn write_decimal(value: Decimal, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.coefficient.unsigned_abs()).as_bytes();
    if value.coefficient < 0 {
        out.push(b'-');
    }
    let first = value.first_exponent();
    match usize::try_from(first) {
        Ok(first @ ..=20) => match digits.split_at_checked(first + 1) {
            Some((whole, fraction)) => {
                out.extend_from_slice(whole);
                out.push(b'.');
                out.extend_from_slice(if fraction.is_empty() { b"0" } else { fraction });
            }
            None => {
                out.extend_from_slice(digits);
                out.resize(out.len() + first + 1 - digits.len(), b'0');
                out.extend_from_slice(b".0");
            }
        },
        Err(_) if first > -7 => {
            out.extend_from_slice(b"0.");
            let zeros = usize::try_from(-first - 1).unwrap_or(0);
            out.resize(out.len() + zeros, b'0');
            out.extend_from_slice(digits);
        }
        _ => {
            let (lead, fraction) = digits.split_at(1);
            out.extend_from_slice(lead);
            if !fraction.is_empty() {
                out.push(b'.');
                out.extend_from_slice(fraction);
            }
            out.extend_from_slice(if first < 0 { b"E-" } else { b"E+" });
            out.extend_from_slice(itoa::Buffer::new().format(first.unsigned_abs()).as_bytes());
        }
    }
}
