//! Waiting for a condition with a deadline, which is how a test lets something happen.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(5);

/// Calls `attempt` until it returns a value, and returns that value.
///
/// # Errors
/// The first error of `attempt`, or one that names `what` when `limit` has passed.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        if start.elapsed() >= limit {
            bail!("waited {limit:?} in vain for {what}");
        }
        thread::sleep(PAUSE);
    }
}

/// Calls `holds` until it is true.
///
/// # Errors
/// The first error of `holds`, or one that names `what` when `limit` has passed.
pub fn until_true(
    what: &str,
    limit: Duration,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<()> {
    until(what, limit, || Ok(holds()?.then_some(())))
}

/// Calls `value` until it has stayed the same for `long`, and returns it.
///
/// # Errors
/// The first error of `value`, or one that names `what` when `limit` has passed.
pub fn until_still<T: PartialEq>(
    what: &str,
    limit: Duration,
    long: Duration,
    mut value: impl FnMut() -> Result<T>,
) -> Result<T> {
    let (mut last, mut since) = (value()?, Instant::now());
    until_true(what, limit, || {
        let now = value()?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        Ok(since.elapsed() >= long)
    })?;
    Ok(last)
}
