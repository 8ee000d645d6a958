//! Where the acknowledgement of a publish is waited for.

/// Names one slot of one connection's acknowledgement ring, so that whoever finishes a record can say which publish
/// it belonged to without a reference to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Ingest worker that owns the connection.
    pub worker: u16,
    /// Index of the connection on that worker.
    pub connection: u32,
    /// Tells apart the connections that used the index one after another: a late answer never reaches a newer one.
    pub generation: u32,
    /// Number of the publish on its connection; wraps.
    pub slot: u32,
}
