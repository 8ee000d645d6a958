//! Damage that was met in the log: told once, and its records given up as soon as nobody has them in memory.

use forebay_core::{Fs, Time};
use forebay_spool::{Damage, Spool};

use crate::dealer::Dealer;

/// Places whose records may still be in memory. What is owed in those beyond is given up at once.
const OPEN_MAX: usize = 1024;

/// What damage took, and what it may still take.
#[derive(Debug, Default)]
pub(crate) struct LogDamage {
    /// Places with records that are owed and may be in memory, from where they are still delivered.
    open: Vec<Damage>,
    /// Records that were lost since the last look.
    lost: u64,
}

impl LogDamage {
    /// Takes note of damage that reading met.
    pub(crate) fn report<F: Fs>(
        &mut self,
        damage: &Damage,
        spool: &mut Spool<F>,
        dealer: &mut Dealer,
        now: Time,
    ) {
        let fresh = spool.note_damage(damage);
        let owed = owed_in(damage, spool);
        let may_come = owed > 0 && self.open.len() < OPEN_MAX && may_come(damage, dealer);
        if may_come && !self.open.contains(damage) {
            self.open.push(damage.clone());
        }
        let lost = match may_come {
            true => 0,
            false => spool.lose(damage.first_seq..damage.end_seq, now),
        };
        self.lost += lost;
        if fresh || lost > 0 {
            tracing::error!(
                segment = damage.slot,
                offset = damage.offset,
                bytes = damage.len,
                first_seq = damage.first_seq,
                end_seq = damage.end_seq,
                lost,
                undecided = owed - lost,
                "spool damaged"
            );
        }
    }

    /// Gives up what is still owed in damaged places and has left memory undelivered, if it ever was there.
    pub(crate) fn step<F: Fs>(&mut self, spool: &mut Spool<F>, dealer: &mut Dealer, now: Time) {
        self.open.retain(|damage| {
            let owed = owed_in(damage, spool);
            if owed > 0 && may_come(damage, dealer) {
                return true;
            }
            let lost = spool.lose(damage.first_seq..damage.end_seq, now);
            self.lost += lost;
            if lost > 0 {
                tracing::error!(
                    segment = damage.slot,
                    offset = damage.offset,
                    lost,
                    "spool damaged: records are lost"
                );
            }
            false
        });
    }

    /// Records that were lost since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Records that are owed, cannot be read, and may be in memory.
    pub(crate) fn undecided<F: Fs>(&self, spool: &Spool<F>) -> u64 {
        self.open.iter().map(|damage| owed_in(damage, spool)).sum()
    }
}

fn owed_in<F: Fs>(damage: &Damage, spool: &Spool<F>) -> u64 {
    let seqs = damage.first_seq..damage.end_seq;
    spool.unsettled().range_cardinality(seqs)
}

fn may_come(damage: &Damage, dealer: &mut Dealer) -> bool {
    dealer.may_have(&(damage.first_seq..damage.end_seq))
}
