//! What a client of either version sees of the broker when it does everything right.

mod connect;
mod publish;
mod retained;
mod subscribe;
mod wills;

use anyhow::{Result, ensure};
use forebay_tests::mqtt::{Packet, Version};

/// What a connection was told before it was closed: 5.0 the reason, 3.1.1 nothing.
fn expect_reason(version: Version, last: &[Packet], reason: u8) -> Result<()> {
    let right = match (version, last) {
        (Version::V3, []) => true,
        (Version::V5, [Packet::Disconnect { reason: got, .. }]) => *got == reason,
        _ => false,
    };
    ensure!(right, "{version:?}: {last:02x?}, not {reason:#04x}");
    Ok(())
}
