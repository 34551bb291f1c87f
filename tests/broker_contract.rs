//! What every broker promises, shown of both: the embedded one, and RabbitMQ.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what it did not expect, and prints its figures"
)]

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::wait::{LONG, eventually};
use common::{Amqp, Prefix, Rabbit, shared};
use flowlaunch::broker::client::{Broker, Client};
use flowlaunch::broker::settings::{Declare, Settings};
use flowlaunch::broker::{
    Appetite, Delivery, Destination, FollowedResult, Headers, Intake, Lane, Link, Message, Properties, Settlement,
    Source, Value,
};
use futures_util::future::join_all;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Each promise is a test of each broker.
macro_rules! contract {
    ($($promise:ident,)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $promise() {
                super::$promise(super::Stage::embedded()).await;
            })*
        }

        mod rabbitmq {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $promise() {
                super::$promise(super::Stage::rabbitmq()).await;
            })*
        }
    };
}

contract! {
    what_is_confirmed_is_delivered_in_its_lane_byte_for_byte,
    nothing_comes_without_appetite_and_no_more_than_the_prefetch,
    a_delay_is_never_early_and_none_waits_behind_a_longer_one,
    what_is_delayed_comes_as_it_was_and_in_its_lane,
    what_is_followed_comes_by_itself_and_stops_for_no_lane,
    what_is_returned_comes_again_and_says_so,
    what_comes_back_too_often_is_dead,
    what_was_in_hand_comes_back_when_the_consumer_is_gone,
    what_was_acknowledged_never_comes_again,
    two_consumers_share_and_neither_gets_what_the_other_has,
    a_dead_letter_keeps_its_headers_and_browsing_does_it_no_harm,
    results_are_kept_in_order_and_read_on_from_a_number,
    results_are_followed_from_a_number_without_a_gap_or_a_repeat,
    a_log_that_was_made_anew_is_followed_from_its_first,
    what_waits_is_counted,
    one_who_only_publishes_sees_what_waits_when_it_asks,
}

/// A broker of a test's own; it goes with it.
struct Stage {
    broker: Broker,
    _place: (Option<TempDir>, Option<Prefix>),
}

impl Stage {
    fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("jobs.db").display());
        Self {
            broker: broker(&url, "flowlaunch"),
            _place: (Some(dir), None),
        }
    }

    fn rabbitmq() -> Self {
        let node = shared();
        let prefix = Prefix::new(&node, "contract");
        Self {
            broker: broker(node.url(), prefix.name()),
            _place: (None, Some(prefix)),
        }
    }

    async fn client(&self) -> Hands {
        self.broker.first_contact().await.unwrap();
        let (client, intake) = self.broker.start().unwrap();
        up(&client).await;
        Hands { client, intake }
    }

    async fn publisher(&self) -> Client {
        self.broker.first_contact().await.unwrap();
        let client = self.broker.publisher_only().unwrap();
        up(&client).await;
        client
    }
}

async fn up(client: &Client) {
    let observed = client.observed();
    for mut link in [observed.consuming, observed.publishing] {
        let up = link.wait_for(Link::is_up);
        tokio::time::timeout(LONG, up).await.unwrap().unwrap();
    }
}

fn broker(url: &str, prefix: &str) -> Broker {
    let settings = Settings {
        url: url.into(),
        prefix: prefix.to_owned(),
        declare: Declare::Create,
        ca_file: None,
        client_cert_file: None,
        client_key_file: None,
    };
    Broker::new(&settings, Duration::from_secs(3600)).unwrap()
}

/// A client, and what it brings.
struct Hands {
    client: Client,
    intake: Intake,
}

impl Hands {
    fn eat(&self, prefetch: u16) {
        self.intake.appetite.send_replace(Appetite::all(prefetch));
    }

    async fn publish(&self, to: Destination, message: Message) {
        self.client.publisher().publish(to, message, LONG).await.unwrap();
    }

    async fn next(&mut self, lane: Lane) -> Delivery {
        self.next_of(Source::Lane(lane)).await
    }

    async fn next_of(&mut self, source: Source) -> Delivery {
        let inbox = match source {
            Source::Lane(lane) => &mut self.intake.lanes[usize::from(lane == Lane::Bulk)],
            Source::Track => &mut self.intake.track,
        };
        let next = tokio::time::timeout(LONG, inbox.recv()).await;
        next.expect("a delivery").unwrap()
    }

    /// Nothing comes for a while.
    async fn assert_quiet(&mut self) {
        let [normal, bulk] = &mut self.intake.lanes;
        tokio::select! {
            delivery = normal.recv() => panic!("{delivery:?}"),
            delivery = bulk.recv() => panic!("{delivery:?}"),
            delivery = self.intake.track.recv() => panic!("{delivery:?}"),
            () = tokio::time::sleep(Duration::from_millis(700)) => {}
        }
    }
}

fn message(id: &str) -> Message {
    Message {
        body: Bytes::from(format!("the body of {id}")),
        properties: Properties {
            message_id: Some(id.to_owned()),
            ..Properties::default()
        },
    }
}

fn id(delivery: &Delivery) -> String {
    delivery.message.properties.message_id.clone().unwrap()
}

/// Everything that a result can bear: RabbitMQ's streams drop headers that are lists or tables.
fn flat() -> Message {
    let mut message = laden();
    let simple = |value: &Value| !matches!(value, Value::List(_) | Value::Table(_));
    message.properties.headers.0.retain(|(_, value)| simple(value));
    message
}

/// Everything that a message can bear.
fn laden() -> Message {
    Message {
        body: Bytes::from((0..=255).collect::<Vec<u8>>()),
        properties: Properties {
            message_id: Some("laden".into()),
            correlation_id: Some("c".into()),
            reply_to: Some("r".into()),
            priority: Some(3),
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            timestamp: Some(1_700_000_000),
            kind: Some("t".into()),
            app_id: Some("a".into()),
            headers: Headers(vec![
                ("a-bool".into(), Value::Bool(true)),
                ("bytes".into(), Value::Text(Bytes::from_static(&[0xff, 0]))),
                ("float".into(), Value::Float(1.5)),
                ("int".into(), Value::Int(i64::MIN)),
                ("list".into(), Value::List(vec!["é".into(), Value::Void, Value::Int(7)])),
                ("table".into(), Value::Table(vec![("n".into(), Value::Int(1))])),
                ("time".into(), Value::Timestamp(7)),
                ("x-flowlaunch-attempts".into(), Value::Int(2)),
            ]),
        },
    }
}

async fn what_is_confirmed_is_delivered_in_its_lane_byte_for_byte(stage: Stage) {
    let mut hands = stage.client().await;
    hands.eat(10);
    for lane in Lane::ALL {
        hands.publish(Destination::Lane(lane), laden()).await;
        let delivery = hands.next(lane).await;
        assert_eq!(delivery.message, laden());
        assert_eq!((delivery.redelivered, delivery.delivery_count), (false, 0));
        assert!(delivery.is_alive());
        delivery.settle(Settlement::Ack);
    }
    hands.client.stop().await;
}

async fn nothing_comes_without_appetite_and_no_more_than_the_prefetch(stage: Stage) {
    let mut hands = stage.client().await;
    for n in 0..20 {
        hands
            .publish(Destination::Lane(Lane::Bulk), message(&n.to_string()))
            .await;
    }
    hands.assert_quiet().await;
    hands.eat(5);
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(hands.next(Lane::Bulk).await);
    }
    hands.assert_quiet().await;
    // Room for two more, and no others.
    for _ in 0..2 {
        held.pop().unwrap().settle(Settlement::Ack);
    }
    for _ in 0..2 {
        held.push(hands.next(Lane::Bulk).await);
    }
    hands.assert_quiet().await;
    // From when it says so, nothing comes, and what is in hand can still be settled.
    hands.intake.appetite.send_replace(Appetite::Nothing);
    let mut taking = hands.intake.taking.clone();
    let nothing = taking.wait_for(|taking| *taking == Appetite::Nothing);
    tokio::time::timeout(LONG, nothing).await.unwrap().unwrap();
    held.into_iter().for_each(|delivery| delivery.settle(Settlement::Ack));
    hands.assert_quiet().await;
    hands.client.stop().await;
}

async fn a_delay_is_never_early_and_none_waits_behind_a_longer_one(stage: Stage) {
    let mut hands = stage.client().await;
    hands.eat(100);
    let mut published = Vec::new();
    for millis in [6000, 250, 3000, 1, 1200, 2400, 40, 700] {
        let delay = Duration::from_millis(millis);
        published.push((delay, Instant::now()));
        let id = (published.len() - 1).to_string();
        hands
            .publish(Destination::Delay(Lane::Normal, delay), message(&id))
            .await;
    }
    let mut came = Vec::new();
    for _ in 0..published.len() {
        let delivery = hands.next(Lane::Normal).await;
        let (delay, since) = published[id(&delivery).parse::<usize>().unwrap()];
        let took = since.elapsed();
        assert!(took >= delay, "{delay:?} came after {took:?}");
        assert!(!delivery.redelivered);
        came.push((delay, took - delay));
        delivery.settle(Settlement::Ack);
    }
    println!("delays, and how late each was: {came:?}");
    assert_eq!(came.last().unwrap().0, Duration::from_secs(6), "the longest came last");
    hands.client.stop().await;
}

async fn what_is_returned_comes_again_and_says_so(stage: Stage) {
    let mut hands = stage.client().await;
    hands.eat(10);
    hands.publish(Destination::Lane(Lane::Normal), message("again")).await;
    for count in 0..3 {
        let delivery = hands.next(Lane::Normal).await;
        assert_eq!((delivery.redelivered, delivery.delivery_count), (count > 0, count));
        assert_eq!(delivery.message.body, message("again").body);
        if count == 1 {
            // Dropped, it goes back as well.
            drop(delivery);
        } else {
            delivery.settle(Settlement::Return);
        }
    }
    hands.next(Lane::Normal).await.settle(Settlement::Ack);
    hands.assert_quiet().await;
    hands.client.stop().await;
}

async fn what_is_delayed_comes_as_it_was_and_in_its_lane(stage: Stage) {
    let mut hands = stage.client().await;
    hands.eat(10);
    for lane in Lane::ALL {
        hands
            .publish(Destination::Delay(lane, Duration::from_millis(300)), laden())
            .await;
        let mut delivery = hands.next(lane).await;
        // What the broker writes on the way is its own, and no copy of ours carries it further.
        let headers = &mut delivery.message.properties.headers.0;
        headers.retain(|(name, _)| laden().properties.headers.get(name).is_some());
        assert_eq!(delivery.message, laden());
        delivery.settle(Settlement::Ack);
    }
    hands.client.stop().await;
}

async fn what_is_followed_comes_by_itself_and_stops_for_no_lane(stage: Stage) {
    let mut hands = stage.client().await;
    for n in 0..20 {
        let to = Destination::Lane(Lane::ALL[n % 2]);
        hands.publish(to, message(&n.to_string())).await;
    }
    let since = Instant::now();
    let delay = Duration::from_millis(600);
    for _ in 0..3 {
        hands.publish(Destination::Track(delay), laden()).await;
    }
    // Both lanes are paused, and none of them is taken meanwhile.
    hands.intake.appetite.send_replace(Appetite::Prefetch([0, 0, 2]));
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut delivery = hands.next_of(Source::Track).await;
        assert!(since.elapsed() >= delay);
        assert_eq!((delivery.redelivered, delivery.delivery_count), (false, 0));
        let headers = &mut delivery.message.properties.headers.0;
        headers.retain(|(name, _)| laden().properties.headers.get(name).is_some());
        assert_eq!(delivery.message, laden());
        held.push(delivery);
    }
    // No more than its own prefetch, whatever that of the lanes is.
    hands.intake.appetite.send_replace(Appetite::Prefetch([10, 10, 2]));
    for lane in Lane::ALL {
        for _ in 0..10 {
            hands.next(lane).await.settle(Settlement::Ack);
        }
    }
    hands.assert_quiet().await;
    held.pop().unwrap().settle(Settlement::Ack);
    held.push(hands.next_of(Source::Track).await);
    // What comes back too often is a dead letter, and what was in hand comes back.
    held.pop().unwrap().settle(Settlement::Ack);
    for count in 0..=20 {
        let delivery = match held.pop() {
            Some(delivery) => delivery,
            None => hands.next_of(Source::Track).await,
        };
        assert_eq!(delivery.delivery_count, count);
        delivery.settle(Settlement::Return);
    }
    eventually("a dead letter", LONG, async || {
        match stage.broker.browser().dead(10).await.unwrap().len() {
            1 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    hands.client.stop().await;
}

async fn what_comes_back_too_often_is_dead(stage: Stage) {
    let mut hands = stage.client().await;
    hands.eat(10);
    hands.publish(Destination::Lane(Lane::Bulk), message("poison")).await;
    for count in 0..=20 {
        let delivery = hands.next(Lane::Bulk).await;
        assert_eq!(delivery.delivery_count, count);
        delivery.settle(Settlement::Return);
    }
    let letter = eventually("a dead letter", LONG, async || {
        stage.broker.browser().dead(10).await.unwrap().pop().ok_or(())
    })
    .await;
    assert_eq!(letter.body, message("poison").body);
    assert_eq!(letter.properties.headers.ours("reason"), None, "the broker made it");
    let reason = letter.properties.headers.get("x-first-death-reason");
    assert_eq!(reason.and_then(Value::as_text), Some("delivery_limit"));
    hands.assert_quiet().await;
    hands.client.stop().await;
}

async fn what_was_in_hand_comes_back_when_the_consumer_is_gone(stage: Stage) {
    let mut first = stage.client().await;
    first.eat(10);
    for n in 0..10 {
        first
            .publish(Destination::Lane(Lane::Bulk), message(&n.to_string()))
            .await;
    }
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(first.next(Lane::Bulk).await);
    }
    held.split_off(7)
        .into_iter()
        .for_each(|delivery| delivery.settle(Settlement::Ack));
    first.client.stop().await;
    // Nothing may be launched for these any more.
    assert!(held.iter().all(|delivery| !delivery.is_alive()));
    let mut second = stage.client().await;
    second.eat(100);
    let mut again = BTreeSet::new();
    for _ in 0..7 {
        let delivery = second.next(Lane::Bulk).await;
        assert!(delivery.redelivered);
        again.insert(id(&delivery));
        delivery.settle(Settlement::Ack);
    }
    assert_eq!(again, held.iter().map(id).collect());
    // What the first one says now comes too late, and changes nothing.
    held.into_iter()
        .for_each(|delivery| delivery.settle(Settlement::Return));
    second.assert_quiet().await;
    second.client.stop().await;
}

async fn what_was_acknowledged_never_comes_again(stage: Stage) {
    let mut hands = stage.client().await;
    hands.eat(300);
    for n in 0..300 {
        hands
            .publish(Destination::Lane(Lane::Normal), message(&n.to_string()))
            .await;
    }
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(hands.next(Lane::Normal).await);
    }
    // In any order.
    let (even, odd): (Vec<_>, Vec<_>) = held.into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
    for (_, delivery) in odd.into_iter().chain(even.into_iter().rev()) {
        delivery.settle(Settlement::Ack);
    }
    // An orderly end writes them all.
    hands.client.stop().await;
    let mut hands = stage.client().await;
    hands.eat(300);
    hands.assert_quiet().await;
    hands.client.stop().await;
}

async fn two_consumers_share_and_neither_gets_what_the_other_has(stage: Stage) {
    let (mut one, mut two) = (stage.client().await, stage.client().await);
    for n in 0..200 {
        one.publish(Destination::Lane(Lane::Bulk), message(&n.to_string()))
            .await;
    }
    for hands in [&one, &two] {
        hands.eat(20);
    }
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(one.next(Lane::Bulk).await);
        held.push(two.next(Lane::Bulk).await);
    }
    let mut seen = Vec::new();
    let mut done = |delivery: Delivery| {
        assert!(!delivery.redelivered);
        seen.push(id(&delivery));
        delivery.settle(Settlement::Ack);
        seen.len()
    };
    let mut count = held.into_iter().map(&mut done).max().unwrap();
    while count < 200 {
        count = done(tokio::select! {
            delivery = one.next(Lane::Bulk) => delivery,
            delivery = two.next(Lane::Bulk) => delivery,
        });
    }
    let different: BTreeSet<_> = seen.iter().collect();
    assert_eq!(different.len(), 200);
    one.assert_quiet().await;
    two.assert_quiet().await;
    one.client.stop().await;
    two.client.stop().await;
}

async fn a_dead_letter_keeps_its_headers_and_browsing_does_it_no_harm(stage: Stage) {
    let hands = stage.client().await;
    hands.publish(Destination::Dead, laden()).await;
    for n in 0..4 {
        hands.publish(Destination::Dead, message(&n.to_string())).await;
    }
    let browser = stage.broker.browser();
    for _ in 0..30 {
        let letters = browser.dead(3).await.unwrap();
        assert_eq!(letters.len(), 3);
        let first = letters
            .into_iter()
            .find(|letter| letter.properties.message_id.as_deref() == Some("laden"));
        let mut first = first.expect("the oldest come first");
        first
            .properties
            .headers
            .0
            .retain(|(name, _)| !name.starts_with("x-") || name.starts_with("x-flowlaunch-"));
        assert_eq!(first, laden());
    }
    eventually("all of them", LONG, async || {
        match browser.dead(100).await.unwrap().len() {
            5 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    hands.client.stop().await;
}

async fn results_are_kept_in_order_and_read_on_from_a_number(stage: Stage) {
    let hands = stage.client().await;
    let browser = stage.broker.browser();
    assert_eq!(browser.results(0, 10, Duration::ZERO).await.unwrap(), []);
    for n in 0..30 {
        hands
            .publish(Destination::Results("launched.-".into()), message(&n.to_string()))
            .await;
    }
    let read = browser.results(0, 10, LONG).await.unwrap();
    let ids: Vec<_> = read
        .iter()
        .map(|(_, result)| result.properties.message_id.clone().unwrap())
        .collect();
    assert_eq!(ids, (0..10).map(|n: usize| n.to_string()).collect::<Vec<_>>());
    assert!(read.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let last = read.last().unwrap().0;
    let rest = browser.results(last, 100, LONG).await.unwrap();
    assert_eq!(rest.len(), 20);
    assert_eq!(rest[0].1.body, message("10").body);
    // One who waits at the end gets what comes.
    let end = rest.last().unwrap().0;
    let waiting = browser.results(end, 100, LONG);
    let telling = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        hands.publish(Destination::Results("dead.spring".into()), flat()).await;
    };
    let (late, ()) = tokio::join!(waiting, telling);
    let late: Vec<_> = late.unwrap().into_iter().map(|(_, result)| result).collect();
    assert_eq!(late, [flat()]);
    hands.client.stop().await;
}

/// Follows the results' log, and sees that every number comes, once and in its turn.
struct Reader {
    followed: mpsc::Receiver<FollowedResult>,
    last: u64,
}

impl Reader {
    fn new(client: &Client, after: u64) -> Self {
        Self {
            followed: client.follow_results(after, None),
            last: after,
        }
    }

    async fn next(&mut self) -> String {
        loop {
            let next = tokio::time::timeout(LONG, self.followed.recv()).await;
            match next.expect("a result").expect("it follows on") {
                FollowedResult::Began => {}
                FollowedResult::Lost(why) => println!("lost: {why}"),
                FollowedResult::Result(number, message) => {
                    assert_eq!(number, self.last + 1);
                    self.last = number;
                    return message.properties.message_id.unwrap();
                }
            }
        }
    }

    async fn many(&mut self, count: usize) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        for _ in 0..count {
            ids.insert(self.next().await);
        }
        ids
    }
}

fn ids(numbers: std::ops::Range<usize>) -> BTreeSet<String> {
    numbers.map(|n| n.to_string()).collect()
}

/// Tells results, many at once; those of which no confirm came.
async fn tell(client: &Client, ids: BTreeSet<String>) -> BTreeSet<String> {
    let publisher = client.publisher();
    let tell = async |id: String| {
        let to = Destination::Results("launched.-".into());
        let told = publisher.publish(to, message(&id), LONG).await;
        told.is_err().then_some(id)
    };
    join_all(ids.into_iter().map(tell))
        .await
        .into_iter()
        .flatten()
        .collect()
}

async fn results_are_followed_from_a_number_without_a_gap_or_a_repeat(stage: Stage) {
    let client = stage.publisher().await;
    let mut reader = Reader::new(&client, 0);
    assert!(tell(&client, ids(0..300)).await.is_empty());
    assert_eq!(reader.many(300).await, ids(0..300));
    // Nobody reads while far more comes than is sent ahead or waits.
    assert!(tell(&client, ids(300..5000)).await.is_empty());
    let begun = Instant::now();
    assert_eq!(reader.many(4700).await, ids(300..5000));
    println!("4,700 results in {:?}", begun.elapsed());
    drop(reader);
    // Another goes on from a number, in the middle of what was told at once.
    let mut second = Reader::new(&client, 4321);
    second.many(679).await;
    let end = second.last;
    let mut third = Reader::new(&client, end);
    assert!(tell(&client, ids(5000..5010)).await.is_empty());
    assert_eq!(third.many(10).await, ids(5000..5010));
    assert_eq!(second.many(10).await, ids(5000..5010));
    client.stop().await;
}

async fn a_log_that_was_made_anew_is_followed_from_its_first(stage: Stage) {
    let client = stage.publisher().await;
    // Somebody has read a million results of another log.
    let mut early = Reader::new(&client, 1_000_000);
    assert_eq!(early.followed.recv().await, Some(FollowedResult::Began));
    early.last = 0;
    assert!(tell(&client, ids(0..3)).await.is_empty());
    assert_eq!(early.many(3).await, ids(0..3));
    let mut late = Reader::new(&client, 4);
    late.last = 0;
    assert_eq!(late.many(3).await, ids(0..3));
    for reader in [&mut early, &mut late] {
        assert!(tell(&client, ids(3..4)).await.is_empty());
        reader.many(1).await;
    }
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_followed_across_a_restart_of_rabbitmq_without_a_gap_or_a_repeat() {
    let mut node = Rabbit::start().await;
    let stage = Stage {
        broker: broker(node.url(), "flowlaunch"),
        _place: (None, None),
    };
    let client = stage.publisher().await;
    let mut reader = Reader::new(&client, 0);
    assert!(tell(&client, ids(0..500)).await.is_empty());
    assert_eq!(reader.many(200).await.len(), 200);
    node.restart().await;
    // One that was not confirmed is told again, and may be there twice.
    let mut left = ids(500..1000);
    let mut told = 0;
    while !left.is_empty() {
        up(&client).await;
        told += left.len();
        left = tell(&client, left).await;
        assert!(told < 100_000, "it does not come back");
    }
    let mut seen = BTreeSet::new();
    while !ids(500..1000).is_subset(&seen) {
        seen.insert(reader.next().await);
    }
    assert!(reader.last >= 1000);
    client.stop().await;
}

/// More headers than any result of ours has hinder nobody; those that a result of ours can have are read.
#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_result_that_cannot_be_read_off_the_wire_is_left_out() {
    let node = shared();
    let prefix = Prefix::new(&node, "contract");
    let stage = Stage {
        broker: broker(node.url(), prefix.name()),
        _place: (None, None),
    };
    let client = stage.publisher().await;
    let mut reader = Reader::new(&client, 0);
    let amqp = Amqp::connect(node.url()).await;
    let exchange = format!("{prefix}.results.in");
    for (round, size) in [(0, 100_000), (1, 34_000), (2, 100_000)] {
        assert!(tell(&client, ids(round * 10..round * 10 + 10)).await.is_empty());
        let mut headers = FieldTable::default();
        headers.insert("h".into(), AMQPValue::LongString("x".repeat(size).into()));
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_message_id("other".into());
        amqp.publish(&exchange, "launched.-", b"{}", properties).await;
    }
    assert!(tell(&client, ids(30..40)).await.is_empty());
    assert_eq!(reader.many(10).await, ids(0..10));
    reader.last += 1;
    let mut second = ids(10..20);
    second.insert("other".to_owned());
    assert_eq!(reader.many(11).await, second);
    assert_eq!(reader.many(10).await, ids(20..30));
    reader.last += 1;
    assert_eq!(reader.many(10).await, ids(30..40));
    client.stop().await;
}

async fn one_who_only_publishes_sees_what_waits_when_it_asks(stage: Stage) {
    let client = stage.publisher().await;
    for n in 0..3 {
        let (to, message) = (Destination::Lane(Lane::Bulk), message(&n.to_string()));
        client.publisher().publish(to, message, LONG).await.unwrap();
    }
    let queues = client.observed().queues;
    assert_eq!(queues.borrow().messages, [], "nobody asked");
    client.watch_queues();
    let see = async |wanted: [Option<u32>; 2], jobs: u32| {
        eventually("the lanes as they are", LONG, async || {
            let seen = queues.borrow().clone();
            if seen.consumers == wanted && seen.messages.contains(&("bulk", Some(jobs))) {
                Ok(seen)
            } else {
                Err(seen)
            }
        })
        .await
    };
    let alone = see([Some(0); 2], 3).await;
    assert!(alone.messages.contains(&("normal", Some(0))));
    assert!(alone.messages.contains(&("delayed", Some(0))), "no canary");
    assert_eq!(alone.other_consumers, 0);
    let other = stage.client().await;
    other.eat(2);
    let together = see([Some(1); 2], 1).await;
    assert_eq!(together.other_consumers, 1);
    other.client.stop().await;
    see([Some(0); 2], 3).await;
    client.stop().await;
}

async fn what_waits_is_counted(stage: Stage) {
    let hands = stage.client().await;
    for (count, to) in [
        (3, Destination::Lane(Lane::Normal)),
        (5, Destination::Lane(Lane::Bulk)),
        (2, Destination::Delay(Lane::Bulk, Duration::from_secs(3600))),
        (1, Destination::Dead),
        (2, Destination::Track(Duration::ZERO)),
    ] {
        for n in 0..count {
            hands.publish(to.clone(), message(&n.to_string())).await;
        }
    }
    let queues = hands.client.observed().queues;
    let wanted = [
        ("bulk", Some(5)),
        ("dead", Some(1)),
        ("delayed", Some(2)),
        ("normal", Some(3)),
        ("track", Some(2)),
    ];
    eventually("the counts", LONG, async || {
        let mut seen = queues.borrow().messages.clone();
        seen.sort_unstable();
        // A canary may be on its way through RabbitMQ's ladder.
        let canary = [
            ("bulk", Some(5)),
            ("dead", Some(1)),
            ("delayed", Some(3)),
            ("normal", Some(3)),
            ("track", Some(2)),
        ];
        if seen == wanted || seen == canary {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;
    let other = stage.client().await;
    for client in [&hands, &other] {
        client.eat(1);
    }
    eventually("the other one to be seen", LONG, async || {
        match queues.borrow().other_consumers {
            1 => Ok(()),
            seen => Err(seen),
        }
    })
    .await;
    other.client.stop().await;
    hands.client.stop().await;
}
