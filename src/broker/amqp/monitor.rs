//! What is seen of the queues: how many wait in each, who else consumes, and how late the delay ladder is.
//!
//! What is stuck in a ladder queue (a dead-letter hop that cannot be made) does not show in that queue's count, so a
//! canary goes through the ladder each minute, and what it says is how long a retry really takes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use super::super::ladder::{CANARY, LEVELS};
use super::super::message::{Message, Properties, Value};
use super::super::topology::Names;
use super::super::{Lane, QueueReport};
use super::publisher::Publisher;
use super::{Site, convert};

const COUNT_EVERY: Duration = Duration::from_secs(5);
const CANARY_EVERY: Duration = Duration::from_secs(60);
/// A queue without a leader (its node was killed just after declaring it) never answers.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// When a canary is later than this, so is the next one: then it is told, and again each time that as much has passed.
const LATE: Duration = Duration::from_secs(70);
const SENT: &str = "x-flowlaunch-sent-ms";

/// Watches until the connection fails.
pub(super) async fn run(
    connection: &Connection,
    site: &Site,
    report: &watch::Sender<QueueReport>,
    publisher: &Arc<Publisher>,
) -> lapin::Error {
    let counting = count(connection, &site.names, report, COUNT_EVERY, 1);
    let canary = canary(connection, &site.names, report, publisher);
    tokio::select! {
        Err(error) = counting => error,
        Err(error) = canary => error,
        else => std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into(),
    }
}

/// Counts until the connection fails; `ours` is how many of each lane's consumers are.
pub(super) async fn count(
    connection: &Connection,
    names: &Names,
    report: &watch::Sender<QueueReport>,
    every: Duration,
    ours: u32,
) -> Result<(), lapin::Error> {
    let mut every = interval(every);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut channel = connection.create_channel().await?;
    let single = [
        ("normal", names.lane(Lane::Normal)),
        ("bulk", names.lane(Lane::Bulk)),
        ("track", names.track()),
        ("dead", names.dead()),
    ];
    loop {
        every.tick().await;
        let mut messages = Vec::with_capacity(single.len() + 1);
        let mut consumers = [None; 2];
        for (index, (label, queue)) in single.iter().enumerate() {
            let seen = look(connection, &mut channel, queue).await?;
            messages.push((*label, seen.map(|(count, _)| count)));
            if let Some(lane) = consumers.get_mut(index) {
                *lane = seen.map(|(_, consumers)| consumers);
            }
        }
        let most = consumers.iter().flatten().max().copied().unwrap_or(0);
        let mut delayed = Some(0);
        for level in 0..LEVELS {
            let seen = look(connection, &mut channel, &names.delay(level)).await?;
            delayed = delayed.zip(seen).map(|(sum, (count, _))| sum + count);
        }
        messages.push(("delayed", delayed));
        report.send_modify(|report| {
            report.messages = messages;
            report.consumers = consumers;
            report.other_consumers = most.saturating_sub(ours);
        });
    }
}

/// Messages ready and consumers of a queue; `None`, named in the log, when it does not answer or is not there.
async fn look(connection: &Connection, channel: &mut Channel, queue: &str) -> Result<Option<(u32, u32)>, lapin::Error> {
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let why = match timeout(
        ANSWER_LIMIT,
        channel.queue_declare(queue.into(), options, FieldTable::default()),
    )
    .await
    {
        Ok(Ok(queue)) => return Ok(Some((queue.message_count(), queue.consumer_count()))),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s: it may have no leader", ANSWER_LIMIT.as_secs()),
    };
    warn!(queue, %why, "a queue cannot be looked at");
    // The error closed the channel (or an answer to come would be taken for the next one's).
    *channel = connection.create_channel().await?;
    Ok(None)
}

async fn canary(
    connection: &Connection,
    names: &Names,
    report: &watch::Sender<QueueReport>,
    publisher: &Arc<Publisher>,
) -> Result<(), lapin::Error> {
    let channel = connection.create_channel().await?;
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let mut back = channel
        .basic_consume(
            names.canary().as_str().into(),
            "".into(),
            options,
            FieldTable::default(),
        )
        .await?;
    let mut send = interval(CANARY_EVERY);
    send.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look = interval(COUNT_EVERY);
    // The oldest of ours that has not come back: while it is overdue, the lag grows.
    let mut expected: Option<Instant> = None;
    let mut told = 0;
    loop {
        tokio::select! {
            _ = send.tick() => {
                if publisher.publish_canary(letter(), CANARY).await.is_ok() {
                    expected.get_or_insert_with(|| Instant::now() + CANARY.duration());
                }
            }
            came = back.next() => {
                let Some(came) = came else { return Ok(()) };
                let (message, _) = convert::from_amqp(Vec::new(), &came?.properties);
                if let Some(sent) = message.properties.headers.get(SENT).and_then(Value::as_int) {
                    // Another worker's canary tells as much as ours: the ladder is the same.
                    let took = Timestamp::now().as_millisecond().saturating_sub(sent);
                    let lag = took as f64 / 1000.0 - CANARY.duration().as_secs_f64();
                    expected = None;
                    told = 0;
                    if report.borrow().delay_lag >= LATE.as_secs_f64() {
                        info!("the delay ladder works again");
                    }
                    report.send_modify(|report| report.delay_lag = lag.max(0.0));
                }
            }
            _ = look.tick() => {
                if let Some(overdue) = expected.and_then(|due| Instant::now().checked_duration_since(due)) {
                    report.send_modify(|report| report.delay_lag = report.delay_lag.max(overdue.as_secs_f64()));
                    let late = overdue.as_secs() / LATE.as_secs();
                    if late > told {
                        told = late;
                        warn!(
                            seconds = overdue.as_secs(),
                            "the delay ladder stands still: what is delayed is safe, and comes when the broker's \
                             dead-lettering goes on; when it does not by itself, restart the node that leads {}.*",
                            names.delay(0).trim_end_matches(".00")
                        );
                    }
                }
            }
        }
    }
}

fn letter() -> Message {
    let mut properties = Properties::default();
    properties
        .headers
        .0
        .push((SENT.to_owned(), Value::Int(Timestamp::now().as_millisecond())));
    Message {
        body: bytes::Bytes::from_static(b"canary"),
        properties,
    }
}
