//! Metrics that stand still while the process runs.

use forebay_metrics::Registry;

use crate::config::Config;

/// Which build runs, and with how many rules.
pub(super) fn register(config: &Config, registry: &Registry) {
    let help = "Always 1; the labels say which build runs.";
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    registry
        .gauge("forebay_build_info", help, &version)
        .set(1.0);
    let help = "Rules that were loaded, disabled ones included.";
    let rules = u32::try_from(config.rule_set.rules().len()).unwrap_or(u32::MAX);
    registry
        .gauge("forebay_rules_loaded", help, &[])
        .set(rules.into());
}
