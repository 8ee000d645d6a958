//! `[mqtt]`: how the broker treats its clients.

use std::time::Duration;

use super::limits::Profile;
use super::raw::RawTable;
use super::section::Section;
use crate::diagnostics::{Code, Diagnostic, Report};

/// What happens to a QoS 1 or 2 message for a session whose queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnQueueFull {
    /// The new message is dropped and counted.
    DropNewest,
    /// The oldest queued message is dropped and counted.
    DropOldest,
    /// The client is disconnected.
    Disconnect,
}

/// `[mqtt]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mqtt {
    /// `allow_empty_client_id`: an id is assigned. Default true.
    pub allow_empty_client_id: bool,
    /// `keep_alive_max`: higher wishes are lowered to it, 10 s to 65 535 s. Default 1 200 s.
    pub keep_alive_max: Duration,
    /// `keep_alive_min`: lower wishes are raised to it. Default 0 s, with the `aws` limits 30 s.
    pub keep_alive_min: Duration,
    /// `keep_alive_zero`: what 0 means; `None` is `"unlimited"`. Default 1 200 s.
    pub keep_alive_zero: Option<Duration>,
    /// `stall_disconnect`: closes a connection that the broker has not read for so long, 10 s to 1 d; `None` is `"off"`.
    /// Default off.
    pub stall_disconnect: Option<Duration>,
    /// `lenient.receive_maximum`: up to twice the announced value is accepted. Default true.
    pub lenient_receive_maximum: bool,
    /// `lenient.ack_order`: acknowledgements out of order are accepted. Default true.
    pub lenient_ack_order: bool,
    /// `lenient.reserved_flags`: reserved flag bits are ignored. Default false.
    pub lenient_reserved_flags: bool,
    /// `on_queue_full`. Default `drop_newest`.
    pub on_queue_full: OnQueueFull,
}

impl Mqtt {
    pub(super) fn read(table: RawTable, profile: Profile, report: &mut Report) -> Self {
        let seconds = Duration::from_secs;
        let longest = seconds(65_535);
        let mut section = Section::new("mqtt", table, report);
        let keep_alive_max = section.duration("keep_alive_max", seconds(10)..=longest);
        let keep_alive_min = section.duration("keep_alive_min", Duration::ZERO..=longest);
        let max = keep_alive_max
            .as_ref()
            .map_or(seconds(1200), |written| written.value);
        let min = keep_alive_min.as_ref().map_or(
            match profile {
                Profile::Default => Duration::ZERO,
                Profile::Aws => seconds(30),
            },
            |written| written.value,
        );
        if let Some(place) = keep_alive_min.or(keep_alive_max).filter(|_| min > max) {
            section.report().push(
                Diagnostic::error(
                    Code::OutOfRange,
                    "`mqtt.keep_alive_min` is greater than `mqtt.keep_alive_max`",
                )
                .at(&place.origin),
            );
        }
        let keep_alive_zero = section
            .duration_or("keep_alive_zero", "unlimited", seconds(1)..=longest)
            .unwrap_or(Some(seconds(1200)));
        let stall_disconnect = section
            .duration_or("stall_disconnect", "off", seconds(10)..=seconds(86_400))
            .unwrap_or(None);
        let on_queue_full = section
            .word(
                "on_queue_full",
                &["drop_newest", "drop_oldest", "disconnect"],
            )
            .map_or(OnQueueFull::DropNewest, |written| match written.value {
                "drop_oldest" => OnQueueFull::DropOldest,
                "disconnect" => OnQueueFull::Disconnect,
                _ => OnQueueFull::DropNewest,
            });
        let allow_empty_client_id = section.boolean("allow_empty_client_id").unwrap_or(true);
        let lenient_table = section.table("lenient");
        section.finish();
        let mut lenient = Section::new("mqtt.lenient", lenient_table, report);
        let mqtt = Self {
            allow_empty_client_id,
            keep_alive_max: max,
            keep_alive_min: min,
            keep_alive_zero,
            stall_disconnect,
            lenient_receive_maximum: lenient.boolean("receive_maximum").unwrap_or(true),
            lenient_ack_order: lenient.boolean("ack_order").unwrap_or(true),
            lenient_reserved_flags: lenient.boolean("reserved_flags").unwrap_or(false),
            on_queue_full,
        };
        lenient.finish();
        mqtt
    }
}
