//! Checks the edges between packages against the map: rows, doors, and what the pure crates leave out.
//!
//! A new edge is a decision of its own. It changes the tables here in the commit that makes it.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::workspace::Workspace;

/// Packages by row. An edge points to a lower row; packages of one row never use each other.
const ROWS: &[&[&str]] = &[
    &["forebay-core", "forebay-metrics"],
    &["forebay-sql", "forebay-spool"],
    &["forebay-rules"],
    &["forebay-pipeline"],
    &[
        "forebay-broker",
        "forebay-kinesis",
        "forebay-stream",
        "forebay-bench",
    ],
    &["forebay-admin"],
    &["forebay"],
    &["forebay-tests"],
];

/// Packages without any edge of their own to the others, in either direction.
const APART: &[&str] = &["xtask"];

/// The outside worlds, each with the packages that may name it. A name that ends in `*` stands
/// for all packages that begin so.
const DOORS: &[(&str, &[&str])] = &[
    ("rumqttd", &["forebay-broker"]),
    ("rumqttc", &["forebay", "forebay-tests"]),
    (
        "aws-*",
        &[
            "forebay-kinesis",
            "forebay",
            "forebay-bench",
            "forebay-tests",
        ],
    ),
    // The rules are measured against a bare parse; no code of theirs names it.
    ("simd-json", &["forebay-sql", "forebay-rules"]),
    ("prost*", &["forebay-rules"]),
    ("metrics", &["forebay-metrics"]),
    ("metrics-*", &["forebay-metrics"]),
    ("axum", &["forebay-admin"]),
    ("clap*", &["forebay"]),
    ("toml*", &["forebay"]),
    ("annotate-snippets", &["forebay"]),
    ("saphyr*", &["forebay"]),
    ("mimalloc", &["forebay"]),
];

/// These do no input or output, read no clock and know no runtime.
const PURE: &[&str] = &["forebay-core", "forebay-sql", "forebay-rules"];
const IMPURE: &[&str] = &["tokio*", "mio", "socket2", "hyper*", "libc"];

/// Versions that rumqttd brings and that nothing of ours may ask for.
const OUTDATED: &[(&str, &str)] = &[("hyper", "0"), ("metrics", "0.22")];

/// Fails with one line for each dependency that the map does not have.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let edges = edges(workspace.packages())?;
    let wrong = violations(&edges);
    if !wrong.is_empty() {
        bail!(
            "the map of packages does not have:\n  {}",
            wrong.join("\n  ")
        );
    }
    println!("{} dependencies checked", edges.len());
    Ok(())
}

/// One dependency of one of our packages; normal, build and dev dependencies count alike.
#[derive(Debug)]
struct Edge {
    from: String,
    to: String,
    requirement: String,
    ours: bool,
}

fn edges(packages: &[Value]) -> Result<Vec<Edge>> {
    let text = |value: &Value, key: &str| {
        value[key]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("`cargo metadata` printed no {key}"))
    };
    let mut edges = Vec::new();
    for package in packages {
        let dependencies = package["dependencies"].as_array();
        for dependency in dependencies.into_iter().flatten() {
            edges.push(Edge {
                from: text(package, "name")?,
                to: text(dependency, "name")?,
                requirement: text(dependency, "req")?,
                ours: dependency["path"].is_string(),
            });
        }
    }
    Ok(edges)
}

fn violations(edges: &[Edge]) -> Vec<String> {
    edges
        .iter()
        .filter_map(|edge| {
            let reason = if edge.ours {
                row_violation(edge)
            } else {
                door_violation(edge)
            };
            reason.map(|reason| format!("{} -> {}: {reason}", edge.from, edge.to))
        })
        .collect()
}

fn row_violation(edge: &Edge) -> Option<String> {
    if let Some(apart) = [&edge.from, &edge.to]
        .into_iter()
        .find(|name| APART.contains(&name.as_str()))
    {
        return Some(format!("{apart} stands apart from the other packages"));
    }
    let Some(from) = row(&edge.from) else {
        return Some(format!("{} has no row", edge.from));
    };
    let Some(to) = row(&edge.to) else {
        return Some(format!("{} has no row", edge.to));
    };
    (to >= from).then(|| format!("row {from} may use lower rows only, and this is row {to}"))
}

fn row(package: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&package))
}

fn door_violation(edge: &Edge) -> Option<String> {
    let closed = DOORS
        .iter()
        .find(|(world, keepers)| matches(world, &edge.to) && !keepers.contains(&&*edge.from));
    if let Some((_, keepers)) = closed {
        return Some(format!("only {} may use it", keepers.join(", ")));
    }
    if PURE.contains(&&*edge.from) && IMPURE.iter().any(|name| matches(name, &edge.to)) {
        return Some(format!("{} does no input or output", edge.from));
    }
    OUTDATED
        .iter()
        .any(|(name, version)| *name == edge.to && asks_for(&edge.requirement, version))
        .then(|| format!("version {} is rumqttd's own", edge.requirement))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

/// Whether a requirement such as `^0.22.4` begins with `version`, component by component.
fn asks_for(requirement: &str, version: &str) -> bool {
    let digits = requirement.trim_start_matches(|c: char| !c.is_ascii_digit());
    let mut parts = digits.split('.');
    version.split('.').all(|part| parts.next() == Some(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(from: &str, to: &str) -> Option<String> {
        check_one(from, to, "^1")
    }

    fn check_one(from: &str, to: &str, requirement: &str) -> Option<String> {
        let edge = Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            requirement: requirement.to_owned(),
            ours: row(to).is_some() || APART.contains(&to) || to.starts_with("forebay"),
        };
        violations(&[edge]).pop()
    }

    #[test]
    fn edges_that_point_down_are_allowed() {
        for (from, to) in [
            ("forebay", "forebay-admin"),
            ("forebay-broker", "forebay-pipeline"),
            ("forebay-kinesis", "forebay-core"),
            ("forebay-sql", "forebay-metrics"),
            ("forebay-tests", "forebay"),
        ] {
            assert_eq!(violation(from, to), None);
        }
    }

    #[test]
    fn edges_up_sideways_and_to_unknown_packages_are_refused() {
        for (from, to) in [
            ("forebay-pipeline", "forebay-kinesis"),
            ("forebay-broker", "forebay-kinesis"),
            ("forebay-core", "forebay-metrics"),
            ("forebay-bench", "forebay"),
            ("forebay-admin", "forebay-tests"),
            ("xtask", "forebay-core"),
            ("forebay", "xtask"),
            ("forebay", "forebay-unheard-of"),
        ] {
            assert!(violation(from, to).is_some(), "{from} -> {to}");
        }
    }

    #[test]
    fn each_outside_world_has_its_door() {
        assert_eq!(violation("forebay-broker", "rumqttd"), None);
        assert_eq!(violation("forebay-kinesis", "aws-sdk-kinesis"), None);
        assert!(violation("forebay-tests", "rumqttd").is_some());
        assert!(violation("forebay-broker", "aws-config").is_some());
        assert!(violation("forebay-pipeline", "simd-json").is_some());
        assert!(violation("forebay-pipeline", "metrics-util").is_some());
        assert!(violation("forebay-rules", "tokio").is_some());
        assert_eq!(violation("forebay-pipeline", "metrics_like"), None);
    }

    #[test]
    fn versions_that_only_rumqttd_may_bring_are_refused() {
        assert!(check_one("forebay-stream", "hyper", "^0.14.32").is_some());
        assert!(check_one("forebay-metrics", "metrics", "=0.22").is_some());
        assert_eq!(check_one("forebay-stream", "hyper", "^1.12"), None);
        assert_eq!(check_one("forebay-metrics", "metrics", "^0.24.6"), None);
    }

    #[test]
    fn dependencies_are_read_from_the_metadata_of_cargo() {
        let packages = serde_json::json!([{
            "name": "forebay-core",
            "dependencies": [
                {"name": "bytes", "req": "^1.12", "kind": null},
                {"name": "forebay", "req": "*", "kind": "dev", "path": "crates/forebay"},
            ],
        }]);
        let edges = edges(packages.as_array().unwrap()).unwrap();
        let wrong = violations(&edges);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(
            wrong[0].starts_with("forebay-core -> forebay: "),
            "{wrong:?}"
        );
    }
}
