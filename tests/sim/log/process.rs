//! One life of the process: the pipeline with its log, the worker threads, the sequencer's threads, the sender.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::{
    AckMode, Clock, Entropy as _, Message, Origin, QoS, SeededEntropy, Ticket, Time,
};
use forebay_metrics::Registry;
use forebay_pipeline::{
    Drained, LogCondition, LogResult, LogTask, Pipeline, Publish, Released, SinkEvent,
};
use forebay_spool::testing::{SimDisk, SimFile};
use forebay_spool::{OpenError, Spool};

use super::clock::PacedClock;
use super::device::{Device, Inbound, Outgoing};
use super::packet_ids::PacketIds;
use super::plan::{Mode, Plan, WORKERS, Wiring};
use super::sender::Sender;
use super::site::{Arrival, Event, Owner, Site};
use crate::shell::Woken;

/// Longest sleep of the sequencer.
const SLEEP_MAX: std::time::Duration = std::time::Duration::from_secs(1);
/// Steps without effect at one moment that are still no spinning: the last step may not have looked at everything.
const SPINS: u32 = 3;

/// When somebody takes a turn, unless something happens before.
#[derive(Debug, Default)]
struct Alarm {
    woken: Arc<Woken>,
    at: Option<Time>,
}

impl Alarm {
    fn set(&mut self, at: Time) {
        self.at = Some(self.at.map_or(at, |known| known.min(at)));
    }

    /// True when its time has come; it is then unset.
    fn rings(&mut self, now: Time) -> bool {
        let rings = self.at.is_some_and(|at| at <= now);
        if rings {
            self.at = None;
        }
        rings
    }
}

pub(super) struct Process {
    pub(super) pipeline: Pipeline<SimDisk>,
    pub(super) sender: Sender,
    disk: SimDisk,
    clock: Arc<PacedClock>,
    /// Tasks that are out, by number.
    tasks: BTreeMap<u64, LogTask<SimFile>>,
    next_task: u64,
    results: Vec<LogResult<SimFile>>,
    workers: [Alarm; WORKERS],
    sequencer: Alarm,
    sink: Alarm,
    /// Steps in a row that did nothing and were followed by another at once.
    idle_steps: u32,
    /// The sequencer waits for the disk.
    busy_until: Time,
    /// The condition of the log and the number of its lanes that lag, as they were last shown.
    condition: LogCondition,
    lagging: usize,
    lanes_bytes: u64,
}

impl Process {
    /// Opens the log and starts.
    pub(super) fn start(
        plan: &Plan,
        disk: &SimDisk,
        clock: &Arc<PacedClock>,
        ids: &mut PacketIds,
        site: &mut Site,
    ) -> Result<Self, OpenError> {
        let fs = Arc::new(disk.clone());
        let entropy = SeededEntropy::new(site.entropy.next_u64());
        let wall = clock.wall_millis();
        let (spool, found) = Spool::open(fs, plan.spool.clone(), entropy, site.now, wall)?;
        site.line(format_args!("starts with {} records owed", found.records));
        site.met.replayed += u64::from(found.records > 0);
        if spool.is_writable() {
            match ids.compare(spool.open_ids().iter()) {
                Ok(kept) => site.met.ids_kept += kept,
                Err(problem) => site.wrong(problem),
            }
        }
        let pipeline = Pipeline::with_log(
            plan.pipeline.clone(),
            &plan.rules,
            &Registry::new(),
            &mut site.entropy,
            spool,
            Arc::clone(clock) as Arc<dyn Clock>,
        );
        let mut process = Self {
            sender: Sender::new(plan.batch.clone(), &pipeline.sink),
            pipeline,
            disk: disk.clone(),
            clock: Arc::clone(clock),
            tasks: BTreeMap::new(),
            next_task: 0,
            idle_steps: 0,
            results: Vec::new(),
            workers: Default::default(),
            sequencer: Alarm::default(),
            sink: Alarm::default(),
            busy_until: Time::ZERO,
            condition: LogCondition::Writing,
            lagging: 0,
            lanes_bytes: plan.pipeline.lanes_bytes,
        };
        let pipeline = &process.pipeline;
        pipeline.sequencer.set_wake(process.sequencer.woken.clone());
        pipeline.sink.set_wake(process.sink.woken.clone());
        for (intake, alarm) in pipeline.intakes.iter().zip(&process.workers) {
            intake.set_wake(alarm.woken.clone());
        }
        process.sequencer.set(site.now);
        Ok(process)
    }

    /// When it has something to do by itself.
    pub(super) fn due(&self) -> Time {
        let sequencer = self.sequencer.at.map(|at| at.max(self.busy_until));
        let others = self
            .workers
            .iter()
            .chain([&self.sink])
            .filter_map(|alarm| alarm.at);
        let alarms = others.chain(sequencer).min().unwrap_or(Time::NEVER);
        alarms.min(self.sender.due())
    }

    /// Does what is due.
    pub(super) fn turn(&mut self, devices: &mut [Device], ids: &mut PacketIds, site: &mut Site) {
        if self.busy_until <= site.now && self.sequencer.rings(site.now) {
            return self.step(site);
        }
        for worker in 0..WORKERS {
            if self.workers[worker].rings(site.now) {
                return self.work(worker, devices, ids, site);
            }
        }
        if self.sink.rings(site.now) {
            return self.sender.turn(&self.pipeline.sink, site);
        }
        self.sender.serve_all(&self.pipeline.sink, site);
    }

    /// Whoever was woken takes a turn soon.
    pub(super) fn follow_wakes(&mut self, site: &mut Site) {
        for alarm in self
            .workers
            .iter_mut()
            .chain([&mut self.sequencer, &mut self.sink])
        {
            if alarm.woken.take() {
                alarm.set(site.soon(2_000));
            }
        }
    }

    /// A turn of the sequencer's thread.
    fn step(&mut self, site: &mut Site) {
        self.clock.set(site.now);
        let mut worked = !self.results.is_empty();
        let sequencer = &mut self.pipeline.sequencer;
        for result in self.results.drain(..) {
            sequencer.finish_task(result, site.now);
        }
        worked |= sequencer.step(site.now);
        while let Some(task) = sequencer.take_task(site.now) {
            let longest = if task.reads() { 20_000 } else { 60_000 };
            self.next_task += 1;
            let owner = site.process();
            site.after(longest, owner, Event::Task(self.next_task));
            self.tasks.insert(self.next_task, task);
        }
        let lag = self.clock.lag();
        self.busy_until = site.now + lag;
        site.met.slow += u64::from(!lag.is_zero());
        let next = match worked {
            true => site.soon(500),
            false => sequencer.next_deadline(site.now).min(site.now + SLEEP_MAX),
        };
        // A deadline that has passed although there is nothing to do is a thread that spins.
        self.idle_steps = if worked || next > site.now {
            0
        } else {
            self.idle_steps + 1
        };
        if self.idle_steps > SPINS {
            site.wrong("the sequencer spins".to_owned());
        }
        self.sequencer.set(next.max(site.now));
        self.look_at_log(site);
    }

    fn look_at_log(&mut self, site: &mut Site) {
        let log = self.pipeline.control.log().unwrap();
        if log.condition != self.condition {
            site.met.full += u64::from(log.condition == LogCondition::Full);
            site.met.failed_log += u64::from(log.condition == LogCondition::Failed);
            site.line(format_args!("the log is {}", log.condition.as_str()));
        }
        site.met.lagging += u64::from(log.lagging_lanes > 0 && self.lagging == 0);
        self.condition = log.condition;
        self.lagging = log.lagging_lanes;
        // Every empty lane may take one record, whatever its size.
        let lanes: usize = self
            .pipeline
            .control
            .streams()
            .iter()
            .map(|stream| stream.map().map_or(0, |map| map.len()))
            .sum();
        let most = self.lanes_bytes + lanes as u64 * 1024;
        if log.lane_bytes.0 > most {
            site.wrong(format!("lanes hold {} of {most} bytes", log.lane_bytes.0));
        }
    }

    /// True while settled records may not become durable in time.
    pub(super) fn is_in_trouble(&self, now: Time) -> bool {
        self.condition != LogCondition::Writing || self.busy_until > now
    }

    /// True when records went past the log because it took none: they are lost with the process.
    pub(super) fn has_fallen_back(&mut self) -> bool {
        self.pipeline.sequencer.show();
        let log = self.pipeline.control.log().unwrap();
        log.fallback_records > 0
    }

    /// A helper thread is done with a task.
    pub(super) fn run_task(&mut self, number: u64, site: &mut Site) {
        self.clock.set(site.now);
        if let Some(task) = self.tasks.remove(&number) {
            self.results.push(task.run(&self.disk, &*self.clock));
        }
        self.sequencer.set(site.soon(500));
    }

    /// A publish has come in.
    pub(super) fn publish(
        &mut self,
        index: usize,
        device: &mut Device,
        publish: &Outgoing,
        slot: u32,
        site: &mut Site,
    ) {
        let payload = Bytes::from(publish.payload());
        let message = Message {
            topic: &publish.name.0,
            payload: &payload,
            client_id: Some(&device.client_id),
            timestamp_ms: 1_700_000_000_000,
            origin: &Origin::UNKNOWN,
        };
        let asks = Publish {
            qos: publish.qos,
            ticket: Ticket {
                worker: device.worker as u16,
                connection: index as u32,
                generation: device.generation,
                slot,
            },
            listener_ack: AckMode::Stored,
            may_reject: false,
            packet_id: publish.id,
        };
        let admission = self.pipeline.intakes[device.worker].publish(&message, asks, site.now);
        site.line(format_args!("publish {:?} {admission:?}", publish.name));
        self.workers[device.worker].set(site.soon(2_000));
        let connection = device.connection.as_mut().unwrap();
        if let Err(problem) = connection.admitted(slot, admission) {
            site.wrong(problem);
        }
        site.met.parked += u64::from(connection.parked);
        if site.wiring == Wiring::AnswersWhenAdmitted {
            connection.ring.complete(slot);
        }
    }

    /// A PUBREL has come in.
    pub(super) fn release(
        &mut self,
        index: usize,
        device: &mut Device,
        id: u16,
        ids: &mut PacketIds,
        site: &mut Site,
    ) {
        let owner = Owner::Connection(device.generation);
        let connection = device.connection.as_mut().unwrap();
        let completion = Event::Arrive(index, Arrival::Completion(id));
        match connection.ids.get_mut(&id) {
            Some(inbound @ Inbound::ReceivedInLog) => {
                *inbound = Inbound::Releasing;
                let released = Released {
                    connection: index as u32,
                    generation: device.generation,
                    packet_id: id,
                };
                ids.changes(&device.client_id, id);
                self.pipeline.intakes[device.worker].release(&device.client_id, released);
                self.workers[device.worker].set(site.soon(2_000));
                if site.wiring == Wiring::CompletesWhenReleased {
                    ids.completed(&device.client_id, id);
                }
            }
            Some(Inbound::Releasing) => {}
            Some(Inbound::Pending | Inbound::Received) | None => {
                connection.ids.remove(&id);
                site.after(20_000, owner, completion);
            }
        }
    }

    /// A connection is gone.
    pub(super) fn abandon(&mut self, index: usize, device: &Device) {
        let intake = &mut self.pipeline.intakes[device.worker];
        intake.abandon(index as u32, device.generation);
    }

    /// A client has connected: it has no session, whatever the log has open for it.
    pub(super) fn forget(&mut self, device: &Device, ids: &mut PacketIds, site: &mut Site) {
        self.pipeline.intakes[device.worker].forget(&device.client_id);
        ids.forgets(&device.client_id);
        self.workers[device.worker].set(site.soon(2_000));
    }

    /// A turn of a worker.
    fn work(
        &mut self,
        worker: usize,
        devices: &mut [Device],
        ids: &mut PacketIds,
        site: &mut Site,
    ) {
        let intake = &mut self.pipeline.intakes[worker];
        intake.flush();
        let mut drained = Drained::default();
        intake.drain(&mut drained, site.now);
        for resumed in drained.resumed {
            let device = &mut devices[resumed.connection as usize];
            let of_this = device.generation == resumed.generation;
            let Some(connection) = device.connection.as_mut().filter(|_| of_this) else {
                site.wrong(format!("{resumed:?} is of a connection that is gone"));
                continue;
            };
            connection.parked = false;
            if let Err(problem) = connection.admitted(resumed.slot, resumed.admission) {
                site.wrong(problem);
            }
            self.workers[worker].set(site.soon(2_000));
        }
        for finished in drained.finished {
            let device = &mut devices[finished.connection as usize];
            let of_this = device.generation == finished.generation;
            if let Some(connection) = device.connection.as_mut().filter(|_| of_this) {
                connection.ring.finish(finished.slot, finished.failed);
            }
        }
        for released in drained.released {
            let device = &mut devices[released.connection as usize];
            site.met.released += 1;
            // Nobody hears the answer to a connection that is gone: its client begins anew, and may have published
            // with the id again in what became durable together with the release.
            if device.generation != released.generation {
                continue;
            }
            ids.completed(&device.client_id, released.packet_id);
            if let Some(connection) = &mut device.connection {
                connection.ids.remove(&released.packet_id);
                let completion = Arrival::Completion(released.packet_id);
                let event = Event::Arrive(released.connection as usize, completion);
                site.after(20_000, Owner::Connection(released.generation), event);
            }
        }
        for (index, device) in devices.iter_mut().enumerate() {
            if device.worker == worker {
                answer(index, device, ids, site);
            }
        }
    }

    /// A stop has begun: what is there is sent, and nothing comes in any more.
    pub(super) fn drain(&mut self) {
        self.pipeline.control.begin_drain();
    }

    /// The end of a stop: what is settled is put into the log for good. True when that is certain.
    pub(super) fn finish(mut self, site: &mut Site) -> bool {
        for intake in &mut self.pipeline.intakes {
            intake.flush();
        }
        while let Some(event) = self.pipeline.sink.next_event() {
            // The sender is gone.
            drop::<SinkEvent>(event);
        }
        while let Some(number) = self.tasks.keys().next().copied() {
            self.run_task(number, site);
        }
        let sequencer = &mut self.pipeline.sequencer;
        for result in self.results.drain(..) {
            sequencer.finish_task(result, site.now);
        }
        sequencer.show();
        let checkpoints = |process: &Self| {
            let log = process.pipeline.control.log().unwrap();
            log.stat.counters.checkpoints
        };
        let before = checkpoints(&self);
        let sequencer = &mut self.pipeline.sequencer;
        if let Some(task) = sequencer.finish(site.now) {
            let result = task.run(&self.disk, &*self.clock);
            sequencer.finish_task(result, site.now);
        }
        sequencer.show();
        checkpoints(&self) > before
    }
}

/// Writes the answers of a connection that are ready; each must be for the oldest publish.
fn answer(index: usize, device: &mut Device, ids: &mut PacketIds, site: &mut Site) {
    let Some(connection) = &mut device.connection else {
        return;
    };
    while let Some((reply, failed)) = connection.ring.pop_ready() {
        let publish = &reply.publish;
        site.line(format_args!("answer {:?}", publish.name));
        if failed && publish.is_owed() {
            site.wrong(format!("{publish:?} failed"));
        }
        if reply.order != connection.answered {
            let answered = connection.answered;
            site.wrong(format!("{reply:?} was answered as number {answered}"));
        }
        connection.answered += 1;
        let is_stored = |stream: &usize| site.services[*stream].copies.contains_key(&publish.name);
        if publish.mode == Mode::Stored && !publish.streams.iter().all(is_stored) {
            site.wrong(format!("{publish:?} was answered and is not stored"));
        }
        let published = site.ledger.published.get_mut(&publish.name).unwrap();
        published.answered |= publish.is_owed();
        if publish.qos == QoS::ExactlyOnce {
            let in_log = reply.ack == AckMode::Spool;
            let inbound = match in_log {
                true => Inbound::ReceivedInLog,
                false => Inbound::Received,
            };
            connection.ids.insert(publish.id, inbound);
            if in_log && !published.fell_back {
                ids.answered(&device.client_id, publish.id);
            }
        }
        let event = Event::Arrive(index, Arrival::Answer(reply.order));
        site.after(30_000, Owner::Connection(device.generation), event);
    }
}
