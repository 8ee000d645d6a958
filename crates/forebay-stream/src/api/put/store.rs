//! Admits, stores and counts the records of a request.

use std::sync::atomic::Ordering;

use super::Routed;
use super::answer::{self, Refusal};
use crate::error::ApiError;
use crate::faults::RecordFault;
use crate::log::{Batch, NewRecord};
use crate::service::Service;
use crate::stream::Stream;

/// A request that is fine, about to be stored.
pub(super) struct Put<'a> {
    pub(super) service: &'a Service,
    pub(super) stream: &'a Stream,
    pub(super) routed: &'a [Routed<'a>],
    pub(super) data: &'a [u8],
    /// By index of the record; empty when there are none.
    pub(super) faults: Vec<Option<RecordFault>>,
}

impl Put<'_> {
    pub(super) fn many(self) -> Result<Vec<u8>, ApiError> {
        let refusals = self.refusals();
        let first = self.store(&refusals)?;
        Ok(answer::put_records(
            self.service,
            self.stream,
            first,
            &self.shards(),
            &refusals,
        ))
    }

    pub(super) fn one(self) -> Result<Vec<u8>, ApiError> {
        let mut refusals = self.refusals();
        let shard = self.shards()[0];
        if let Some(refusal) = refusals.pop().flatten() {
            return Err(refusal.into_error(self.service, self.stream, shard));
        }
        let first = self.store(&refusals)?;
        Ok(answer::put_record(self.stream, first, shard))
    }

    fn shards(&self) -> Vec<u32> {
        self.routed
            .iter()
            .filter_map(|record| record.shard)
            .collect()
    }

    /// Which records are refused, by index; empty when none is.
    fn refusals(&self) -> Vec<Option<Refusal>> {
        let mut refusals = Vec::new();
        let mut refuse = |index: usize, refusal| {
            refusals.resize(self.routed.len(), None);
            refusals[index] = Some(refusal);
        };
        for (index, fault) in self.faults.iter().enumerate() {
            if let Some(RecordFault::Refuse { code, message }) = fault {
                let (code, message) = (code.clone(), message.clone());
                refuse(index, Refusal::Fault { code, message });
            }
        }
        if let Some(rates) = self.service.limits().write_rates() {
            let now = self.service.now();
            let mut limits = self.stream.limits();
            for (index, record) in self.routed.iter().enumerate() {
                let len = record.key.len() + record.data.len();
                let faulted = matches!(
                    self.faults.get(index),
                    Some(Some(RecordFault::Refuse { .. }))
                );
                let shard = record.shard.unwrap_or_default();
                if !faulted && !limits.admit_record(shard, len, now, rates) {
                    refuse(index, Refusal::Throttled);
                }
            }
        }
        for (record, refusal) in self.routed.iter().zip(&refusals) {
            if let (Some(shard), Some(refusal)) = (record.shard, refusal) {
                self.stream.counters(shard).add_refused();
                self.service
                    .counters()
                    .records_refused
                    .add(refusal.code(), 1);
            }
        }
        refusals
    }

    /// Stores the records that are not refused and returns the counter of the one with index 0.
    fn store(&self, refusals: &[Option<Refusal>]) -> Result<u64, ApiError> {
        let kept = |index: usize| {
            refusals.get(index).is_none_or(Option::is_none)
                && self
                    .faults
                    .get(index)
                    .is_none_or(|fault| *fault != Some(RecordFault::Drop))
        };
        let mut records = Vec::with_capacity(self.routed.len());
        for (index, record) in (0_u16..).zip(self.routed) {
            if let Some(shard) = record.shard.filter(|_| kept(usize::from(index))) {
                let data = &self.data[record.data.clone()];
                records.push(NewRecord {
                    index,
                    shard,
                    key: record.key,
                    data,
                });
            }
        }
        if records.is_empty() {
            return Ok(self.stream.log().skip(self.routed.len() as u64));
        }
        let mut batch = Batch::new(&mut records, self.routed.len());
        let now_ms = self.service.wall_ms();
        let appended = self.stream.log().append(&mut batch, now_ms);
        let appended = appended.map_err(|error| self.failed(&error))?;
        self.service.registry().grown(self.stream, appended.bytes);
        self.count(&records);
        Ok(appended.first)
    }

    fn failed(&self, error: &std::io::Error) -> ApiError {
        if error.kind() == std::io::ErrorKind::NotFound {
            return ApiError::stream_not_found(self.stream.name(), self.service.account());
        }
        ApiError::storage(error)
    }

    /// Counts what was stored, and charges its bytes in whole KiB.
    fn count(&self, records: &[NewRecord<'_>]) {
        let len = |record: &NewRecord<'_>| record.key.len() + record.data.len();
        let limited = self.service.limits().enabled();
        let mut total = 0;
        for group in records.chunk_by(|a, b| a.shard == b.shard) {
            let shard = group[0].shard;
            let bytes = group.iter().map(len).sum();
            self.stream.counters(shard).add_stored(group.len(), bytes);
            if limited {
                self.stream.limits().round_up(shard, bytes);
            }
            total += bytes;
        }
        let counters = self.service.counters();
        counters
            .records_stored
            .fetch_add(records.len() as u64, Ordering::Relaxed);
        counters
            .bytes_stored
            .fetch_add(total as u64, Ordering::Relaxed);
    }
}
