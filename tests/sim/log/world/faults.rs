//! What goes wrong with the process and its disk, and how it comes back.

use std::time::Duration;

use forebay_core::{Entropy as _, Time};
use forebay_spool::testing::{Faults, SimDisk};

use super::{DISK_BYTES, World};
use crate::log::plan::{STREAMS, Wiring};
use crate::log::process::Process;
use crate::log::site::{Event, Owner};

/// How long what is settled may need to its place on a disk that works: a delta waits 100 ms.
const SETTLED_FOR_GOOD: Duration = Duration::from_millis(120);

impl World {
    pub(super) fn disturb(&mut self) {
        let entropy = &mut self.site.entropy;
        let mut faults = Faults::default();
        match entropy.below(6) {
            0 | 1 => {
                faults = Faults {
                    write: entropy.below(400),
                    short: entropy.below(400),
                    interrupted: entropy.below(400),
                    sync: entropy.below(800),
                    read: entropy.below(100),
                    ..Faults::default()
                };
            }
            2 => faults.write = 10_000,
            3 => faults.sync = 10_000,
            4 => {
                let used: usize = self.disk.files().values().map(Vec::len).sum();
                let free = entropy.below(40 << 10) as usize;
                self.disk.set_capacity(used + free);
            }
            _ => {
                let longest = match entropy.below(4) {
                    0 => 10_000_000,
                    _ => 150_000,
                };
                self.clock
                    .set_pace(Duration::from_micros(entropy.below(longest)));
            }
        }
        self.disk.set_faults(faults);
        self.faults = true;
        self.site.after(4_000_000, Owner::World, Event::Calm);
    }

    pub(super) fn calm(&mut self) {
        self.disk.set_faults(Faults::default());
        self.disk.set_capacity(DISK_BYTES);
        self.clock.set_pace(Duration::ZERO);
        self.faults = false;
    }

    /// The process is killed, now or in one of its next calls of the disk, or it is told to stop.
    pub(super) fn crash(&mut self) {
        if self.process.is_none() || self.site.healthy {
            return;
        }
        match self.site.entropy.below(4) {
            0 | 1 => self.die(),
            2 => {
                let call = self.disk.calls() + 1 + self.site.entropy.below(30);
                self.disk.crash_at(call);
            }
            _ => self.stop(),
        }
    }

    /// The process is gone, and half of the time the power with it.
    pub(super) fn die(&mut self) {
        self.site.met.kills += u64::from(self.process.is_some());
        if self.process.as_mut().is_some_and(Process::has_fallen_back) {
            self.site.ledger.lost_from_memory(&self.site.services);
        }
        self.process = None;
        self.disk.kill();
        if self.site.chance(2) {
            self.disk.power_cut();
            self.site.met.cuts += 1;
        }
        // What was settled before is struck off for good; on a disk in trouble, what was before the trouble.
        let since = self.trouble.map_or(self.site.now, |(since, _)| since);
        let margin = u64::try_from(SETTLED_FOR_GOOD.as_nanos()).unwrap();
        let durable = Time::from_nanos(since.as_nanos().saturating_sub(margin));
        self.ended(durable);
    }

    fn ended(&mut self, durable: Time) {
        self.site.line(format_args!("the process is gone"));
        self.site.ledger.process_ended(durable);
        self.site.life += 1;
        for index in 0..self.devices.len() {
            self.disconnect(index);
        }
        self.site.after(1_000_000, Owner::World, Event::Start);
    }

    fn stop(&mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        process.drain();
        for index in 0..self.devices.len() {
            self.disconnect(index);
        }
        let owner = self.site.process();
        self.site.after(3_000_000, owner, Event::Stopped);
    }

    pub(super) fn stopped(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        self.site.met.stops += 1;
        if process.has_fallen_back() {
            self.site.ledger.lost_from_memory(&self.site.services);
        }
        let certain = process.finish(&mut self.site);
        if certain && !self.disk.crashed() {
            self.ended(self.site.now + Duration::from_nanos(1));
        } else {
            self.die();
        }
    }

    pub(super) fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        if self.site.wiring == Wiring::ForgetsDisk {
            self.disk = SimDisk::new(self.site.entropy.next_u64(), DISK_BYTES);
        }
        if !self.site.healthy && self.site.chance(4) {
            let call = self.disk.calls() + 1 + self.site.entropy.below(40);
            self.disk.crash_at(call);
        }
        self.clock.set(self.site.now);
        self.site.life += 1;
        let started = Process::start(
            &self.plan,
            &self.disk,
            &self.clock,
            &mut self.ids,
            &mut self.site,
        );
        match started {
            Ok(process) => self.process = Some(process),
            Err(_) if self.disk.crashed() => {
                self.site.met.crashes_in_recovery += 1;
                self.die();
            }
            Err(error) => {
                if !error.is_retryable() {
                    self.site.wrong(format!("cannot be opened: {error}"));
                }
                self.site.after(500_000, Owner::World, Event::Start);
            }
        }
        for index in 0..STREAMS.len() {
            // What changed while nobody looked.
            let owner = self.site.process();
            self.site.after(3_000_000, owner, Event::Look(index));
        }
    }

    /// Faults stop, and every device thinks of one more message.
    pub(super) fn heal(&mut self) {
        self.site.healthy = true;
        self.disk.crash_at(u64::MAX);
        self.calm();
        for service in &mut self.site.services {
            service.heal();
        }
        for device in &mut self.devices {
            device.left += 1;
        }
    }
}
