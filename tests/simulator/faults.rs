//! The rules: which requests they strike, and with what answer.

use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::{FLOW, OTHER_FLOW, header, json_of, rig};

#[tokio::test]
async fn every_documented_status_can_be_answered() {
    let rig = rig(json!({})).await;
    let table = [
        (400, "bad.request"),
        (401, "bad.credentials"),
        (403, "missing.permissions"),
        (404, "not.found"),
        (405, "method.not.allowed"),
        (408, "request.timeout"),
        (409, "general.conflict"),
        (410, "gone"),
        (413, "request.entity.too.large"),
        (415, "unsupported.media.type"),
        (422, "invalid.value"),
        (425, "too.early"),
        (429, "too.many.requests"),
        (500, "internal.server.error"),
        (502, "bad.gateway"),
        (503, "service.unavailable"),
        (504, "request.timeout"),
    ];
    for (status, code) in table {
        rig.rules(json!([{ "status": status }])).await;
        let answer = rig.launch().await;
        assert_eq!(answer.status(), status);
        assert_eq!(json_of(answer).await["code"], code);
    }
    assert!(rig.launches().await.is_empty(), "a status by rule launches nothing");
}

#[tokio::test]
async fn code_message_body_and_headers_can_be_given() {
    let rig = rig(json!({})).await;
    rig.rules(json!([{ "status": 422, "code": "a.b", "message": "no", "headers": { "x-one": "1" } }]))
        .await;
    let answer = rig.launch().await;
    assert_eq!(header(&answer, "x-one").unwrap(), "1");
    assert_eq!(
        json_of(answer).await,
        json!({ "status": 422, "code": "a.b", "message": "no" })
    );

    rig.rules(json!([{ "status": 500, "body": { "any": [1] } }])).await;
    assert_eq!(json_of(rig.launch().await).await, json!({ "any": [1] }));
    rig.rules(json!([{ "status": 500, "body": "plain" }])).await;
    assert_eq!(rig.launch().await.text().await.unwrap(), "plain");
    for status in [200, 204, 404, 503] {
        rig.rules(json!([{ "status": status, "body": "" }])).await;
        let answer = rig.launch().await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.text().await.unwrap(), "");
    }
}

#[tokio::test]
async fn a_429_or_503_by_rule_says_when_to_come_back_as_the_rule_has_it() {
    let rig = rig(json!({ "retryAfterSeconds": 9 })).await;
    let cases = [
        (json!({ "status": 429 }), Some("9")),
        (json!({ "status": 429, "retryAfterSeconds": 4 }), Some("4")),
        (json!({ "status": 429, "retryAfter": "absent" }), None),
        (
            json!({ "status": 429, "headers": { "Retry-After": "soon" } }),
            Some("soon"),
        ),
        (json!({ "status": 503 }), None),
        (json!({ "status": 503, "retryAfterSeconds": 5 }), Some("5")),
    ];
    for (rule, expected) in cases {
        rig.rules(json!([rule])).await;
        assert_eq!(
            header(&rig.launch().await, "retry-after").as_deref(),
            expected,
            "{rule}"
        );
    }
    rig.rules(json!([{ "status": 429, "retryAfter": "message", "retryAfterSeconds": 6 }]))
        .await;
    assert!(rig.launch().await.text().await.unwrap().contains("in [6] seconds"));
}

#[tokio::test]
async fn redirects_lead_somewhere() {
    let rig = rig(json!({})).await;
    for status in [301, 302, 307, 308] {
        rig.rules(json!([{ "status": status, "location": "https://elsewhere.example/" }]))
            .await;
        let answer = rig.launch().await;
        assert_eq!(answer.status(), status);
        assert_eq!(header(&answer, "location").unwrap(), "https://elsewhere.example/");
        rig.rules(json!([{ "status": status }])).await;
        assert!(header(&rig.launch().await, "location").is_some());
    }
}

#[tokio::test]
async fn a_proxys_page_can_stand_in_for_the_answer() {
    let rig = rig(json!({})).await;
    for status in [200, 502] {
        rig.rules(json!([{ "status": status, "html": true }])).await;
        let answer = rig.launch().await;
        assert_eq!(answer.status(), status);
        assert_eq!(header(&answer, "content-type").unwrap(), "text/html");
        assert!(answer.text().await.unwrap().starts_with("<html>"));
    }
}

#[tokio::test]
async fn a_launch_can_happen_although_its_answer_says_otherwise() {
    let rig = rig(json!({})).await;
    rig.rules(json!([{ "status": 504, "launches": true }])).await;
    assert_eq!(rig.launch().await.status(), 504);
    let launches = rig.launches().await;
    assert_eq!(
        (&launches[0]["answer"], &launches[0]["status"]),
        (&json!("withheld"), &json!(504))
    );
}

#[tokio::test]
async fn an_answer_can_be_slow_and_the_launch_has_happened_by_then() {
    let rig = rig(json!({})).await;
    rig.rules(json!([{ "delaySeconds": 0.3 }])).await;
    let begun = std::time::Instant::now();
    assert_eq!(rig.launch().await.status(), 201);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(rig.launches().await[0]["answer"], "sent");

    rig.rules(json!([{ "delaySeconds": 3600 }])).await;
    let impatient = rig
        .post(json!({ "flowId": FLOW }).to_string())
        .timeout(Duration::from_millis(500));
    assert!(impatient.send().await.unwrap_err().is_timeout());
    assert_eq!(rig.launches().await[1]["answer"], "withheld");

    rig.rules(json!([{ "delaySeconds": 0.2, "status": 503 }])).await;
    let begun = std::time::Instant::now();
    assert_eq!(rig.launch().await.status(), 503);
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_rule_can_be_about_a_flow_or_several() {
    let rig = rig(json!({})).await;
    for ids in [json!(FLOW), json!([FLOW.to_uppercase()])] {
        rig.rules(json!([{ "flowId": ids, "status": 404 }])).await;
        assert_eq!(rig.launch_flow(FLOW).await.status(), 404);
        assert_eq!(rig.launch_flow(OTHER_FLOW).await.status(), 201);
    }
}

#[tokio::test]
async fn a_rule_can_strike_each_nth_or_the_first() {
    let rig = rig(json!({})).await;
    rig.rules(json!([{ "name": "third", "every": 3, "status": 503 }])).await;
    assert_eq!(rig.statuses(7).await, [201, 201, 503, 201, 201, 503, 201]);
    assert_eq!(
        rig.simulator.stats()["rules"],
        json!([{ "name": "third", "seen": 7, "hits": 2 }])
    );
    rig.rules(json!([{ "first": 2, "status": 503 }])).await;
    assert_eq!(rig.statuses(4).await, [503, 503, 201, 201]);
    rig.rules(json!([{ "every": 2, "first": 1, "status": 503 }])).await;
    assert_eq!(rig.statuses(5).await, [201, 503, 201, 201, 201]);
}

#[tokio::test]
async fn a_share_is_random_and_repeats_with_its_seed() {
    let rig = rig(json!({})).await;
    let mut runs = Vec::new();
    for seed in [1, 1, 2] {
        rig.patch(json!({ "seed": seed })).await;
        rig.rules(json!([{ "share": 0.5, "status": 503 }])).await;
        runs.push(rig.statuses(60).await);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    let struck = runs[0].iter().filter(|status| **status == 503).count();
    assert!((10..=50).contains(&struck), "{struck}");
    for (share, status) in [(0, 201), (1, 503)] {
        rig.rules(json!([{ "share": share, "status": 503 }])).await;
        assert_eq!(rig.statuses(5).await, [status; 5]);
    }
}

#[tokio::test]
async fn a_rule_can_begin_and_end() {
    let rig = rig(json!({})).await;
    rig.rules(json!([{ "untilSeconds": 1, "status": 503 }, { "fromSeconds": 3600, "status": 500 }]))
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.statuses(1).await, [201]);
    // Since the start the first second is over; since the rules were set an hour has not passed.
    rig.rules(json!([{ "untilSeconds": 1, "since": "start", "status": 503 }]))
        .await;
    assert_eq!(rig.statuses(1).await, [201]);
    rig.rules(json!([{ "fromSeconds": 0.9, "since": "start", "status": 503 }]))
        .await;
    assert_eq!(rig.statuses(1).await, [503]);
    rig.rules(json!([{ "untilSeconds": 3600, "status": 503 }])).await;
    assert_eq!(rig.statuses(1).await, [503]);
}

#[tokio::test]
async fn a_rule_can_be_about_any_endpoint_and_is_about_launches_if_it_does_not_say() {
    let rig = rig(json!({})).await;
    let of_each = async || {
        [
            rig.launch().await.status().as_u16(),
            rig.get("/api/v2/flows/executions/x").await.status().as_u16(),
            rig.get("/api/v2/flows").await.status().as_u16(),
            rig.ask_token("demo", "demo-secret", "client_credentials")
                .await
                .status()
                .as_u16(),
        ]
    };
    let cases = [
        (json!({}), [503, 404, 200, 200]),
        (json!({ "endpoint": "launch" }), [503, 404, 200, 200]),
        (json!({ "endpoint": "poll" }), [201, 503, 200, 200]),
        (json!({ "endpoint": "flows" }), [201, 404, 503, 200]),
        (json!({ "endpoint": "token" }), [201, 404, 200, 503]),
        (json!({ "endpoint": "all" }), [503, 503, 503, 503]),
    ];
    for (rule, expected) in cases {
        let mut rule = rule;
        rule["status"] = json!(503);
        rig.rules(json!([rule])).await;
        assert_eq!(of_each().await, expected, "{rule}");
    }
}

#[tokio::test]
async fn the_first_rule_that_strikes_decides() {
    let rig = rig(json!({})).await;
    rig.rules(json!([{ "first": 1, "status": 500 }, { "first": 2, "status": 503 }, { "status": 404 }]))
        .await;
    assert_eq!(rig.statuses(4).await, [500, 503, 503, 404]);
    assert_eq!(rig.control("DELETE", "/rules", None).await.status(), 204);
    assert_eq!(rig.statuses(1).await, [201]);
}

#[tokio::test]
async fn what_a_fault_answers_counts_against_the_rate() {
    let rig = rig(json!({ "rate": "2/min" })).await;
    rig.rules(json!([{ "status": 503, "first": 1 }])).await;
    assert_eq!(rig.statuses(3).await, [503, 201, 429]);
}

#[tokio::test]
async fn a_wrong_rule_is_refused_by_the_name_of_its_field_and_the_old_ones_stay() {
    let rig = rig(json!({})).await;
    rig.rules(json!([{ "status": 503 }])).await;
    let wrong = [
        (json!({ "status": 503 }), "(body)"),
        (json!([{ "status": 500 }, { "stauts": 503 }]), "[1].stauts"),
        (json!([{ "status": "503" }]), "[0].status"),
        (json!([{ "status": 99 }]), "[0].status"),
        (json!([{}]), "[0].status"),
        (json!([{ "status": 503, "reset": "afterBody" }]), "[0].status"),
        (json!([{ "status": 503, "share": 1.5 }]), "[0].share"),
        (json!([{ "status": 503, "every": 0 }]), "[0].every"),
        (
            json!([{ "status": 503, "fromSeconds": 5, "untilSeconds": 5 }]),
            "[0].untilSeconds",
        ),
        (json!([{ "status": 503, "endpoint": "lunch" }]), "[0].endpoint"),
        (
            json!([{ "status": 503, "endpoint": "poll", "flowId": FLOW }]),
            "[0].flowId",
        ),
        (json!([{ "status": 503, "body": "x", "html": true }]), "[0].html"),
        (json!([{ "status": 503, "headers": { "a b": "c" } }]), "[0].headers.a b"),
        (
            json!([{ "status": 503, "headers": { "Content-Length": "3" } }]),
            "[0].headers.Content-Length",
        ),
        (json!([{ "delaySeconds": -1 }]), "[0].delaySeconds"),
        (json!([{ "delaySeconds": 1, "body": "x" }]), "[0].body"),
        (json!([{ "reset": "later" }]), "[0].reset"),
        (json!([{ "reset": "onArrival", "launches": true }]), "[0].launches"),
        (json!([{ "reset": "onArrival", "flowId": FLOW }]), "[0].flowId"),
    ];
    for (rules, field) in wrong {
        let answer = rig.control("PUT", "/rules", Some(rules.clone())).await;
        assert_eq!(answer.status(), 400, "{rules}");
        let body = json_of(answer).await;
        assert_eq!(body["field"], field, "{body}");
        assert!(body["error"].as_str().unwrap().starts_with(field), "{body}");
    }
    let rules = json_of(rig.control("GET", "/rules", None).await).await;
    assert_eq!(rules.as_array().map(Vec::len), Some(1));
    // What is read can be written again.
    assert_eq!(rig.control("PUT", "/rules", Some(rules)).await.status(), 200);
    assert_eq!(rig.statuses(1).await, [503]);
}

#[tokio::test]
async fn rules_can_be_there_from_the_start() {
    let rules = flowlaunch::simulator::read_rules(json!([{ "status": 500 }])).unwrap();
    let start = flowlaunch::simulator::Start {
        rules,
        ..Default::default()
    };
    assert_eq!(crate::rig::Rig::begin(start).await.statuses(1).await, [500]);
    assert_eq!(
        flowlaunch::simulator::read_rules(Value::Null).unwrap_err().field,
        "(body)"
    );
}
