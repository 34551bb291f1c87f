//! `flowlaunch check`: what is as it should be, what to fix, and what nobody can see without launching.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here and says why")]

mod common;

use common::worker::run;
use common::{Amqp, Prefix, Sim, Worker, shared};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The folder of a worker's configuration.
fn place(url: &str, prefix: &str, sim: &Sim, secret: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let builder = Worker::builder(url, prefix, &sim.base_url(), &sim.login_url()).client("demo", secret);
    std::fs::write(folder.path().join("flowlaunch.toml"), builder.toml()).unwrap();
    folder
}

/// Exit code and findings, as standings by what was looked at; and holds the text to 80 columns.
fn check(folder: &TempDir) -> (i32, Value, String) {
    let (code, text, _) = run(&["check"], folder.path(), "");
    for line in text.lines() {
        let long_word = line.split_whitespace().any(|word| word.chars().count() > 55);
        assert!(line.chars().count() <= 80 || long_word, "{text}");
    }
    let (same, out, _) = run(&["check", "--json"], folder.path(), "");
    assert_eq!(code, same, "{text}{out}");
    let mut standings = serde_json::Map::new();
    let findings: Vec<Value> = serde_json::from_str(&out).unwrap();
    for finding in findings {
        standings.insert(
            finding["what"].as_str().unwrap().to_owned(),
            finding["standing"].clone(),
        );
    }
    (
        code,
        Value::Object(standings),
        text.split_whitespace().collect::<Vec<_>>().join(" "),
    )
}

#[tokio::test]
async fn with_all_in_order_only_what_nobody_can_see_is_left_and_nothing_is_made_or_launched() {
    let (node, sim) = (shared(), Sim::start_with(&["--rate-headers"]).await);
    let prefix = Prefix::new(&node, "check");
    let folder = place(node.url(), prefix.name(), &sim, "demo-secret");
    let (code, standings, text) = check(&folder);
    assert_eq!((code, &standings["topology"]), (0, &json!("note")), "{text}");
    assert!(
        text.contains("exchanges and queues are missing; the first worker or publisher makes it"),
        "{text}"
    );
    let amqp = Amqp::connect(node.url()).await;
    assert_eq!(
        amqp.count(&format!("{prefix}.jobs.normal")).await,
        None,
        "check has made something"
    );

    assert_eq!(run(&["topology", "apply"], folder.path(), "").0, 0);
    let (code, standings, text) = check(&folder);
    let wanted = json!({
        "configuration": "ok", "broker": "ok", "topology": "ok", "queues": "ok", "limits": "unseen", "token": "ok",
        "api": "ok", "rate limit": "ok", "launch permission": "unseen",
    });
    assert_eq!((code, standings), (0, wanted), "{text}");
    assert!(
        text.contains("cannot be seen without launching: architect:flow:launch"),
        "{text}"
    );
    assert!(
        text.contains("0 in lane normal, 0 in lane bulk; 0 dead letters; workers connected: 0"),
        "{text}"
    );
    assert!(text.contains("a policy with max-length on a lane"), "{text}");
    assert!(text.contains("of 300 calls used in this window"), "{text}");
    assert!(sim.launches().await.is_empty());
}

#[tokio::test]
async fn a_lane_with_a_length_limit_of_its_own_is_to_be_fixed() {
    let (node, sim) = (shared(), Sim::start().await);
    let prefix = Prefix::new(&node, "check-full");
    let folder = place(node.url(), prefix.name(), &sim, "demo-secret");
    let amqp = Amqp::connect(node.url()).await;
    let mut arguments = lapin::types::FieldTable::default();
    let value = |text: String| lapin::types::AMQPValue::LongString(text.into());
    arguments.insert("x-max-length".into(), lapin::types::AMQPValue::LongLongInt(10));
    arguments.insert("x-delivery-limit".into(), lapin::types::AMQPValue::LongLongInt(20));
    arguments.insert("x-overflow".into(), value("reject-publish".to_owned()));
    arguments.insert("x-dead-letter-strategy".into(), value("at-least-once".to_owned()));
    arguments.insert("x-dead-letter-exchange".into(), value(format!("{prefix}.dead")));
    let lane = format!("{prefix}.jobs.bulk");
    amqp.declare_with(&lane, "quorum", arguments).await;
    let (code, standings, text) = check(&folder);
    assert_eq!(code, 1, "{text}");
    assert_eq!(standings["broker"], json!("ok"), "{text}");
    assert!(
        text.contains(&format!(
            "queue {lane} stands with other arguments: argument x-max-length"
        )),
        "{text}"
    );
}

#[tokio::test]
async fn without_a_broker_and_with_a_wrong_secret_each_line_says_what_to_fix() {
    let (node, sim) = (shared(), Sim::start().await);
    let prefix = Prefix::new(&node, "check-secret");
    let folder = place(node.url(), prefix.name(), &sim, "wrong-secret");
    let (code, standings, text) = check(&folder);
    assert_eq!(
        (code, &standings["broker"], &standings["token"], &standings["api"]),
        (1, &json!("ok"), &json!("fix"), &json!("unseen")),
        "{text}"
    );
    assert!(
        text.contains("api.client_secret") && !text.contains("wrong-secret"),
        "{text}"
    );

    let folder = place("amqp://guest:guest@127.0.0.1:1/%2f", "t", &sim, "demo-secret");
    let (code, standings, text) = check(&folder);
    assert_eq!(
        (code, &standings["broker"], &standings["api"]),
        (1, &json!("fix"), &json!("ok")),
        "{text}"
    );
    assert!(text.contains("cannot reach the broker at amqp://127.0.0.1:1"), "{text}");
}
