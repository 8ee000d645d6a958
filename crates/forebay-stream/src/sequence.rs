//! Sequence numbers and shard ids: their text forms.
//!
//! A sequence number has 56 decimal digits, as those of the service usually have: `49`, the stream's creation time in
//! milliseconds (14), a counter (20), the shard's index (20). The counter runs through the whole stream, so it grows
//! strictly within a shard. Its upper 24 bits count how often the stream was opened, see [`first_counter`]: even when
//! the end of a log is lost, no number is given twice.

/// Digits of a sequence number.
pub(crate) const DIGITS: usize = 56;
const PREFIX: &[u8] = b"49";
const CREATED_DIGITS: usize = 14;
const COUNTER_DIGITS: usize = 20;
const SHARD_DIGITS: usize = 20;
const _: () = assert!(PREFIX.len() + CREATED_DIGITS + COUNTER_DIGITS + SHARD_DIGITS == DIGITS);

/// Counters available between two openings of a stream.
const RUN_BITS: u32 = 40;

/// The counter that a stream starts with when it is opened for the `run`-th time, counted from 1.
pub(crate) fn first_counter(run: u64) -> u64 {
    run << RUN_BITS
}

/// What a sequence number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SequenceNumber {
    pub(crate) created_ms: u64,
    pub(crate) counter: u64,
    pub(crate) shard: u32,
}

impl SequenceNumber {
    /// Appends the digits.
    pub(crate) fn push(self, out: &mut Vec<u8>) {
        let mut digits = [b'0'; DIGITS];
        digits[..2].copy_from_slice(PREFIX);
        fill(&mut digits[2..16], self.created_ms);
        fill(&mut digits[16..36], self.counter);
        fill(&mut digits[36..], u64::from(self.shard));
        out.extend_from_slice(&digits);
    }

    /// The text form.
    pub(crate) fn text(self) -> String {
        let mut out = Vec::with_capacity(DIGITS);
        self.push(&mut out);
        String::from_utf8(out).expect("digits are ASCII")
    }

    /// Reads the text form; `None` for what this server never gave.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != DIGITS || !digits.starts_with(PREFIX) {
            return None;
        }
        Some(Self {
            created_ms: number(&digits[2..16])?,
            counter: number(&digits[16..36])?,
            shard: u32::try_from(number(&digits[36..])?).ok()?,
        })
    }
}

/// Writes `value` right-aligned into `digits`, which are filled with zeros.
fn fill(digits: &mut [u8], mut value: u64) {
    const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
        2021222324252627282930313233343536373839\
        4041424344454647484950515253545556575859\
        6061626364656667686970717273747576777879\
        8081828384858687888990919293949596979899";
    for pair in digits.rchunks_exact_mut(2) {
        if value == 0 {
            break;
        }
        let at = (value % 100) as usize * 2;
        pair.copy_from_slice(&PAIRS[at..at + 2]);
        value /= 100;
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| {
        digit
            .is_ascii_digit()
            .then(|| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
            .flatten()
    })
}

/// The id of the shard with this index.
pub(crate) fn shard_id(shard: u32) -> String {
    format!("shardId-{shard:012}")
}

/// Appends the id of the shard with this index.
pub(crate) fn push_shard_id(out: &mut Vec<u8>, shard: u32) {
    let mut id = *b"shardId-000000000000";
    fill(&mut id[8..], u64::from(shard));
    out.extend_from_slice(&id);
}

/// The index in a shard id; `None` for what is no shard id. The service takes the bare number too.
pub(crate) fn shard_index(id: &str) -> Option<u32> {
    let digits = id.strip_prefix("shardId-").unwrap_or(id);
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_56_digits_and_are_read_back() {
        for counter in [0, 1, 99, 100, 12_345_678_901, u64::MAX] {
            let number = SequenceNumber {
                created_ms: 1_764_063_254_123,
                counter,
                shard: 4_000_000_000,
            };
            let text = number.text();
            assert_eq!(text.len(), DIGITS);
            assert!(text.bytes().all(|b| b.is_ascii_digit()));
            assert_eq!(SequenceNumber::parse(&text), Some(number));
        }
        for bad in [
            "",
            "0",
            "49",
            &"9".repeat(56),
            &"49".repeat(28),
            &"4".repeat(57),
        ] {
            assert_eq!(SequenceNumber::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_text_grows_with_the_counter() {
        let text = |counter| {
            SequenceNumber {
                created_ms: 1,
                counter,
                shard: 7,
            }
            .text()
        };
        let texts: Vec<_> = [1, 2, 9, 10, 99, 100, 1 << 40, (1 << 40) + 1]
            .map(text)
            .into();
        assert!(texts.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn shard_ids_are_read_with_and_without_their_prefix() {
        assert_eq!(shard_id(3), "shardId-000000000003");
        let mut pushed = Vec::new();
        push_shard_id(&mut pushed, 1234);
        assert_eq!(pushed, shard_id(1234).as_bytes());
        assert_eq!(shard_index("shardId-000000000003"), Some(3));
        assert_eq!(shard_index("3"), Some(3));
        for bad in [
            "",
            "shardId-",
            "shardId-+1",
            "shard-1",
            "shardId-99999999999",
        ] {
            assert_eq!(shard_index(bad), None, "{bad}");
        }
    }
}
