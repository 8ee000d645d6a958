//! The world around the process: devices, disk and service, and everything that happens to them.

mod faults;

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Entropy as _, Ordering, SeededEntropy, Time};
use forebay_spool::Spool;
use forebay_spool::testing::SimDisk;

use super::clock::PacedClock;
use super::device::Device;
use super::ledger::{Carried, Name};
use super::packet_ids::PacketIds;
use super::plan::{Plan, STREAMS, Wiring};
use super::process::Process;
use super::site::{Arrival, Event, Met, Owner, Site};

/// Time after which nothing goes wrong any more.
const HEALTHY_FROM: Time = Time::from_millis(20_000);
/// Nothing may take longer than this.
const END: Time = Time::from_millis(400_000);
/// How long after the trouble of a disk that is no longer true.
const RECOVERS: Duration = Duration::from_millis(1_500);
/// How long the world is watched after it came to rest.
const REST: Duration = Duration::from_millis(300);
const DISK_BYTES: usize = 64 << 20;

pub(crate) struct World {
    plan: Plan,
    pub(super) site: Site,
    pub(super) devices: Vec<Device>,
    pub(super) process: Option<Process>,
    ids: PacketIds,
    disk: SimDisk,
    clock: Arc<PacedClock>,
    faults: bool,
    /// When the trouble of the disk began that is not over, and when there was any last.
    trouble: Option<(Time, Time)>,
    rests_since: Option<Time>,
}

impl World {
    pub(crate) fn new(seed: u64, ordering: Ordering, wiring: Wiring) -> Self {
        let mut entropy = SeededEntropy::new(seed ^ 0x1065);
        let plan = Plan::new(ordering, &mut entropy);
        let devices = (0..plan.devices).map(|index| Device::new(index, &mut entropy));
        let devices = devices.collect();
        let disk = SimDisk::new(entropy.next_u64(), DISK_BYTES);
        let mut world = Self {
            site: Site::new(seed, ordering, wiring, entropy),
            plan,
            devices,
            process: None,
            ids: PacketIds::default(),
            disk,
            clock: Arc::default(),
            faults: false,
            trouble: None,
            rests_since: None,
        };
        world.foresee();
        world
    }

    /// Decides what will happen, and when.
    fn foresee(&mut self) {
        let site = &mut self.site;
        site.after(1, Owner::World, Event::Start);
        for index in 0..self.devices.len() {
            site.after(200_000, Owner::World, Event::Connect(index));
            for _ in 0..site.entropy.below(3) {
                site.after(15_000_000, Owner::World, Event::Disconnect(index));
            }
        }
        let mut times = |count, event: fn(&mut SeededEntropy) -> Event| {
            for _ in 0..count {
                let event = event(&mut site.entropy);
                site.after(15_000_000, Owner::World, event);
            }
        };
        times(self.plan.crashes, |_| Event::Crash);
        times(self.plan.disturbances, |_| Event::Disturb);
        times(self.plan.outages, |entropy| {
            Event::Outage(entropy.below(STREAMS.len() as u64) as usize, true)
        });
        times(self.plan.reshards, |entropy| {
            Event::Reshard(entropy.below(STREAMS.len() as u64) as usize)
        });
        site.at(HEALTHY_FROM, Owner::World, Event::Heal);
    }

    pub(crate) fn trace(&self) -> &str {
        &self.site.trace.0
    }

    pub(super) fn met(&self) -> Met {
        let ledger = &self.site.ledger;
        let again = |((stream, name), carried): (&(usize, Name), &Carried)| {
            let copies = self.site.services[*stream].copies.get(name).copied();
            carried.restarts > 0
                && carried.unclear == 0
                && copies > Some(ledger.published[name].sends)
        };
        Met {
            sent_again_by_restart: ledger.carried.iter().filter(|one| again(*one)).count() as u64,
            possible_duplicates: ledger.again as u64,
            ..self.site.met
        }
    }

    /// Runs until everything is published, answered and stored, or for as long as that may take at most.
    pub(crate) fn run(&mut self) {
        while self.site.problem.is_none() && self.site.now < END && self.next() {
            self.watch();
            if self.has_come_to_rest() {
                return self.restart_at_rest();
            }
        }
    }

    /// Does what happens next. False when nothing ever will.
    fn next(&mut self) -> bool {
        let due = self.process.as_ref().map_or(Time::NEVER, Process::due);
        let first = self.site.queue.first();
        if first.min(due) == Time::NEVER {
            return false;
        }
        self.site.now = self.site.now.max(first.min(due));
        if first <= due {
            if let Some((_, owner, event)) = self.site.queue.pop() {
                self.handle(owner, event);
            }
        } else if let Some(process) = &mut self.process {
            process.turn(&mut self.devices, &mut self.ids, &mut self.site);
        }
        if self.disk.crashed() {
            self.site.met.crashes_in_calls += u64::from(self.process.is_some());
            self.die();
        }
        if let Some(process) = &mut self.process {
            process.follow_wakes(&mut self.site);
        }
        true
    }

    fn handle(&mut self, owner: Owner, event: Event) {
        match (owner, &event) {
            (Owner::Process(life), _) if life != self.site.life => return,
            (
                Owner::Connection(generation),
                Event::Publish(index) | Event::Arrive(index, _) | Event::Disconnect(index),
            ) if generation != self.devices[*index].generation => return,
            _ => {}
        }
        match event {
            Event::Task(..) | Event::Look(_) | Event::Answer { .. } | Event::Stopped => {
                self.at_process(event);
            }
            Event::Publish(index) => self.publish(index),
            Event::Arrive(index, arrival) => self.arrive(index, arrival),
            Event::Connect(index) => self.connect(index),
            Event::Disconnect(index) => self.disconnect(index),
            Event::Land {
                stream,
                records,
                life,
            } => {
                let service = &mut self.site.services[stream];
                if life != self.site.life {
                    self.site.met.late_after_death += 1;
                    let ledger = &mut self.site.ledger;
                    ledger.lands_late(stream, &records, &service.copies);
                }
                records.iter().for_each(|record| service.store(record));
            }
            Event::Reshard(stream) => {
                self.site.services[stream].reshard(&mut self.site.entropy);
                let owner = self.site.process();
                self.site.after(3_000_000, owner, Event::Look(stream));
            }
            Event::Outage(stream, begins) => {
                self.site.services[stream].unreachable = begins && !self.site.healthy;
                if begins {
                    let end = Event::Outage(stream, false);
                    self.site.after(8_000_000, Owner::World, end);
                }
            }
            Event::Disturb => self.disturb(),
            Event::Calm => self.calm(),
            Event::Crash => self.crash(),
            Event::Start => self.start(),
            Event::Heal => self.heal(),
        }
    }

    fn at_process(&mut self, event: Event) {
        let Some(process) = &mut self.process else {
            return;
        };
        let (port, site) = (&process.pipeline.sink, &mut self.site);
        match event {
            Event::Task(number) => process.run_task(number, site),
            Event::Look(stream) => process.sender.look(stream, port, site),
            Event::Answer {
                stream,
                request,
                answer,
            } => process.sender.answer(stream, request, answer, port, site),
            _ => self.stopped(),
        }
    }

    fn publish(&mut self, index: usize) {
        let (device, site) = (&mut self.devices[index], &mut self.site);
        let owner = Owner::Connection(device.generation);
        let pause = match site.entropy.below(8) {
            0 => 1_500_000,
            _ => 8_000,
        };
        let Some(process) = &mut self.process else {
            return;
        };
        let Some((publish, slot)) = device.next(&mut site.entropy) else {
            return site.after(100_000, owner, Event::Publish(index));
        };
        let class = publish.class(self.plan.pipeline.spool_qos0);
        let ledger = &mut site.ledger;
        let sends = ledger.publishes(&publish.name, class, publish.bytes, &publish.streams);
        site.met.repeated += u64::from(sends > 1);
        if publish.id > 0 && publish.qos == forebay_core::QoS::ExactlyOnce {
            self.ids.changes(&device.client_id, publish.id);
        }
        process.publish(index, device, &publish, slot, site);
        site.after(pause, owner, Event::Publish(index));
    }

    fn arrive(&mut self, index: usize, arrival: Arrival) {
        let (device, site) = (&mut self.devices[index], &mut self.site);
        let owner = Owner::Connection(device.generation);
        match arrival {
            Arrival::Answer(order) => {
                if let Some(id) = device.hears(order) {
                    let pause = match site.entropy.below(4) {
                        0 => 2_000_000,
                        _ => 20_000,
                    };
                    site.after(pause, owner, Event::Arrive(index, Arrival::Release(id)));
                }
            }
            Arrival::Release(id) => {
                if let Some(process) = &mut self.process {
                    process.release(index, device, id, &mut self.ids, site);
                }
            }
            Arrival::Completion(id) => drop(device.releasing.remove(&id)),
        }
    }

    fn connect(&mut self, index: usize) {
        let (device, site) = (&mut self.devices[index], &mut self.site);
        let ready = self
            .process
            .as_ref()
            .is_some_and(|process| !process.sender.draining);
        if device.connection.is_some() {
            return;
        }
        let (Some(process), true) = (&mut self.process, ready) else {
            return site.after(200_000, Owner::World, Event::Connect(index));
        };
        device.connected();
        process.forget(device, &mut self.ids, site);
        let owner = Owner::Connection(device.generation);
        for id in &device.releasing {
            site.after(20_000, owner, Event::Arrive(index, Arrival::Release(*id)));
        }
        site.after(20_000, owner, Event::Publish(index));
    }

    fn disconnect(&mut self, index: usize) {
        if self.devices[index].connection.is_none() {
            return;
        }
        if let Some(process) = &mut self.process {
            process.abandon(index, &self.devices[index]);
        }
        self.devices[index].disconnected();
        self.site
            .after(500_000, Owner::World, Event::Connect(index));
    }

    /// Keeps track of what cannot be asked for later.
    fn watch(&mut self) {
        let now = self.site.now;
        let in_trouble = self.faults
            || self.clock.is_slow()
            || self
                .process
                .as_ref()
                .is_some_and(|process| process.is_in_trouble(now));
        self.trouble = match self.trouble {
            Some((since, _)) if in_trouble => Some((since, now)),
            Some((_, last)) if now.since(last) > RECOVERS => None,
            None if in_trouble => Some((now, now)),
            known => known,
        };
        let Some(process) = &self.process else {
            return;
        };
        let (used, limit) = process.pipeline.control.ingest_bytes();
        if used > limit {
            self.site
                .wrong(format!("ingest holds {used} of {limit} bytes"));
        }
        if let Some(problem) = process.sender.broken_bound() {
            self.site.wrong(problem);
        }
    }

    fn has_come_to_rest(&mut self) -> bool {
        let rests = self.site.healthy
            && self.devices.iter().all(Device::is_done)
            && !self.site.queue.has_records()
            && self.process.as_ref().is_some_and(|process| {
                let control = &process.pipeline.control;
                control.pending() == 0 && control.is_empty() && process.sender.in_flight() == 0
            });
        if !rests {
            self.rests_since = None;
            return false;
        }
        let now = self.site.now;
        now.since(*self.rests_since.get_or_insert(now)) >= REST
    }

    /// What is at rest stays so over a power cut: nothing is sent again.
    fn restart_at_rest(&mut self) {
        if let Some(process) = &mut self.process {
            process.pipeline.sequencer.show();
        }
        let copy = self.disk.fork(self.site.entropy.next_u64());
        copy.power_cut();
        let entropy = SeededEntropy::new(self.site.entropy.next_u64());
        let config = self.plan.spool.clone();
        match Spool::open(Arc::new(copy), config, entropy, self.site.now, 0) {
            Ok((spool, _)) => {
                let owed = spool.unsettled().len();
                if owed > 0 {
                    self.site
                        .wrong(format!("{owed} records are owed after the end"));
                }
                if let Err(problem) = self.ids.compare(spool.open_ids().iter()) {
                    self.site.wrong(problem);
                }
            }
            Err(error) => self
                .site
                .wrong(format!("cannot be opened at the end: {error}")),
        }
    }
}
