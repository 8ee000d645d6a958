//! How the log names streams.

use std::sync::Arc;

use forebay_spool::{StreamId, StreamKey};

use crate::Stream;

/// A stream and how the log names it.
#[derive(Debug)]
pub(super) struct Named {
    stream: Arc<Stream>,
    key: Arc<StreamKey>,
    id: StreamId,
}

impl Named {
    fn new(stream: &Arc<Stream>, ordering: u8) -> Self {
        let key = StreamKey {
            name: stream.name().as_str().to_owned(),
            ordering,
            ..StreamKey::default()
        };
        Self {
            id: StreamId::of(&key),
            key: Arc::new(key),
            stream: Arc::clone(stream),
        }
    }
}

/// How the log names a stream. Its ordering is part of that and only rises, so there are few names each.
pub(super) fn name<'a>(
    names: &'a mut Vec<Option<Named>>,
    index: usize,
    stream: &Arc<Stream>,
) -> (&'a Arc<StreamKey>, StreamId) {
    if names.len() <= index {
        names.resize_with(index + 1, || None);
    }
    let ordering = stream.ordering() as u8;
    let slot = &mut names[index];
    let is_known = slot
        .as_ref()
        .is_some_and(|named| Arc::ptr_eq(&named.stream, stream) && named.key.ordering == ordering);
    if !is_known {
        *slot = None;
    }
    let named = slot.get_or_insert_with(|| Named::new(stream, ordering));
    (&named.key, named.id)
}

/// Gives room in the share of a stream back.
pub(super) fn release(names: &[Option<Named>], freed: Option<(crate::StreamId, u64)>) {
    if let Some((stream, bytes)) = freed {
        let named = names[stream.index()]
            .as_ref()
            .expect("a record of it was put into the group");
        named.stream.share.release(bytes);
    }
}
