//! Reads the Prometheus text exposition.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};

use crate::http;

/// One scrape.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Scrapes `/metrics`.
///
/// # Errors
/// If the answer is not 200, or a line of it is not in the text format.
pub fn scrape(admin: SocketAddr) -> Result<Metrics> {
    let answer = http::get(admin, "/metrics")?;
    if answer.status != 200 {
        bail!("/metrics answered {}: {}", answer.status, answer.body);
    }
    Metrics::parse(&answer.body)
}

impl Metrics {
    /// Reads the text format. Comments are skipped.
    ///
    /// # Errors
    /// If a line is not a sample.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim);
        let samples = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| sample(line).with_context(|| format!("not a sample: {line}")))
            .collect::<Result<_>>()?;
        Ok(Self { samples })
    }

    /// The values of all samples of `name` that carry these labels, added up; 0 if there is none,
    /// as a counter that has not counted yet may be absent.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.select(name, labels).map(|sample| sample.value).sum()
    }

    /// The value of the only sample of `name` that carries these labels.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let mut found = self.select(name, labels);
        match (found.next(), found.next()) {
            (Some(sample), None) => Ok(sample.value),
            (None, _) => bail!("no sample of {name} with {labels:?}"),
            (Some(_), Some(_)) => bail!("several samples of {name} with {labels:?}"),
        }
    }

    /// Whether there is any sample of `name`.
    pub fn has(&self, name: &str) -> bool {
        self.select(name, &[]).next().is_some()
    }

    /// The values that `label` has on samples of `name`, with the samples' values.
    pub fn by_label(&self, name: &str, label: &str) -> Vec<(&str, f64)> {
        self.select(name, &[])
            .filter_map(|sample| Some((sample.label(label)?, sample.value)))
            .collect()
    }

    fn select<'a, 'b>(
        &'a self,
        name: &'b str,
        labels: &'b [(&'b str, &'b str)],
    ) -> impl Iterator<Item = &'a Sample> + use<'a, 'b> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(key, value)| sample.label(key) == Some(value))
        })
    }
}

impl Sample {
    fn label(&self, key: &str) -> Option<&str> {
        let label = self.labels.iter().find(|(name, _)| name == key);
        label.map(|(_, value)| value.as_str())
    }
}

fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(name_end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_ascii_whitespace().next()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (key, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.push((key.to_owned(), value));
        rest = after;
    }
}

/// A label's value up to its closing quote, with escapes resolved, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            '\\' => value.push(match characters.next()? {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# HELP a_total what it counts
# TYPE a_total counter
a_total{shard="1",rule="x"} 3
a_total{shard="2",rule="y, \"z\" \\ }"} 4.5
b_bytes 1.5e3 1700000000
c_bucket{le="+Inf"} +Inf
"#;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let metrics = Metrics::parse(TEXT).unwrap();
        assert_eq!(metrics.sum("a_total", &[]), 7.5);
        assert_eq!(metrics.sum("a_total", &[("shard", "1")]), 3.0);
        assert_eq!(metrics.sum("missing_total", &[]), 0.0);
        assert_eq!(metrics.value("b_bytes", &[]).unwrap(), 1500.0);
        let awkward = [("rule", r#"y, "z" \ }"#)];
        assert_eq!(metrics.value("a_total", &awkward).unwrap(), 4.5);
        assert_eq!(metrics.value("c_bucket", &[]).unwrap(), f64::INFINITY);
        assert_eq!(
            metrics.by_label("a_total", "shard"),
            [("1", 3.0), ("2", 4.5)]
        );
        assert!(metrics.has("b_bytes") && !metrics.has("b"));
    }

    #[test]
    fn no_sample_and_several_samples_are_errors() {
        let metrics = Metrics::parse(TEXT).unwrap();
        assert!(metrics.value("a_total", &[]).is_err());
        assert!(metrics.value("a_total", &[("shard", "3")]).is_err());
    }

    #[test]
    fn lines_that_are_no_samples_are_errors() {
        for text in ["a", "a{b=\"c\" 1", "a{b} 1", "a x"] {
            assert!(Metrics::parse(text).is_err(), "{text}");
        }
    }
}
