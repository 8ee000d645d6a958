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

/// How the log names a stream. Its ordering is part of that and only rises, so there are few names each.
pub(super) fn name(
    names: &mut Vec<Option<Named>>,
    index: usize,
    stream: &Arc<Stream>,
) -> (Arc<StreamKey>, StreamId) {
    if names.len() <= index {
        names.resize_with(index + 1, || None);
    }
    let ordering = stream.ordering() as u8;
    if let Some(named) = &names[index]
        && Arc::ptr_eq(&named.stream, stream)
        && named.key.ordering == ordering
    {
        return (Arc::clone(&named.key), named.id);
    }
    let key = Arc::new(StreamKey {
        name: stream.name().as_str().to_owned(),
        ordering,
        ..StreamKey::default()
    });
    let id = StreamId::of(&key);
    names[index] = Some(Named {
        stream: Arc::clone(stream),
        key: Arc::clone(&key),
        id,
    });
    (key, id)
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
