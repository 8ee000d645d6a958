//! The JSON of both operations, borrowed from the body.

use std::fmt;

use forebay_core::limits::RECORDS_PER_REQUEST_MAX;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::json::Text;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutRecords<'a> {
    #[serde(borrow)]
    pub(super) stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    pub(super) stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) records: Option<Entries<'a>>,
    pub(super) dry_run: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutRecord<'a> {
    #[serde(borrow)]
    pub(super) stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    pub(super) stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) data: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) partition_key: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) explicit_hash_key: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) sequence_number_for_ordering: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry<'a> {
    #[serde(borrow)]
    pub(super) data: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) partition_key: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) explicit_hash_key: Option<Text<'a>>,
}

/// The entries of a request, as many as are allowed; the others are only counted.
#[derive(Debug, Default)]
pub(super) struct Entries<'a> {
    pub(super) list: Vec<Entry<'a>>,
    pub(super) count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries<'de>, A::Error> {
                let mut list = Vec::with_capacity(64);
                while list.len() < RECORDS_PER_REQUEST_MAX {
                    match seq.next_element()? {
                        Some(entry) => list.push(entry),
                        None => break,
                    }
                }
                let mut count = list.len();
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Entries { list, count })
            }
        }

        deserializer.deserialize_seq(EntriesVisitor)
    }
}
