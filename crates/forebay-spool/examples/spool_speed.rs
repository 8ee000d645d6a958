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
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay_core::{Fs, FsFile as _, HashKey, OpenMode, PartitionKey, SeededEntropy, Time};
use forebay_spool::{
    AppendError, Config, DiskFs, Group, Read, Record, Settled, Spool, StreamId, StreamKey,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Bytes of a record's data.
const DATA: usize = 256;
/// Records of one measurement.
const RECORDS: usize = 300_000;

fn cpu() -> Outcome<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(Duration::from_nanos(nanos))
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

struct Run {
    spool: Spool<DiskFs>,
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
        Ok((Self { spool, start }, took))
    }

    fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Background work, on this thread so that no measurement is disturbed by it.
    fn work(&mut self) -> Outcome<()> {
        for _ in 0..3 {
            let now = self.now();
            self.spool.poll(now)?;
            while let Some(job) = self.spool.take_job(now) {
                let done = job.run(&DiskFs);
                self.spool.finish(done, now);
            }
        }
        Ok(())
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
    /// later, settled.
    fn groups(&mut self, size: usize) -> Outcome<()> {
        let records = records(size);
        let stream = StreamId::of(&records[0].stream);
        let flushes = (RECORDS / size).min(4000);
        let (mut group, mut used, mut flushed) = (Group::new(), Duration::ZERO, Duration::ZERO);
        let mut written_bytes = 0;
        let mut before = None;
        for _ in 0..flushes {
            if self.spool.stat().publishable_segments < 2 {
                self.work()?;
            }
            let from = written()?;
            let start = cpu()?;
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
            let begin = Instant::now();
            before = Some(self.append(&mut group)?);
            flushed += begin.elapsed();
            used += cpu()?.saturating_sub(start);
            written_bytes += written()? - from;
        }
        let all = u32::try_from(flushes)?;
        let per_group = used / all;
        let target = Duration::from_micros(50) + Duration::from_nanos(250) * u32::try_from(size)?;
        let payload: u64 = records.iter().map(Record::payload_bytes).sum();
        println!(
            "group {size:>5}: {per_group:>9.1?} CPU per group (target {target:?}), {:>6.3} us per record, {:>8.1?} per append, {:>5.2} bytes written per payload byte",
            used.as_secs_f64() * 1e6 / (flushes * size) as f64,
            flushed / all,
            written_bytes as f64 / (payload * u64::from(all)) as f64,
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

fn flush_rate(dir: &Path) -> Outcome<()> {
    let path = dir.join("flushes");
    let file = DiskFs.open(&path, OpenMode::CreateMissing)?;
    file.write_at(&[0; 4096], 0)?;
    file.sync_data()?;
    let begin = Instant::now();
    let start = cpu()?;
    for fill in 0..1000_u32 {
        file.write_at(&fill.to_le_bytes().repeat(1024), 0)?;
        file.sync_data()?;
    }
    let (took, used) = (begin.elapsed(), cpu()?.saturating_sub(start));
    DiskFs.remove(&path)?;
    println!(
        "this disk: {:?} per write and flush of 4 KiB, {:?} CPU",
        took / 1000,
        used / 1000
    );
    Ok(())
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
    flush_rate(dir.path())?;
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
