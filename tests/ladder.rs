//! The delay ladder on a real broker: never early, late within its bound, nothing held up, nothing lost.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what it did not expect, and prints its figures"
)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::jobs::apply_topology;
use common::wait::{LONG, eventually};
use common::{Amqp as Hand, Node, Prefix, Rabbit, Worker, shared};
use flowlaunch::broker::amqp::{Amqp, Site};
use flowlaunch::broker::ladder::{LEVELS, Leg};
use flowlaunch::broker::settings::{Declare, Settings};
use flowlaunch::broker::topology::Names;
use flowlaunch::broker::{
    Appetite, Delivery, Destination, Intake, Lane, Link, Message, Properties, PublishError, Settlement,
};
use lapin::options::QueueDeleteOptions;
use tokio::sync::Mutex;

/// DESIGN's bound for an idle broker, whatever the delay. Up to a second of it is the rounding up of the last leg.
const LATE: Duration = Duration::from_secs(2);
/// Held by the one that needs an idle broker, and by those that make it anything but that.
static IDLE: Mutex<()> = Mutex::const_new(());

struct Rig {
    site: Arc<Site>,
    broker: Amqp,
    intake: Intake,
    names: Names,
    hand: Hand,
    _prefix: Prefix,
}

impl Rig {
    async fn new(node: &Node, story: &str) -> Self {
        let prefix = Prefix::new(node, story);
        let site = Arc::new(Site::new(&settings(node, &prefix), Duration::from_secs(3600)).unwrap());
        let (broker, intake) = Amqp::start(site.clone());
        let rig = Self {
            site,
            broker,
            intake,
            names: Names::new(prefix.name()),
            hand: Hand::connect(node.url()).await,
            _prefix: prefix,
        };
        rig.wait_up().await;
        rig
    }

    /// What is to be declared is declared then, and not later.
    async fn wait_up(&self) {
        let observed = self.broker.observed();
        for mut link in [observed.consuming, observed.publishing] {
            tokio::time::timeout(LONG, link.wait_for(Link::is_up))
                .await
                .unwrap()
                .unwrap();
        }
    }

    /// Publishing alone: a consumer would notice what is deleted, and declare it again.
    async fn publishing(node: &Node, story: &str) -> Self {
        let mut rig = Self::new(node, story).await;
        let publisher = Amqp::publisher_only(rig.site.clone());
        std::mem::replace(&mut rig.broker, publisher).stop().await;
        rig.wait_up().await;
        rig
    }

    fn consume(&self) {
        self.intake.appetite.send_replace(Appetite::all(1000));
    }

    async fn delay(&self, lane: Lane, delay: Duration, id: &str) -> Result<(), PublishError> {
        let properties = Properties {
            message_id: Some(id.to_owned()),
            ..Properties::default()
        };
        let message = Message {
            body: id.to_owned().into(),
            properties,
        };
        self.broker
            .publisher()
            .publish(Destination::Delay(lane, delay), message, LONG)
            .await
    }

    async fn next(&mut self, lane: Lane) -> Delivery {
        let inbox = &mut self.intake.lanes[usize::from(lane == Lane::Bulk)];
        tokio::time::timeout(LONG, inbox.recv())
            .await
            .expect("a delivery")
            .unwrap()
    }
}

fn settings(node: &Node, prefix: &Prefix) -> Settings {
    Settings {
        url: node.url().into(),
        prefix: prefix.name().to_owned(),
        declare: Declare::Create,
        ca_file: None,
        client_cert_file: None,
        client_key_file: None,
    }
}

fn id(delivery: &Delivery) -> String {
    delivery.message.properties.message_id.clone().unwrap()
}

/// Five hundred random delays: none early; how late each was, the least first.
async fn five_hundred(rig: &mut Rig) -> Vec<Duration> {
    let mut delays: Vec<(Duration, Instant)> = Vec::new();
    for n in 0..500 {
        let delay = Duration::from_millis(200 + rand::random_range(0..19_800));
        // The clock starts before the publish: early would be seen, and the confirm's own time counts as late.
        delays.push((delay, Instant::now()));
        rig.delay(Lane::Bulk, delay, &n.to_string()).await.unwrap();
    }
    let (mut late, mut beyond) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        let delivery = rig.next(Lane::Bulk).await;
        let n: usize = id(&delivery).parse().unwrap();
        let (delay, sent) = delays[n];
        let took = sent.elapsed();
        assert!(took >= delay, "message {n} was {:?} early", delay - took);
        late.push(took - delay);
        beyond.push(took - Leg::new(delay).duration());
        delivery.settle(Settlement::Ack);
    }
    late.sort_unstable();
    beyond.sort_unstable();
    println!(
        "500 delays of 0.2 to 20 s: late by {:?} at the median, {:?} at most; beyond the rounding {:?} and {:?}",
        late[250], late[499], beyond[250], beyond[499]
    );
    late
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_random_delays_arrive_in_time() {
    let _idle = IDLE.lock().await;
    let mut rig = Rig::new(&shared(), "ladder").await;
    rig.consume();
    // A machine that had other things to do for a moment is no broker that is late: three times it can.
    let mut worst = Vec::new();
    while worst.len() < 3 && worst.last().is_none_or(|worst| *worst > LATE) {
        worst.extend(five_hundred(&mut rig).await.pop());
    }
    assert!(
        worst.last().is_some_and(|worst| *worst <= LATE),
        "late each time: {worst:?}"
    );
    rig.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_delay_published_first_does_not_hold_up_a_short_one() {
    let mut rig = Rig::new(&shared(), "no-wait").await;
    rig.consume();
    rig.delay(Lane::Normal, Duration::from_secs(3600), "long")
        .await
        .unwrap();
    rig.delay(Lane::Normal, Duration::from_secs(8), "middle").await.unwrap();
    rig.delay(Lane::Normal, Duration::from_millis(500), "short")
        .await
        .unwrap();
    for wanted in ["short", "middle"] {
        let delivery = rig.next(Lane::Normal).await;
        assert_eq!(id(&delivery), wanted);
        delivery.settle(Settlement::Ack);
    }
    rig.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_lane_jams_nothing_and_loses_nothing() {
    let rig = Rig::publishing(&shared(), "jam").await;
    for n in 0..200 {
        rig.delay(Lane::Bulk, Duration::from_secs(8), &format!("bulk-{n}"))
            .await
            .unwrap();
    }
    for n in 0..20 {
        rig.delay(Lane::Normal, Duration::from_secs(8), &format!("normal-{n}"))
            .await
            .unwrap();
    }
    let bulk = rig.names.lane(Lane::Bulk);
    let channel = rig.hand.channel();
    channel
        .queue_delete(bulk.as_str().into(), lapin::options::QueueDeleteOptions::default())
        .await
        .unwrap();
    rig.hand.wait_count(&rig.names.lane(Lane::Normal), 20).await;
    // What was for the deleted lane is kept, where it can be seen. (Nothing was due before the deletion.)
    rig.hand.wait_count(&rig.names.dead(), 200).await;
    rig.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_level_loses_nothing_and_shows() {
    let rig = Rig::publishing(&shared(), "level").await;
    let channel = rig.hand.channel();
    let level = Leg::new(Duration::from_secs(1)).level();
    let queue = rig.names.delay(level);
    channel
        .queue_delete(queue.as_str().into(), lapin::options::QueueDeleteOptions::default())
        .await
        .unwrap();
    // Confirmed: the alternate exchange takes it.
    rig.delay(Lane::Normal, Duration::from_secs(1), "gone").await.unwrap();
    rig.hand.wait_count(&rig.names.dead(), 1).await;
    // So does the dead-lettering of a level above it (1.25 s is level 2 and level 0; 2.5 s is levels 3 and 1).
    let upper = Duration::from_millis(3000);
    assert_eq!(Leg::new(upper).duration(), upper);
    rig.delay(Lane::Normal, upper, "falls").await.unwrap();
    rig.hand.wait_count(&rig.names.dead(), 2).await;
    rig.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x_death_never_grows_however_often_a_job_is_delayed() {
    let mut rig = Rig::new(&shared(), "x-death").await;
    rig.consume();
    rig.delay(Lane::Normal, Duration::from_millis(750), "again")
        .await
        .unwrap();
    let mut sizes = Vec::new();
    for _ in 0..8 {
        let delivery = rig.next(Lane::Normal).await;
        let deaths = match delivery.message.properties.headers.get("x-death") {
            Some(flowlaunch::broker::Value::List(deaths)) => deaths.len(),
            other => panic!("no x-death: {other:?}"),
        };
        sizes.push(deaths);
        // As the worker does: what a copy carries is a closed list.
        let headers = flowlaunch::broker::Headers(delivery.message.properties.headers.carried().into_owned());
        let properties = Properties {
            headers,
            ..delivery.message.properties.clone()
        };
        let copy = Message {
            body: delivery.message.body.clone(),
            properties,
        };
        let to = Destination::Delay(Lane::Normal, Duration::from_millis(750));
        rig.broker.publisher().publish(to, copy, LONG).await.unwrap();
        delivery.settle(Settlement::Ack);
    }
    assert!(
        sizes.iter().all(|size| *size == 2),
        "two hops are two entries, for ever: {sizes:?}"
    );
    rig.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_due_at_once_pass() {
    let _busy = IDLE.lock().await;
    let rig = Rig::new(&shared(), "flood").await;
    let publisher = rig.broker.publisher();
    let began = Instant::now();
    let batch = 500;
    for n in 0..20_000 / batch {
        let sent = (0..batch).map(|m| {
            // All due at the same moment, 10 s after the first.
            let left = Duration::from_secs(10).saturating_sub(began.elapsed());
            let message = Message {
                body: format!("{n}-{m}").into(),
                properties: Properties::default(),
            };
            publisher.publish(Destination::Delay(Lane::Bulk, left), message, LONG)
        });
        for sent in futures_util::future::join_all(sent).await {
            sent.unwrap();
        }
    }
    let bulk = rig.names.lane(Lane::Bulk);
    let all = eventually(
        "20,000 messages in the lane",
        Duration::from_secs(120),
        async || match rig.hand.count(&bulk).await {
            Some(20_000) => Ok(began.elapsed()),
            other => Err(other),
        },
    )
    .await;
    println!("20,000 due at once: all there after {all:?}");
    assert_eq!(rig.hand.count(&rig.names.dead()).await, Some(0));
    // One that moves is in two queues for a moment.
    eventually("an empty ladder, but for a canary", LONG, async || {
        let mut left = 0;
        for level in 0..LEVELS {
            left += rig.hand.count(&rig.names.delay(level)).await.unwrap();
        }
        if left <= 1 { Ok(()) } else { Err(left) }
    })
    .await;
    rig.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ladder_that_stands_still_is_told_and_a_restart_of_the_broker_mends_it() {
    let mut rabbit = Rabbit::start().await;
    let node = rabbit.node().clone();
    let prefix = Prefix::new(&node, "still");
    let names = Names::new(prefix.name());
    apply_topology(&node, prefix.name());
    let hand = Hand::connect(node.url()).await;
    // A destination that takes nothing holds up the queue before it for all destinations.
    let full = format!("{prefix}.full");
    hand.declare_full(&full).await;
    hand.bind(&full, &names.due(), "#.full").await;
    let shortest = Leg::new(Duration::from_millis(1));
    let stuck = (0..200).map(|_| b"stuck".to_vec());
    hand.publish_all(&names.delay(shortest.level()), &shortest.routing_key("full"), stuck)
        .await;
    // Jobs and the API play no part in this.
    let nobody = "http://127.0.0.1:9";
    let mut worker = Worker::builder(node.url(), prefix.name(), nobody, nobody).spawn();

    eventually("the worker to tell", LONG, async || {
        match told(&worker, "WARN", "stands still") {
            Some(line) => Ok(line),
            None => Err(worker.readyz().await),
        }
    })
    .await;
    let metrics = worker.metrics().await;
    assert!(metrics.get("flowlaunch_delay_lag_seconds", &[]) > 60.0);
    hand.channel()
        .queue_delete(full.as_str().into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    rabbit.restart().await;
    eventually("the worker to tell that it is over", LONG, async || {
        told(&worker, "INFO", "works again").ok_or(())
    })
    .await;
    let metrics = worker.metrics().await;
    assert!(metrics.get("flowlaunch_delay_lag_seconds", &[]) < 60.0);
    worker.kill();
}

fn told(worker: &Worker, level: &str, what: &str) -> Option<serde_json::Value> {
    let told =
        |line: &serde_json::Value| line["level"] == level && line["message"].as_str().is_some_and(|m| m.contains(what));
    worker.log_lines().into_iter().find(told)
}
