//! `launch --wait`: a launch that succeeded is not a flow that succeeded.

use serde_json::{Value, json};

use super::rig::{Place, Said};

async fn place() -> Place {
    Place::with(&["--rate", "unlimited", "--run-seconds", "0.1"]).await
}

fn launched(said: &Said) {
    assert!(!said.err.contains("nothing was launched"), "{said:?}");
}

#[tokio::test]
async fn it_is_followed_to_its_end_in_both_dialects() {
    for (dialect, state) in [("user", "Completed"), ("vendor", "COMPLETED")] {
        let place = Place::with(&["--rate", "unlimited", "--run-seconds", "0.1", "--dialect", dialect]).await;
        let said = place.launch(&["--wait"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(
            said.out.starts_with("execution ") && said.out.ends_with(&format!(" ended: {state}\n")),
            "{said:?}"
        );
        said.complains(&["launched: execution ", "Ctrl-C stops waiting"]);
        let record = place.launch(&["--wait", "--json"]).json();
        assert_eq!((&record["ended"], &record["state"]), (&json!(true), &json!(state)));
        assert_eq!(place.sim.launches().await.len(), 2);
    }
}

#[tokio::test]
async fn a_flow_that_failed_is_a_failure_with_its_reason() {
    let args = [
        "--rate",
        "unlimited",
        "--run-seconds",
        "0.1",
        "--fail-share",
        "1",
        "--dialect",
        "vendor",
    ];
    let place = Place::with(&args).await;
    let said = place.launch(&["--wait", "--json"]);
    assert_eq!(said.code, 1);
    said.complains(&["ended as FAILED: FLOW_ERROR: the flow failed"]);
    launched(&said);
    let record = said.json();
    assert_eq!(
        [&record["ended"], &record["reason"], &record["error"]],
        [&json!(true), &json!("FLOW_ERROR: the flow failed"), &Value::Null]
    );
}

#[tokio::test]
async fn a_hiccup_while_it_is_followed_is_waited_out() {
    let place = place().await;
    for rule in [
        json!({ "endpoint": "poll", "status": 404, "first": 1 }),
        json!({ "endpoint": "poll", "status": 500, "first": 2 }),
        json!({ "endpoint": "poll", "status": 503, "html": true, "first": 1 }),
        json!({ "endpoint": "poll", "status": 429, "retryAfterSeconds": 1, "first": 1 }),
        json!({ "endpoint": "poll", "reset": "afterBody", "first": 1 }),
        // More than a launch would be tried.
        json!({ "endpoint": "poll", "status": 502, "first": 6 }),
    ] {
        place.sim.set_rules(&json!([rule])).await;
        place.sim.forget().await;
        let said = place.launch(&["--wait"]);
        assert_eq!(said.code, 0, "{rule}: {said:?}");
        launched(&said);
        if rule["status"] != 404 {
            said.complains(&["cannot be looked at just now", "Trying again in"]);
        }
        assert_eq!(place.sim.requests().await.len(), 1, "{rule}");
    }
}

#[tokio::test]
async fn what_keeps_it_from_being_followed_names_the_right_permission_and_the_execution() {
    let place = place().await;
    let permissions = json!({ "permissions": ["architect:flow:launch"] });
    place.sim.patch_settings(&permissions).await;
    let said = place.launch(&["--wait", "--json"]);
    assert_eq!(said.code, 1);
    launched(&said);
    said.complains(&[
        "architect:flowExecution:view",
        "flow:execution:read",
        "was launched, and its end cannot be seen",
    ]);
    assert!(!said.err.contains("architect:flow:launch"), "{said:?}");
    let record = said.json();
    let id = record["executionId"].as_str().unwrap();
    said.complains(&[id]);
    assert_eq!(
        (&record["ended"], &record["error"]["status"]),
        (&json!(false), &json!(403))
    );
}

#[tokio::test]
async fn an_answer_without_an_id_cannot_be_followed_and_says_so() {
    let place = place().await;
    place
        .sim
        .set_rules(&json!([{ "status": 200, "body": {}, "launches": true }]))
        .await;
    let said = place.launch(&["--wait", "--json"]);
    assert_eq!(said.code, 1);
    said.complains(&["launched, but the API's answer names no execution id"]);
    assert_eq!(
        (&said.json()["executionId"], &said.json()["ended"]),
        (&Value::Null, &json!(false))
    );
    assert_eq!(place.launch(&[]).code, 0);
}
