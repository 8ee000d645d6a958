//! Deliberate faults of the spool itself, which the simulation must find.

/// What the spool does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Nothing.
    None,
    /// Reports groups as durable without a flush.
    NoFlush,
    /// Uses a segment again before the checkpoints that say it is settled are durable.
    RecycleEarly,
    /// Continues after a restart with the first sequence number that it does not see.
    ReuseSequences,
    /// Trusts the last frame that recovery reads.
    NoRewrite,
    /// Flushes again after a flush failed, and believes it.
    FlushAgain,
    /// Does not make the directory durable after it created a segment.
    NoDirectorySync,
    /// Writes the header of a segment before its first frames are durable.
    HeaderFirst,
}
