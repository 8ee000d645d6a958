//! Other people's MQTT clients, unchanged, in both protocol versions.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use forebay_tests::forebay::{Builder, Forebay};
use forebay_tests::foreign;
use forebay_tests::process::{self, Process};

use crate::bed::{self, LIMIT, until_metrics};

const SUITE_LIMIT: Duration = Duration::from_secs(180);
const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];

/// Runs a suite against a broker of its own, and expects so many checks of each version to pass.
fn suite_passes(name: &str, mut command: Command, of_3: usize, of_5: usize) -> Result<()> {
    let forebay = Builder::new()?.start()?;
    let broker = forebay.mqtt();
    command
        .arg(broker.ip().to_string())
        .arg(broker.port().to_string());
    let passed = foreign::suite(name, &mut command, SUITE_LIMIT)?;
    for (version, wanted) in [("3.1.1", of_3), ("5.0", of_5)] {
        let count = passed
            .iter()
            .filter(|check| check.starts_with(version))
            .count();
        ensure!(
            count == wanted,
            "{count} checks of {version}, not {wanted}: {passed:?}"
        );
    }
    bed::stop(forebay)
}

#[test]
fn paho_in_python() -> Result<()> {
    suite_passes("paho", foreign::python("paho_suite.py")?, 15, 17)
}

#[test]
fn mqtt_js() -> Result<()> {
    suite_passes("mqtt.js", foreign::node("mqttjs_suite.js")?, 11, 13)
}

fn mosquitto(program: &str, broker: SocketAddr, arguments: &[&str]) -> Result<Command> {
    let mut command = foreign::tool(program)?;
    command.args([
        "-h",
        &broker.ip().to_string(),
        "-p",
        &broker.port().to_string(),
    ]);
    command.args(arguments);
    Ok(command)
}

fn mosquitto_pub(broker: SocketAddr, arguments: &[&str]) -> Result<()> {
    let mut command = mosquitto("mosquitto_pub", broker, arguments)?;
    process::run("mosquitto_pub", &mut command, LIMIT)?.expect_success()?;
    Ok(())
}

/// A subscriber that ends after `count` messages, once the broker knows `subscriptions` in all.
fn mosquitto_sub(
    forebay: &Forebay,
    subscriptions: f64,
    count: usize,
    arguments: &[&str],
) -> Result<Process> {
    let mut command = mosquitto("mosquitto_sub", forebay.mqtt(), arguments)?;
    command.args(["-C", &count.to_string(), "-F", "%t qos=%q retain=%r %p"]);
    let process = Process::spawn("mosquitto_sub", &mut command)?;
    until_metrics(forebay, "the subscription of mosquitto_sub", |metrics| {
        metrics.sum("forebay_subscriptions", &[]) == subscriptions
    })?;
    Ok(process)
}

fn lines(subscriber: Process) -> Result<Vec<String>> {
    let finished = subscriber.wait(LIMIT)?.expect_success()?;
    Ok(finished.stdout.lines().map(str::to_owned).collect())
}

#[test]
fn mosquitto_pub_and_mosquitto_sub_at_every_qos() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    for version in VERSIONS {
        for granted in ["0", "1", "2"] {
            let options = ["-V", version, "-q", granted, "-t", "q/#"];
            let subscriber = mosquitto_sub(&forebay, 1.0, 3, &options)?;
            for sent in ["0", "1", "2"] {
                let topic = format!("q/{sent}");
                let options = ["-V", version, "-q", sent, "-t", &topic, "-m", "héllo"];
                mosquitto_pub(forebay.mqtt(), &options)?;
            }
            let mut got = lines(subscriber)?;
            got.sort();
            let expected = ["0", "1", "2"]
                .map(|sent| format!("q/{sent} qos={} retain=0 héllo", sent.min(granted)));
            ensure!(got == expected, "{version} {granted}: {got:?}");
            until_metrics(&forebay, "the end of the subscriber", |metrics| {
                metrics.sum("forebay_subscriptions", &[]) == 0.0
            })?;
        }
    }
    bed::stop(forebay)
}

#[test]
fn mosquitto_sub_gets_what_mosquitto_pub_retained() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    for version in VERSIONS {
        let topic = format!("kept/{version}");
        let publish = |message: &[&str]| {
            let options = ["-V", version, "-q", "1", "-r", "-t", &topic];
            mosquitto_pub(forebay.mqtt(), &[&options[..], message].concat())
        };
        publish(&["-m", "old"])?;
        publish(&["-m", "new"])?;
        let mut command = mosquitto(
            "mosquitto_sub",
            forebay.mqtt(),
            &[
                "-V", version, "-q", "1", "-t", "kept/+", "-C", "1", "-F", "%t %r %p",
            ],
        )?;
        let finished = process::run("mosquitto_sub", &mut command, LIMIT)?.expect_success()?;
        ensure!(
            finished.stdout == format!("{topic} 1 new\n"),
            "{finished:?}"
        );
        // A retained message without payload deletes the one before.
        publish(&["-n"])?;
        ensure!(forebay.metrics()?.sum("forebay_retained_messages", &[]) == 0.0);
    }
    bed::stop(forebay)
}

#[test]
fn the_will_of_a_killed_mosquitto_sub_is_published() -> Result<()> {
    let forebay = Builder::new()?.start()?;
    for version in VERSIONS {
        let options = ["-V", version, "-q", "1", "-t", "wills/#"];
        let watcher = mosquitto_sub(&forebay, 1.0, 1, &options)?;
        let will = [
            "--will-topic",
            "wills/x",
            "--will-payload",
            "gone",
            "--will-qos",
            "1",
        ];
        let options = [&["-V", version, "-t", "nothing"][..], &will].concat();
        let mortal = mosquitto_sub(&forebay, 2.0, 1, &options)?;
        mortal.kill()?;
        let got = lines(watcher)?;
        ensure!(got == ["wills/x qos=1 retain=0 gone"], "{version}: {got:?}");
        until_metrics(&forebay, "the end of both", |metrics| {
            metrics.sum("forebay_subscriptions", &[]) == 0.0
        })?;
    }
    bed::stop(forebay)
}
