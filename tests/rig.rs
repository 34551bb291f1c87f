//! The rig itself: a node starts, keeps what it confirmed through a kill, and leaves nothing behind.

mod common;

use std::time::Duration;

use common::wait::until;
use common::worker::Metrics;
use common::{Amqp, Kind, Prefix, Published, Rabbit, python, shared};
use lapin::BasicProperties;
use serde_json::json;

#[tokio::test]
async fn a_node_keeps_what_it_confirmed_through_a_kill_and_a_restart() {
    let mut rabbit = Rabbit::start().await;
    let amqp = Amqp::connect(rabbit.url()).await;
    amqp.declare("kept", "quorum").await;
    for n in 0..20 {
        let body = format!("message {n}");
        assert_eq!(
            amqp.publish("", "kept", body.as_bytes(), BasicProperties::default())
                .await,
            Published::Confirmed
        );
    }
    assert_eq!(
        amqp.publish("", "nowhere", b"", BasicProperties::default()).await,
        Published::Returned
    );
    // Younger than this, the queue of a killed 3.10 node comes back leaderless.
    tokio::time::sleep(Duration::from_secs(6)).await;

    rabbit.kill();
    assert!(Amqp::try_connect(rabbit.url()).await.is_err(), "a killed node answers");
    rabbit.start_again().await;
    let amqp = Amqp::connect(rabbit.url()).await;
    amqp.wait_count("kept", 20).await;

    rabbit.restart().await;
    let amqp = Amqp::connect(rabbit.url()).await;
    amqp.wait_count("kept", 20).await;
    let kept = amqp.drain("kept").await;
    assert_eq!(kept.first().unwrap().body, b"message 0");
    assert_eq!((kept.len(), amqp.count("kept").await), (20, Some(0)));
}

#[tokio::test]
async fn a_node_is_of_the_version_under_test_and_goes_with_the_test() {
    let rabbit = Rabbit::start_with(Kind::under_test(), "frame_max = 1048576").await;
    let version = rabbit.ctl(&["-q", "eval", "rabbit_misc:version()."]);
    if Kind::under_test() == Kind::Four {
        assert!(version.contains("4.0"), "{version}");
    }
    let pid = rabbit
        .ctl(&["-q", "eval", "list_to_integer(os:getpid())."])
        .trim()
        .to_owned();
    // One that has ended and was not yet waited for has no command line any more.
    let alive = || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
    assert!(Kind::under_test() == Kind::Docker || alive());
    drop(rabbit);
    until("its process to be gone", common::SOON, async || !alive()).await;
}

#[tokio::test]
async fn a_prefix_on_the_shared_node_is_cleared_away() {
    let node = shared();
    let amqp = Amqp::connect(node.url()).await;
    let prefix = Prefix::new(&node, "rig");
    let (lane, log) = (format!("{prefix}.jobs.normal"), format!("{prefix}.results.log"));
    amqp.declare(&lane, "quorum").await;
    amqp.declare(&log, "stream").await;

    amqp.publish_all("", &lane, (0..5).map(|n| format!("{n}").into_bytes()))
        .await;
    amqp.publish_all("", &log, (0..700).map(|n| format!("{{\"n\": {n}}}").into_bytes()))
        .await;
    assert_eq!(amqp.browse(&lane).await.len(), 5);
    amqp.wait_count(&lane, 5).await;
    let results = amqp.results(prefix.name(), 700, common::SOON).await;
    assert_eq!((results.len(), &results[699]["n"]), (700, &json!(699)));

    drop(prefix);
    assert_eq!((amqp.count(&lane).await, amqp.count(&log).await), (None, None));
}

/// What our own client could not even send: it has to come from elsewhere, and to be seen again as it was.
#[tokio::test]
async fn a_stranger_publishes_what_is_hostile_and_reads_it_back() {
    let rabbit = Rabbit::start_with(Kind::under_test(), "frame_max = 1048576").await;
    let amqp = Amqp::connect(rabbit.url()).await;
    amqp.declare("hostile", "quorum").await;
    let no_text = json!({"$b64": "/wD+"});
    let message = |properties, headers| json!({"exchange": "", "lane": "hostile", "body": "x", "properties": properties, "headers": headers});
    let messages = [
        message(json!({"message_id": no_text}), json!({})),
        message(json!({}), json!({"$items": [[no_text, "value"]]})),
        message(json!({"user_id": "somebody"}), json!({})),
        message(
            json!({"user_id": "guest", "expiration": "600000"}),
            json!({"CC": ["nowhere"]}),
        ),
        message(json!({}), json!({"long": "v".repeat(200_000)})),
        json!({"exchange": "", "lane": "nowhere", "body": "x"}),
        json!({"exchange": "", "lane": "hostile", "body": "b".repeat(600_000)}),
        json!({"exchange": "", "lane": "hostile", "body_b64": "/wD+"}),
    ];
    let ends = python::publish_mixed(rabbit.url(), "t", &messages, &[]).await;
    assert_eq!(
        (&ends["confirmed"], &ends["returned"], &ends["nacked"]),
        (&json!(6), &json!([6]), &json!([])),
        "{ends}"
    );
    assert_eq!(
        (&ends["refused"][0]["line"], &ends["refused"][0]["code"]),
        (&json!(3), &json!(406)),
        "{ends}"
    );

    let lay = python::drain(rabbit.url(), "hostile").await;
    assert_eq!(lay[0]["properties"]["message_id"], no_text);
    assert_eq!(
        lay[1]["headers"]["$items"].as_array().unwrap().last().unwrap(),
        &json!([no_text, "value"])
    );
    assert_eq!(lay[2]["properties"]["expiration"], json!("600000"));
    assert_eq!(lay[3]["headers"]["long"].as_str().unwrap().len(), 200_000);
    assert_eq!(lay[4]["body"].as_str().unwrap().len(), 600_000);
    assert_eq!((&lay[5]["body"], lay.len()), (&no_text, 6));
}

#[test]
fn a_scrape_is_summed_over_the_labels_that_are_left_out() {
    let metrics = Metrics::parse(
        "# HELP a help text\n# TYPE a counter\na{lane=\"normal\",said=\"a \\\"b\\\", {c}\"} 2\na{lane=\"bulk\",said=\"\"} 3\nb 1.5e3\nc +Inf\n",
    );
    assert_eq!(
        (metrics.get("a", &[]), metrics.get("a", &[("lane", "normal")])),
        (5.0, 2.0)
    );
    assert_eq!(
        (metrics.get("a", &[("said", "a \"b\", {c}")]), metrics.get("b", &[])),
        (2.0, 1500.0)
    );
    assert_eq!(
        (
            metrics.get("a", &[("lane", "none")]),
            metrics.has("d"),
            metrics.has("c")
        ),
        (0.0, false, true)
    );
}
