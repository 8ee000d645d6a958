//! What an idle connection costs a broker: its resident memory without and with so many connections.
//!
//! ```text
//! cargo run --release -p forebay-bench --example idle_connections PID [CONNECTIONS [BROKER]]
//! ```
//!
//! The connections send nothing after CONNECT; what is measured is a broker that was started for this and has served
//! nobody else.

use std::io::{self, Write};
use std::time::Duration;

use forebay_bench::devices::{Devices, DevicesConfig};
use forebay_bench::{RunId, resident_bytes};
use forebay_core::{Clock, SeededEntropy, SystemClock};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |index: usize| arguments.get(index).map(String::as_str);
    let pid: u32 = argument(0)
        .ok_or("the broker's process id is missing")?
        .parse()?;
    let connections: usize = argument(1).unwrap_or("1000").parse()?;
    let broker = argument(2).unwrap_or("mqtt://127.0.0.1:1883").parse()?;
    let before = resident_bytes(pid)?;
    let mut config = DevicesConfig::new(broker, RunId::new(&mut SeededEntropy::from_os()));
    config.devices = connections;
    // The slowest rate there is: the first measurement of most devices lies minutes ahead.
    config.rate = 0.001;
    let devices = Devices::start(config)?;
    let clock = SystemClock::new();
    let deadline = clock.now() + Duration::from_secs(60);
    while devices.snapshot().connected < connections as u64 {
        if clock.now() > deadline {
            return Err(format!("not connected: {:?}", devices.snapshot()).into());
        }
        std::thread::yield_now();
    }
    let after = resident_bytes(pid)?;
    let each = after.saturating_sub(before) as f64 / connections as f64 / 1024.0;
    writeln!(
        io::stdout(),
        "{connections} idle connections: {:.1} MiB before, {:.1} MiB with them, {each:.1} KiB each",
        before as f64 / f64::from(1 << 20),
        after as f64 / f64::from(1 << 20),
    )?;
    drop(devices.finish(Duration::ZERO)?);
    Ok(())
}
