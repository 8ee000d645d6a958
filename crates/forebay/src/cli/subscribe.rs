//! `sub`: prints what comes on topic filters.

use std::pin::pin;

use forebay_core::QoS;
use serde_json::json;

use super::args::SubArguments;
use super::exit::{Exit, Failure, Outcome};
use super::mqtt_client::{self, Happening, Received};
use super::output;
use super::publish::expect_connected;
use super::signals::Stop;

/// Runs the command.
pub(super) async fn run(arguments: &SubArguments) -> Outcome {
    let qos = QoS::from_level(arguments.qos).unwrap_or_default();
    let (client, mut happenings) = mqtt_client::connect(&arguments.client, "sub")?;
    let mut timeout = pin!(async {
        match arguments.timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    });
    let mut stop = Stop::listen()?;
    let mut left = arguments.count;
    expect_connected(&mut happenings).await?;
    client.subscribe(&arguments.topic, qos).await?;
    let exit = loop {
        let happening = tokio::select! {
            happening = happenings.recv() => happening,
            () = &mut timeout => break if left.is_some() { Exit::Failed } else { Exit::Done },
            _ = stop.wait() => break Exit::Done,
        };
        match happening {
            Some(Ok(Happening::Message(message))) => {
                print(arguments, &message)?;
                if let Some(left) = &mut left {
                    *left -= 1;
                    if *left == 0 {
                        break Exit::Done;
                    }
                }
            }
            Some(Ok(Happening::Subscribed(answers))) => check(arguments, &answers)?,
            Some(Ok(_)) => {}
            Some(Err(failure)) => return Err(failure),
            None => return Err(Failure::new(Exit::Unreachable, "the connection ended")),
        }
    };
    client.disconnect().await;
    while let Some(Ok(happening)) = happenings.recv().await {
        if matches!(happening, Happening::Disconnected) {
            break;
        }
    }
    Ok(exit)
}

/// A refused filter ends the command: what it would have printed never comes.
fn check(arguments: &SubArguments, answers: &[Result<(), String>]) -> Result<(), Failure> {
    if arguments.topic.len() != answers.len() {
        return Err(Failure::new(
            Exit::Unreachable,
            format!(
                "the broker answered {} filters with {} reason codes",
                arguments.topic.len(),
                answers.len()
            ),
        ));
    }
    for (index, answer) in answers.iter().enumerate() {
        if let Err(reason) = answer {
            return Err(Failure::new(
                Exit::Failed,
                format!("subscription to {:?}: {reason}", arguments.topic[index]),
            ));
        }
    }
    Ok(())
}

fn print(arguments: &SubArguments, message: &Received) -> std::io::Result<()> {
    if arguments.json {
        let value = json!({
            "topic": message.topic,
            "payload": std::str::from_utf8(&message.payload).ok(),
            "bytes": message.payload.len(),
            "qos": message.qos,
            "retain": message.retain,
        });
        return output::line(&value.to_string());
    }
    if arguments.verbose {
        let mut line = Vec::with_capacity(message.topic.len() + 1 + message.payload.len());
        line.extend_from_slice(message.topic.as_bytes());
        line.push(b' ');
        line.extend_from_slice(&message.payload);
        return output::bytes(&line);
    }
    output::bytes(&message.payload)
}
