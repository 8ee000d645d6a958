//! The kill loop: devices that publish, a broker that is killed again and again, and the judgement after.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use forebay_core::{Entropy as _, SeededEntropy};
use forebay_tests::mqtt::Version;
use forebay_tests::wait;
use serde_json::{Value, json};

use crate::device::{Device, Habit, Running};
use crate::foreign::Paho;
use crate::judgement::{Account, Verdict};
use crate::site::{LIMIT, Plan, Site, wall_ms};

/// Replaces the number of rounds of each loop.
const ROUNDS: &str = "FOREBAY_KILL_ROUNDS";
/// Replaces the seed of each loop: what a failure prints.
const SEED: &str = "FOREBAY_KILL_SEED";
/// Rounds after which everything is judged and begins anew.
const ROUNDS_AT_ONE_SITE: u64 = 25;
/// The instants of kills, after the start.
const SOONEST_MS: f64 = 50.0;
const LATEST_MS: f64 = 5000.0;
/// How long the stream is in trouble.
const TROUBLE_MS: u64 = 1200;

/// What happens to the stream while the broker is killed and comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Answers take as long as those of the real service.
    Distance,
    /// Nobody accepts connections, or nobody answers them.
    Unreachable,
    /// Every request is refused for as long as this broker lives.
    Outage,
    /// A part of the records is refused because their shard has too many.
    Throttled,
    /// Requests are carried out and their answers are lost.
    Unanswered,
    /// The server of the streams stops and starts again.
    Restarted,
    /// A shard is split, or two are merged.
    Resharded,
}

/// A loop.
#[derive(Debug)]
pub(crate) struct KillLoop {
    pub(crate) plan: fn(u64) -> Plan,
    /// Kills, unless the environment says otherwise.
    pub(crate) rounds: u64,
    pub(crate) seed: u64,
    /// One of them in each round.
    pub(crate) troubles: &'static [Trouble],
}

/// Devices of every version and habit, and other people's clients.
pub(crate) struct Fleet {
    devices: Vec<Running>,
    paho: Paho,
}

fn setting(name: &str) -> Result<Option<u64>> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(
            value.parse().with_context(|| format!("{name}={value}"))?,
        )),
        Err(_) => Ok(None),
    }
}

// === impl KillLoop ===

impl KillLoop {
    /// Runs all rounds. Each failure names the seed that repeats the decisions that led to it.
    pub(crate) fn run(&self) -> Result<()> {
        let seed = setting(SEED)?.unwrap_or(self.seed);
        let mut left = setting(ROUNDS)?.unwrap_or(self.rounds);
        for seed in seed.. {
            let rounds = left.min(ROUNDS_AT_ONE_SITE);
            let verdict = self
                .at_one_site(seed, rounds)
                .with_context(|| format!("{SEED}={seed} {ROUNDS}={rounds}"))?;
            // Figures of a long run; a test that passes shows them to who asks.
            eprintln!("seed {seed}, {rounds} kills: {verdict}");
            left -= rounds;
            if left == 0 {
                break;
            }
        }
        Ok(())
    }

    fn at_one_site(&self, seed: u64, rounds: u64) -> Result<Verdict> {
        let mut entropy = SeededEntropy::new(seed);
        let mut site = (self.plan)(seed).build()?;
        let mut fleet = Fleet::start(&site)?;
        let mut account = Account::default();
        // The first start creates everything; it takes as long as the later ones, more or less.
        let mut start_takes = Duration::from_millis(200);
        let mut reshards = 0;
        for round in 0..rounds {
            let trouble = self.troubles[entropy.below(self.troubles.len() as u64) as usize];
            let born_ms = wall_ms();
            begin(trouble, &mut site, &mut account, &mut entropy)
                .and_then(|()| life(&mut site, trouble, &mut entropy, &mut start_takes))
                .with_context(|| format!("round {round}, {trouble:?}"))?;
            let look = account.look(&site)?;
            site.kill()?;
            let died_ms = wall_ms();
            account.lived(&look, born_ms, died_ms);
            account.killed(died_ms);
            fleet.expect_work()?;
            reshards += usize::from(trouble == Trouble::Resharded);
        }
        site.heal()?;
        site.spawn()?;
        site.ready()?;
        fleet.finish(&mut account)?;
        account.add_message(&site.drain()?);
        account.look(&site)?;
        let verdict = account.judge(&site)?;
        verdict.expect_kept().with_context(|| site.diary())?;
        site.expect_reshards(reshards)?;
        ensure!(
            verdict.published > rounds * 10,
            "too little was published: {verdict}"
        );
        site.stop(LIMIT)?.expect_success()?;
        Ok(verdict)
    }
}

/// One life of a broker, up to the instant of its end: one in three ends before it is ready.
fn life(
    site: &mut Site,
    trouble: Trouble,
    entropy: &mut SeededEntropy,
    start_takes: &mut Duration,
) -> Result<()> {
    let in_recovery = entropy.below(3) == 0 && trouble != Trouble::Resharded;
    let part = entropy.below(1 << 20) as f64 / f64::from(1 << 20);
    site.spawn()?;
    if in_recovery {
        return site.live(start_takes.mul_f64(part));
    }
    let ready = site.ready()?;
    *start_takes = ready;
    if trouble == Trouble::Resharded {
        site.reshard(entropy.below(2) == 0)?;
    }
    // As many short lives as long ones, by order of magnitude.
    let age = SOONEST_MS * (LATEST_MS / SOONEST_MS).powf(part);
    site.live(ready + Duration::from_secs_f64(age / 1000.0))
}

fn begin(
    trouble: Trouble,
    site: &mut Site,
    account: &mut Account,
    entropy: &mut SeededEntropy,
) -> Result<()> {
    let now = wall_ms();
    match trouble {
        Trouble::Distance => site.inject(&json!([{
            "Operation": "PutRecords",
            "Effect": { "Type": "Delay", "Millis": 15, "JitterMillis": 30 },
        }]))?,
        Trouble::Unreachable => {
            let mode = ["Close", "Hang"][entropy.below(2) as usize];
            let effect = json!({ "Type": "SinkDown", "Mode": mode });
            site.inject(&rules(&effect))?;
            account.doubtful(now, wall_ms() + TROUBLE_MS);
        }
        Trouble::Outage => site.inject(&json!([{
            "Operation": "PutRecords",
            "Effect": { "Type": "RequestError", "Code": "ServiceUnavailable", "Status": 503 },
        }]))?,
        Trouble::Throttled => {
            let effect = json!({
                "Type": "RecordError",
                "Code": "ProvisionedThroughputExceededException",
                "Fraction": 0.3,
            });
            site.inject(&rules(&effect))?;
            account.throttled();
        }
        Trouble::Unanswered => {
            let effect = json!({ "Type": "ResetAfterStore" });
            site.inject(&json!([{
                "Operation": "PutRecords",
                "Probability": 0.3,
                "DurationMillis": TROUBLE_MS,
                "Effect": effect,
            }]))?;
            account.doubtful(now, wall_ms() + TROUBLE_MS);
        }
        Trouble::Restarted => {
            site.heal()?;
            site.restart_service()?;
            account.doubtful(now, wall_ms());
        }
        // That takes a broker which is surprised by it.
        Trouble::Resharded => {}
    }
    Ok(())
}

fn rules(effect: &Value) -> Value {
    json!([{ "DurationMillis": TROUBLE_MS, "Effect": effect }])
}

// === impl Fleet ===

impl Fleet {
    /// Starts them; the broker need not be there yet.
    pub(crate) fn start(site: &Site) -> Result<Self> {
        let mut devices = Vec::new();
        for version in Version::ALL {
            for habit in Habit::ALL {
                let name = format!("{version:?}-{habit:?}");
                devices.push(Device::new(&name, version, habit));
            }
        }
        for (version, habit) in Version::ALL.into_iter().cycle().zip(Habit::ALL) {
            let name = format!("{version:?}-{habit:?}-eager");
            devices.push(Device::new(&name, version, habit).eager());
        }
        let start = |device: Device| device.start(site.broker());
        let devices = devices.into_iter().map(start).collect();
        let paho = Paho::start(site.broker())?;
        Ok(Self { devices, paho })
    }

    /// Answers that the devices had so far, not counting other people's.
    pub(crate) fn answered(&self) -> u64 {
        self.devices.iter().map(Running::answered).sum()
    }

    /// No device may have given up.
    fn expect_work(&mut self) -> Result<()> {
        if let Some(ended) = self.devices.iter().position(Running::has_ended) {
            self.devices.swap_remove(ended).finish()?;
            bail!("a device ended without an error");
        }
        ensure!(!self.paho.has_ended()?, "paho: {}", self.paho.tail());
        Ok(())
    }

    /// Stops the devices, waits for their last answers, and takes what they published into account.
    pub(crate) fn finish(self, account: &mut Account) -> Result<()> {
        self.devices.iter().for_each(Running::stop);
        self.paho.stop()?;
        for device in self.devices {
            account.add(device.finish()?);
        }
        account.add(self.paho.finish()?);
        Ok(())
    }
}

/// Devices that publish so many messages each, all answered.
pub(crate) fn publish_all(site: &Site, prefix: &str, each: u64) -> Result<Account> {
    let devices = Version::ALL.map(|version| {
        let name = format!("{prefix}-{version:?}");
        let device = Device::new(&name, version, Habit::Persists).messages(each);
        device.start(site.broker())
    });
    wait::until_true("all answers", LIMIT, || {
        Ok(devices.iter().all(Running::has_ended))
    })?;
    let mut account = Account::default();
    for device in devices {
        account.add(device.finish()?);
    }
    Ok(account)
}
