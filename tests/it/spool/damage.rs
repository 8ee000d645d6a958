//! Bytes of the spool that change on the disk: found at the start, by itself or on demand, and what that costs.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use super::*;

/// The segment file that holds the first records.
fn first_segment(spool: &Path) -> Result<PathBuf> {
    let mut segments: Vec<PathBuf> = fs::read_dir(spool)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    segments.retain(|path| path.extension().is_some_and(|it| it == "seg"));
    segments.sort();
    // Ready ones hold nothing but zeroes behind their header.
    let found = segments.into_iter().find(|path| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes.windows(4).any(|window| window == b"dt/a")
    });
    found.context("no segment with records")
}

/// Changes one byte within the first record.
fn damage(spool: &Path) -> Result<()> {
    let segment = first_segment(spool)?;
    let bytes = fs::read(&segment)?;
    let at = bytes.windows(4).position(|window| window == b"dt/a");
    let at = at.context("no record")? as u64;
    let file = OpenOptions::new().write(true).open(&segment)?;
    ensure!(file.metadata()?.size() > at);
    file.write_all_at(b"X", at)?;
    Ok(())
}

#[test]
fn verify_reads_everything_and_fails_on_damage() -> Result<()> {
    let (forebay, _) = with_backlog(60)?;
    let url = format!("http://{}", forebay.admin());
    let token = forebay.token_file().display().to_string();
    let dir = forebay.folder().join("data/spool");
    let text = dir.to_str().context("a path that is no text")?;
    let online = json_of(
        &spool(["verify", "--admin", &url, "--json", "--token-file", &token])?,
        0,
    )?;
    ensure!(
        online["damaged"] == 0 && online["records"].as_u64() >= Some(60),
        "{online:#}"
    );
    damage(&dir)?;
    let online = spool(["verify", "--dir", text, "--admin", &url])?;
    expect(&online, 1, &["damaged: segment", "1 place is damaged"])?;

    let _folder = forebay.kill()?;
    let offline = json_of(&spool(["verify", "--dir", text, "--json"])?, 1)?;
    ensure!(offline["damaged"] == 1, "{offline:#}");
    ensure!(
        offline["damage"][0]["length"].as_u64() > Some(0),
        "{offline:#}"
    );
    Ok(())
}

/// A damaged frame costs its own records and nothing else, and is an alarm.
#[test]
fn damage_is_counted_at_the_next_start() -> Result<()> {
    let (forebay, address) = with_backlog(5)?;
    publish(&forebay, 5..200)?;
    let folder = forebay.kill()?;
    damage(&folder.path().join("data/spool"))?;
    let data = TempDir::new()?;
    let streams = streams_at(address, data.path())?;
    let forebay = again(folder, "spool", &address.to_string())?;
    let metrics = bed::until_metrics(&forebay, "a drained spool", |metrics| {
        metrics.sum("forebay_spool_unsettled_records", &[]) == 0.0
    })?;
    let lost = metrics.value("forebay_spool_records_lost_total", &[])?;
    ensure!((1.0..200.0).contains(&lost), "{lost}");
    ensure!(metrics.value("forebay_spool_frames_damaged_total", &[])? == 1.0);
    let numbers = stored(&streams, 200 - lost as usize)?;
    ensure!(numbers.len() == 200 - lost as usize, "{numbers:?}");
    bed::stop(forebay)
}

/// Messages that are so large that about sixty of them fill the first segment, which is a small one.
const LARGE: usize = 16 << 10;

fn publish_large(forebay: &Forebay, numbers: std::ops::Range<u32>) -> Result<()> {
    let mut client = Client::simple(forebay.mqtt(), Version::V5, "device")?;
    let pad = "x".repeat(LARGE);
    let messages =
        numbers.map(|n| Publish::new("dt/a", format!("{{\"n\":{n},\"pad\":\"{pad}\"}}"), 1));
    for outcome in client.publish_all(messages, 5)? {
        ensure!(outcome.reason == 0, "{outcome:?}");
    }
    client.disconnect()
}

/// Waits until the stream has `count` of the large messages and returns their numbers, each once, in the order of the
/// first time.
fn stored_large(streams: &StreamServer, count: usize) -> Result<Vec<u64>> {
    let records = kinesis::read_until(&streams.endpoint(), STREAM, count, LIMIT)?;
    let mut numbers: Vec<u64> = Vec::new();
    for record in records {
        let value: Value = serde_json::from_slice(&record.data)?;
        let number = value["n"].as_u64().context("no number")?;
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    Ok(numbers)
}

/// Starts the streams and checks that everything arrives but the first `lost` messages that damage took.
fn expect_the_rest(forebay: &Forebay, address: SocketAddr, total: u32, lost: u64) -> Result<()> {
    let data = TempDir::new()?;
    let streams = streams_at(address, data.path())?;
    let count = usize::try_from(u64::from(total) - lost)?;
    let numbers = stored_large(&streams, count)?;
    ensure!(numbers.len() == count, "{} arrived", numbers.len());
    ensure!(numbers.iter().copied().eq(lost..u64::from(total)));
    let metrics = bed::until_metrics(forebay, "a drained spool", |metrics| {
        metrics.sum("forebay_spool_unsettled_records", &[]) == 0.0
            && metrics.sum("forebay_records_conservation_difference", &[]) == 0.0
    })?;
    let value = |name: &str| metrics.value(name, &[]);
    ensure!(value("forebay_spool_records_lost_total")? == lost as f64);
    ensure!(value("forebay_spool_frames_damaged_total")? == 1.0);
    let failed = [("how", "failed")];
    ensure!(metrics.value("forebay_records_settled_total", &failed)? == lost as f64);
    Ok(())
}

fn check_status(forebay: &Forebay) -> Result<Value> {
    let status: Value = serde_json::from_str(&forebay.get("/statusz")?.body)?;
    Ok(status["spool"]["writer"]["check"].clone())
}

/// Nobody reads the segment, because its stream cannot be reached: who asks for a check finds the damage, and the
/// process takes it in while it runs.
#[test]
fn damage_that_is_found_on_demand_costs_its_own_records() -> Result<()> {
    let address = free_address()?;
    let forebay = with("spool", &address.to_string())?.start()?;
    publish_large(&forebay, 0..160)?;
    let url = format!("http://{}", forebay.admin());
    let token = forebay.token_file().display().to_string();
    let asked = |command| [command, "--admin", &url, "--token-file", &token];
    let dir = forebay.folder().join("data/spool");
    bed::until_metrics(&forebay, "a backlog", |metrics| {
        metrics.sum("forebay_spool_unsettled_records", &[]) == 160.0
    })?;
    damage(&dir)?;
    let found = spool(asked("verify"))?;
    let parts = [
        "damaged: segment",
        "1 place is damaged",
        "records that were owed are lost",
    ];
    expect(&found, 1, &parts)?;
    let again = json_of(&spool(asked("verify").into_iter().chain(["--json"]))?, 1)?;
    ensure!(again["damaged"] == 1, "{again:#}");
    ensure!(again["undecided_records"] == 0, "{again:#}");
    let lost = again["lost_records"].as_u64().context("no figure")?;
    ensure!((1..60).contains(&lost), "{again:#}");
    ensure!(again["records"].as_u64() == Some(160 - lost), "{again:#}");
    ensure!(again["segments"].as_u64() >= Some(2), "{again:#}");

    let metrics = bed::until_metrics(&forebay, "what is left", |metrics| {
        metrics.sum("forebay_spool_unsettled_records", &[]) == (160 - lost) as f64
    })?;
    let value = |name: &str| metrics.value(name, &[]);
    ensure!(value("forebay_spool_records_lost_total")? == lost as f64);
    ensure!(value("forebay_spool_frames_damaged_total")? == 1.0);
    ensure!(value("forebay_spool_checks_total")? >= 2.0);
    ensure!(value("forebay_spool_check_bytes_total")? > (2 * 160 * LARGE) as f64 * 0.9);
    ensure!(value("forebay_spool_check_ended_timestamp_seconds")? > 1.0e9);
    let events = forebay.events("spool damaged");
    ensure!(events.len() == 1, "{events:?}");
    ensure!(number(&events[0], "lost") == Some(lost), "{events:?}");
    let check = check_status(&forebay)?;
    ensure!(check["last"]["asked"] == true, "{check:#}");
    ensure!(check["last"]["damaged"] == 1, "{check:#}");
    expect(
        &spool(asked("stat"))?,
        0,
        &[
            "checked ",
            "1 damaged place",
            &format!("{lost} lost to damage"),
        ],
    )?;
    wait::until_true("a copy of what is damaged", LIMIT, || {
        let mut names = fs::read_dir(&dir)?.flatten().map(|entry| entry.file_name());
        Ok(names.any(|name| name.to_string_lossy().starts_with("quarantine-")))
    })?;

    expect_the_rest(&forebay, address, 160, lost)?;
    bed::stop(forebay)
}

/// The start reads only what is not sealed; the rest is read by itself soon after.
#[test]
fn damage_is_found_without_being_asked_for() -> Result<()> {
    let address = free_address()?;
    let kept = TempDir::new()?;
    let data = format!("{:?}", kept.path().join("data").display().to_string());
    let builder = with("spool", &address.to_string())?.set("server.data_dir", &data);
    let forebay = builder.start()?;
    publish_large(&forebay, 0..160)?;
    let dir = kept.path().join("data/spool");
    let first = first_segment(&dir)?;
    wait::until_true("a sealed segment", LIMIT, || {
        let bytes = fs::read(&first)?;
        Ok(bytes.iter().rev().take(4096).any(|byte| *byte != 0))
    })?;
    expect(&forebay.stop(LIMIT)?, 0, &[])?;
    damage(&dir)?;

    let forebay = again(kept, "spool", &address.to_string())?;
    let recovered = forebay.events("spool recovered");
    ensure!(number(&recovered[0], "damaged") == Some(0), "{recovered:?}");
    wait::until_true("a check that nobody asked for", LIMIT, || {
        Ok(check_status(&forebay)?["last"]["damaged"] == 1)
    })?;
    let check = check_status(&forebay)?;
    ensure!(check["last"]["asked"] == false, "{check:#}");
    ensure!(check["last"]["segments"].as_u64() >= Some(1), "{check:#}");
    ensure!(check.get("under_way").is_none(), "{check:#}");
    let events = forebay.events("spool damaged");
    ensure!(events.len() == 1, "{events:?}");
    let lost = number(&events[0], "lost").context("no figure")?;
    ensure!((1..60).contains(&lost), "{events:?}");
    expect_the_rest(&forebay, address, 160, lost)?;
    bed::stop(forebay)
}

/// What is being written, and what is stored and used again meanwhile, is no damage.
#[test]
fn a_check_beside_a_busy_writer_finds_nothing() -> Result<()> {
    let address = free_address()?;
    let data = TempDir::new()?;
    let _streams = streams_at(address, data.path())?;
    let forebay = with("spool", &address.to_string())?.start()?;
    let url = format!("http://{}", forebay.admin());
    let token = forebay.token_file().display().to_string();
    let verify = ["verify", "--json", "--admin", &url, "--token-file", &token];
    let mut checks = 0;
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| publish_large(&forebay, 0..300));
        while !publisher.is_finished() {
            let report = json_of(&spool(verify)?, 0)?;
            ensure!(
                report["damaged"] == 0 && report["unreadable"] == 0,
                "{report:#}"
            );
            checks += 1;
        }
        publisher.join().expect("the publisher does not panic")
    })?;
    ensure!(checks > 1, "{checks} checks");
    let metrics = bed::until_metrics(&forebay, "a drained spool", |metrics| {
        metrics.sum("forebay_spool_unsettled_records", &[]) == 0.0
    })?;
    let value = |name: &str| metrics.value(name, &[]);
    ensure!(value("forebay_spool_frames_damaged_total")? == 0.0);
    ensure!(value("forebay_spool_records_lost_total")? == 0.0);
    ensure!(value("forebay_spool_checks_total")? >= f64::from(checks));
    bed::stop(forebay)
}
