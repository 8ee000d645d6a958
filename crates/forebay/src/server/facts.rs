//! Metrics that stand still while the process runs.

use forebay_metrics::Registry;

/// Which build runs.
pub(super) fn register(registry: &Registry) {
    let help = "Always 1; the labels say which build runs.";
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    registry
        .gauge("forebay_build_info", help, &version)
        .set(1.0);
}
