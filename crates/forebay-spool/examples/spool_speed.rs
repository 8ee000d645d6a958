//! What the spool costs on a real directory: CPU time per record, flushes, bytes written, reading back, start-up.
//!
//! `cargo run --release -p forebay-spool --example spool_speed -- DIR [GIB]` writes GIB gibibytes (default 1) below DIR,
//! which should be on the disk in question, and removes them again. CPU time and bytes are those that Linux accounts.

#![expect(clippy::print_stdout, reason = "it prints its measurements")]
#![expect(
    clippy::disallowed_methods,
    reason = "a measurement takes time from the system"
)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay_core::{Fs, FsFile as _, HashKey, OpenMode, PartitionKey, SeededEntropy, Time};
use forebay_spool::{
    AppendError, Config, DiskFs, Group, Read, Record, Settled, Spool, StreamId, StreamKey,
};
use rustix::time::{ClockId, clock_gettime};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Bytes of a record's data.
const DATA: usize = 256;
/// Records of one measurement.
const RECORDS: usize = 300_000;

fn cpu() -> Outcome<Duration> {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Ok(used.try_into()?)
}

fn written() -> Outcome<u64> {
    let text = std::fs::read_to_string("/proc/self/io")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.unwrap_or_default().parse()?)
}

fn records(count: usize) -> Vec<Record> {
    let stream = Arc::new(StreamKey {
        name: "telemetry".to_owned(),
        ..StreamKey::default()
    });
    let rule: Arc<str> = Arc::from("all");
    let record = |at: usize| {
        let key = format!("device-{}", at % 1000);
        Record {
            stream: Arc::clone(&stream),
            rule: Arc::clone(&rule),
            received_ms: 0,
            partition_key: PartitionKey::new(&key).expect("a short key"),
            hash: HashKey::of_partition_key(&key),
            explicit: false,
            data: Bytes::from(vec![u8::try_from(at % 256).unwrap_or_default(); DATA]),
            error: None,
        }
    };
    (0..count).map(record).collect()
}

/// CPU time of this thread, bytes and time between its starts and stops.
#[derive(Default)]
struct Meter {
    cpu: Duration,
    time: Duration,
    written: u64,
    from: Option<(Duration, Instant, u64)>,
}

impl Meter {
    fn start(&mut self) -> Outcome<()> {
        let written = written()?;
        self.from = Some((cpu()?, Instant::now(), written));
        Ok(())
    }

    fn stop(&mut self) -> Outcome<()> {
        if let Some((used, begin, before)) = self.from.take() {
            self.cpu += cpu()?.saturating_sub(used);
            self.time += begin.elapsed();
            self.written += written()? - before;
        }
        Ok(())
    }
}

/// What the system takes for as many writes and flushes of this size to a file as the log has them: zeroed before.
fn write_alone(dir: &Path, len: usize, count: u32) -> Outcome<Meter> {
    let path = dir.join("alone");
    let file = DiskFs.open(&path, OpenMode::CreateMissing)?;
    let (bytes, size) = (vec![7; len], 64 << 20);
    for at in (0..size).step_by(4096) {
        file.write_at(&[0; 4096], at)?;
    }
    file.sync_data()?;
    let (mut meter, mut offset) = (Meter::default(), 0);
    meter.start()?;
    for _ in 0..count {
        if offset + bytes.len() as u64 > size {
            offset = 0;
        }
        file.write_at(&bytes, offset)?;
        file.sync_data()?;
        offset += bytes.len() as u64;
    }
    meter.stop()?;
    DiskFs.remove(&path)?;
    Ok(meter)
}

struct Run {
    dir: PathBuf,
    spool: Spool<DiskFs>,
    background: Meter,
    start: Instant,
}

impl Run {
    fn open(dir: &Path, gib: u64) -> Outcome<(Self, Duration)> {
        let config = Config {
            allow_volatile: true,
            max_bytes: Some((gib + 1) << 30),
            reserve_bytes: Some(1 << 30),
            ..Config::on_disk(dir)
        };
        let begin = Instant::now();
        let entropy = SeededEntropy::from_os();
        let (spool, found) = Spool::open(Arc::new(DiskFs), config, entropy, Time::ZERO, 0)?;
        let took = begin.elapsed();
        println!(
            "opened in {took:?}: {} segments, {} read, {} records",
            found.segments, found.scanned, found.records
        );
        let start = Instant::now();
        let dir = dir.parent().unwrap_or(dir).to_owned();
        let run = Self {
            dir,
            spool,
            background: Meter::default(),
            start,
        };
        Ok((run, took))
    }

    fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Background work, on this thread so that it can be told from the rest.
    fn work(&mut self) -> Outcome<()> {
        self.background.start()?;
        for _ in 0..3 {
            let now = self.now();
            self.spool.poll(now)?;
            while let Some(job) = self.spool.take_job(now) {
                let done = job.run(&DiskFs);
                self.spool.finish(done, now);
            }
        }
        self.background.stop()
    }

    fn append(&mut self, group: &mut Group) -> Outcome<u64> {
        loop {
            let now = self.now();
            match self.spool.append(group, now) {
                Ok(commit) => return Ok(commit.first_seq),
                Err(AppendError::Full) => self.work()?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// CPU time of the log per record at one size of groups: what is staged is encoded, written, flushed and, a group
    /// later, settled. Beside it that of writing and flushing as many bytes without a log, and that of the thread which
    /// prepares segments and writes checkpoints.
    fn groups(&mut self, size: usize) -> Outcome<()> {
        let records = records(size);
        let stream = StreamId::of(&records[0].stream);
        let flushes = (RECORDS / size).min(4000);
        let (mut group, mut meter, mut before) = (Group::new(), Meter::default(), None);
        let counted = self.spool.stat().counters.bytes;
        self.background = Meter::default();
        meter.start()?;
        for _ in 0..flushes {
            if self.spool.stat().publishable_segments < 2 {
                meter.stop()?;
                self.work()?;
                meter.start()?;
            }
            for record in &records {
                group.push(record);
            }
            if let Some(first) = before {
                let settled = (first..).zip(&records).map(|(seq, record)| Settled {
                    seq,
                    stream,
                    bytes: record.payload_bytes(),
                });
                let now = self.now();
                self.spool.settle_records(settled, now);
            }
            before = Some(self.append(&mut group)?);
        }
        meter.stop()?;
        let all = u32::try_from(flushes)?;
        let frame = (self.spool.stat().counters.bytes - counted) / u64::from(all);
        let alone = write_alone(&self.dir, usize::try_from(frame)?, all)?;
        let used = meter.cpu / all;
        let target = Duration::from_micros(50) + Duration::from_nanos(250) * u32::try_from(size)?;
        let payload: u64 = records.iter().map(Record::payload_bytes).sum();
        println!(
            "group {size:>5}: {used:>8.1?} CPU (target {target:?}), {:>6.3} us per record, of which writing and flushing {frame} bytes take {:>8.1?}; in the background {:>8.1?}; {:>8.1?} per group, writing and flushing alone {:>8.1?}; {:>5.2} bytes written per payload byte",
            used.as_secs_f64() * 1e6 / size as f64,
            alone.cpu / all,
            self.background.cpu / all,
            meter.time / all,
            alone.time / all,
            meter.written as f64 / (payload * u64::from(all)) as f64,
        );
        let seqs: Vec<u64> = self.spool.unsettled().iter().collect();
        let now = self.now();
        self.spool.settle(seqs, now);
        self.work()
    }

    fn fill(&mut self, bytes: u64) -> Outcome<u64> {
        let records = records(3000);
        let mut filled = 0;
        while filled < bytes {
            let mut group = Group::new();
            for record in &records {
                group.push(record);
            }
            filled += u64::try_from(group.bytes())?;
            self.append(&mut group)?;
            if self.spool.stat().publishable_segments < 2 {
                self.work()?;
            }
        }
        self.work()?;
        Ok(filled)
    }

    fn read_back(&mut self) -> Outcome<()> {
        let (start, begin) = (cpu()?, Instant::now());
        let (mut count, mut from) = (0_usize, 0);
        loop {
            let mut plan = self.spool.plan_read(from, 16, Vec::new());
            while let Some(read) = plan.read()? {
                if let Read::Records(records) = read {
                    count += records.len();
                }
            }
            if plan.resume() <= from || plan.resume() >= self.spool.stat().next_seq {
                break;
            }
            from = plan.resume();
        }
        let (used, took) = (cpu()?.saturating_sub(start), begin.elapsed());
        println!(
            "read back {count} records: {:.0} per second, {:.0} per second of CPU",
            count as f64 / took.as_secs_f64(),
            count as f64 / used.as_secs_f64()
        );
        Ok(())
    }
}

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let parent = args
        .next()
        .ok_or("name a directory of the disk to measure")?;
    let gib: u64 = args.next().map_or(Ok(1), |text| text.parse())?;
    let dir = tempfile::tempdir_in(parent)?;
    let path = dir.path().join("spool");
    std::fs::create_dir_all(&path)?;
    let (mut run, _) = Run::open(&path, gib)?;
    run.work()?;
    for size in [30, 100, 350, 1000] {
        run.groups(size)?;
    }
    let begin = Instant::now();
    let filled = run.fill(gib << 30)?;
    println!(
        "filled {:.1} GiB in {:?}",
        filled as f64 / f64::from(1 << 30),
        begin.elapsed()
    );
    run.read_back()?;
    drop(run);
    Run::open(&path, gib)?;
    Ok(())
}
