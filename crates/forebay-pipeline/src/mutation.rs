//! Deliberate mistakes, so that tests can show that they would see them.

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mutation {
    /// None.
    #[default]
    None,
    /// The records of one publish may be in two frames.
    SplitPublish,
    /// A publish is answered before its frame is durable.
    AnswerBeforeCommit,
    /// Records outside the log wait in a lane behind those of the log.
    NoReserve,
    /// A lane is taken for live when a pass over the log ends, whatever became durable meanwhile.
    LiveTooEarly,
}
