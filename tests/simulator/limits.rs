//! The rate limit: two windows, and the ways of saying when to come back.

use std::time::Duration;

use serde_json::json;

use crate::rig::{header, json_of, rig};

#[tokio::test]
async fn a_fixed_window_opens_again_all_at_once() {
    let rig = rig(json!({ "rate": "3/s", "windowSeconds": 2, "window": "fixed" })).await;
    assert_eq!(rig.statuses(8).await, [201, 201, 201, 201, 201, 201, 429, 429]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.statuses(6).await, [201; 6]);
    assert_eq!(rig.launches().await.len(), 12);
}

#[tokio::test]
async fn a_sliding_window_never_holds_more_than_its_limit() {
    let rig = rig(json!({ "rate": "2/s", "windowSeconds": 2, "window": "sliding" })).await;
    assert_eq!(rig.statuses(2).await, [201; 2]);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let _ = rig.statuses(3).await;
    // The first two leave the window now, the later ones do not.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let _ = rig.statuses(4).await;
    let times: Vec<i64> = rig
        .launches()
        .await
        .iter()
        .map(|launch| launch["atMicros"].as_i64().unwrap())
        .collect();
    assert!(times.len() > 4, "the window opened again");
    for at in &times {
        assert!(
            times
                .iter()
                .filter(|other| (0..2_000_000).contains(&(at - **other)))
                .count()
                <= 4,
            "{times:?}"
        );
    }
}

#[tokio::test]
async fn the_limit_is_per_token_and_counts_every_call_with_it() {
    let mut rig = rig(json!({ "rate": "3/min" })).await;
    assert_eq!(rig.get("/api/v2/flows").await.status(), 200);
    assert_eq!(rig.get("/api/v2/flows/executions/x").await.status(), 404);
    assert_eq!(rig.statuses(2).await, [201, 429]);
    rig.token = rig.new_token().await;
    assert_eq!(rig.statuses(1).await, [201]);
}

#[tokio::test]
async fn the_rate_can_be_changed_while_it_runs() {
    let rig = rig(json!({ "rate": "1/min" })).await;
    assert_eq!(rig.statuses(2).await, [201, 429]);
    rig.patch(json!({ "rate": "unlimited" })).await;
    assert_eq!(rig.statuses(2).await, [201, 201]);
}

#[tokio::test]
async fn retry_after_can_be_seconds() {
    let rig = rig(json!({ "rate": "1/min" })).await;
    rig.launch().await;
    let throttled = rig.launch().await;
    assert_eq!(throttled.status(), 429);
    let seconds: u64 = header(&throttled, "retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(json_of(throttled).await["code"], "too.many.requests");
    rig.patch(json!({ "retryAfterSeconds": 17 })).await;
    assert_eq!(header(&rig.launch().await, "retry-after").unwrap(), "17");
}

#[tokio::test]
async fn retry_after_can_be_a_date_by_the_servers_own_clock() {
    let rig = rig(json!({ "rate": "1/min", "retryAfter": "date", "retryAfterSeconds": 30 })).await;
    rig.launch().await;
    for skew in [0, -7200] {
        rig.patch(json!({ "clockSkewSeconds": skew })).await;
        let throttled = rig.launch().await;
        let read = |name| {
            jiff::fmt::rfc2822::parse(&header(&throttled, name).unwrap())
                .unwrap()
                .timestamp()
        };
        let (then, date) = (read("retry-after"), read("date"));
        assert_eq!(then.as_second() - date.as_second(), 30);
        // Without its skew the server's clock has not gone back.
        assert!(date.as_second() - skew <= jiff::Timestamp::now().as_second());
    }
}

#[tokio::test]
async fn retry_after_can_stand_in_the_message_or_nowhere_or_be_hours() {
    let rig = rig(json!({ "rate": "1/min", "retryAfter": "message", "retryAfterSeconds": 3 })).await;
    rig.launch().await;
    let message = rig.launch().await;
    assert_eq!(header(&message, "retry-after"), None);
    let body = json_of(message).await;
    assert_eq!(body["code"], "too.many.requests.retry.after");
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .ends_with("Retry the request in [3] seconds"),
        "{body}"
    );

    rig.patch(json!({ "retryAfter": "absent" })).await;
    let absent = rig.launch().await;
    assert_eq!(header(&absent, "retry-after"), None);
    assert!(!absent.text().await.unwrap().contains("seconds"));

    rig.patch(json!({ "retryAfter": "hours", "retryAfterSeconds": null }))
        .await;
    assert_eq!(header(&rig.launch().await, "retry-after").unwrap(), "7200");
}

#[tokio::test]
async fn the_rate_can_be_told_with_every_answer() {
    let rig = rig(json!({ "rate": "2/min", "rateHeaders": true })).await;
    for used in ["1", "2", "2"] {
        let answer = rig.launch().await;
        assert_eq!(header(&answer, "inin-ratelimit-count").unwrap(), used);
        assert_eq!(header(&answer, "inin-ratelimit-allowed").unwrap(), "2");
        assert!((1..=60).contains(&header(&answer, "inin-ratelimit-reset").unwrap().parse::<u64>().unwrap()));
    }
    rig.patch(json!({ "rateHeaders": false })).await;
    assert_eq!(header(&rig.launch().await, "inin-ratelimit-count"), None);
}

#[tokio::test]
async fn the_peak_of_a_window_is_counted() {
    let rig = rig(json!({ "rate": "4/min" })).await;
    rig.statuses(6).await;
    let stats = rig.simulator.stats();
    assert_eq!(
        (&stats["maxRequestsInWindow"], &stats["maxLaunchesInWindow"]),
        (&json!(6), &json!(4))
    );
}
