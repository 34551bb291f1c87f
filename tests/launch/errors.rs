//! Every error of the table, as a person is told of it: what happened, what to do, the correlation id; and how often the
//! launch was sent.

use serde_json::{Value, json};

use super::rig::{FLOW, Place, Said};

const CERTAIN: &str = "nothing was launched";
const UNCERTAIN: &str = "may have been launched";

/// A rule with a header that support asks for.
fn correlated(mut rule: Value) -> Value {
    if rule.get("status").is_some() {
        rule["headers"]["inin-correlation-id"] = json!("corr-7");
    }
    rule
}

/// Launches under the rule: what was said in text and in JSON, after so many requests each, launched or not.
async fn under(place: &Place, rule: &Value, requests: usize) -> (Said, Value) {
    let mut said = Vec::new();
    for more in [&[][..], &["--json"][..]] {
        place.sim.set_rules(&json!([correlated(rule.clone())])).await;
        place.sim.forget().await;
        said.push(place.launch(more));
        assert_eq!(place.sim.requests().await.len(), requests, "{rule}: {said:?}");
    }
    let json = said.pop().unwrap();
    let text = said.pop().unwrap();
    assert_eq!(json.code, text.code, "{rule}: {text:?}{json:?}");
    (text, json.json())
}

/// Certain or not, one of both is said, and never the other.
fn is(said: &Said, certainty: &str) {
    let other = if certainty == CERTAIN { UNCERTAIN } else { CERTAIN };
    assert!(said.err.contains(certainty) && !said.err.contains(other), "{said:?}");
}

#[tokio::test]
async fn what_the_api_refuses_is_sent_once_and_said_with_its_fix() {
    let place = Place::new().await;
    for (status, class, code, fix) in [
        (400, "refused", "bad.request", "the shape of the inputs"),
        (403, "forbidden", "missing.permissions", "architect:flow:launch"),
        (404, "refused", "not.found", "that the flow is published"),
        (405, "refused", "method.not.allowed", "api.base_url"),
        (409, "refused", "general.conflict", "Check in Architect"),
        (410, "refused", "gone", "use another flowId"),
        (413, "refused", "request.entity.too.large", "make the inputs smaller"),
        (415, "refused", "unsupported.media.type", "application/json"),
        (418, "refused", "bad.request", "mend what its message names"),
        (422, "refused", "invalid.value", "must match the flow's definition"),
    ] {
        let (said, record) = under(&place, &json!({ "status": status }), 1).await;
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        is(&said, CERTAIN);
        said.complains(&[
            &format!("HTTP {status} ({code}): "),
            fix,
            "[correlation id corr-7]",
            FLOW,
        ]);
        assert_eq!(said.err.lines().count(), 1, "{said:?}");
        assert_eq!(
            (&record["executionId"], &record["ended"]),
            (&Value::Null, &json!(false))
        );
        let error = &record["error"];
        assert_eq!(
            [
                &error["class"],
                &error["status"],
                &error["code"],
                &error["correlationId"]
            ],
            [&json!(class), &json!(status), &json!(code), &json!("corr-7")],
            "{record}"
        );
        assert!(
            error["fix"].as_str().unwrap().contains(fix) && error["message"].is_string(),
            "{record}"
        );
    }
    let redirect = json!({ "status": 301, "location": "https://elsewhere.example/x?y" });
    let (said, record) = under(&place, &redirect, 1).await;
    is(&said, CERTAIN);
    said.complains(&["a redirect to elsewhere.example", "api.region", "corr-7"]);
    assert_eq!((said.code, &record["error"]["class"]), (1, &json!("misdirected")));
    assert!(place.sim.launches().await.is_empty());
}

#[tokio::test]
async fn what_no_answer_decides_is_sent_once_and_said_to_be_so() {
    let place = Place::new().await;
    for (rule, status, words) in [
        (json!({ "status": 408 }), json!(408), "HTTP 408 (request.timeout)"),
        (json!({ "status": 500 }), json!(500), "HTTP 500 (internal.server.error)"),
        (json!({ "status": 502, "html": true }), json!(502), "an HTML page"),
        (json!({ "status": 504 }), json!(504), "HTTP 504"),
        (json!({ "status": 200, "html": true }), json!(200), "check api.base_url"),
        (
            json!({ "reset": "afterBody", "launches": true }),
            Value::Null,
            "no answer came",
        ),
        (json!({ "cut": true }), json!(201), "the answer was cut off"),
    ] {
        let (said, record) = under(&place, &rule, 1).await;
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        is(&said, UNCERTAIN);
        said.complains(&[words, FLOW]);
        if rule.get("status").is_some() {
            said.complains(&["[correlation id corr-7]"]);
        }
        let error = &record["error"];
        assert_eq!(
            (&error["class"], &error["status"]),
            (&json!("unknown"), &status),
            "{record}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_not_waited_for_and_nothing_is_sent_again() {
    let place = Place::new().await;
    place.sim.set_rules(&json!([{ "delaySeconds": 600 }])).await;
    let said = place.launch(&["--set", "api.timeout=4s", "--set", "api.connect_timeout=4s"]);
    assert_eq!(said.code, 1);
    is(&said, UNCERTAIN);
    said.complains(&["no answer within 4s"]);
    assert_eq!(place.sim.launches().await.len(), 1, "{said:?}");
}

#[tokio::test]
async fn what_passes_is_waited_for_and_launched_once() {
    let place = Place::new().await;
    for (rule, requests, words) in [
        (
            json!({ "status": 503, "first": 1 }),
            2,
            &["nothing was launched yet: HTTP 503", "Trying again in 1 s"][..],
        ),
        (
            json!({ "status": 425, "first": 1 }),
            2,
            &["nothing was launched yet: HTTP 425"][..],
        ),
        (
            json!({ "status": 429, "retryAfterSeconds": 1, "first": 1 }),
            2,
            &["nothing was launched yet: HTTP 429 (too.many.requests)", "corr-7"][..],
        ),
        (json!({ "status": 401, "first": 1 }), 2, &[][..]),
        (
            json!({ "endpoint": "token", "status": 400, "message": "rate limit exceeded; try later", "first": 1 }),
            1,
            &[
                "nothing was launched yet: HTTP 400",
                "from the token endpoint: rate limit exceeded",
            ][..],
        ),
    ] {
        let (said, record) = under(&place, &rule, requests).await;
        assert_eq!(said.code, 0, "{rule}: {said:?}");
        said.complains(words);
        assert_eq!(place.sim.launches().await.len(), 1, "{rule}");
        assert_eq!(record["error"], Value::Null, "{record}");
    }
}

#[tokio::test]
async fn what_does_not_pass_ends_after_some_tries_and_says_how_many() {
    let place = Place::new().await;
    let (said, record) = under(&place, &json!({ "status": 503 }), 4).await;
    is(&said, CERTAIN);
    said.complains(&["tried 4 times", "Try again later", "corr-7"]);
    assert_eq!((said.code, &record["error"]["class"]), (1, &json!("transient")));

    let (said, record) = under(&place, &json!({ "status": 401 }), 2).await;
    is(&said, CERTAIN);
    said.complains(&["HTTP 401 (bad.credentials)", "api.client_secret", "corr-7"]);
    assert_eq!((said.code, &record["error"]["class"]), (1, &json!("unauthorized")));
}

#[tokio::test]
async fn a_login_that_fails_is_said_to_be_the_token_endpoints() {
    let place = Place::new().await;
    for (more, words) in [
        (
            &["--set", "api.client_id=nobody"][..],
            &[
                "HTTP 400 (invalid_client) from the token endpoint: client not found",
                "api.client_id",
            ][..],
        ),
        (
            &["--set", "api.login_url=http://127.0.0.1:1"][..],
            &["the token endpoint at 127.0.0.1:1 cannot be reached", "api.login_url"][..],
        ),
    ] {
        let said = place.launch(more);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        is(&said, CERTAIN);
        said.complains(words);
    }
    place.sim.patch_settings(&json!({ "clientSecret": "another" })).await;
    let said = place.launch(&["--json"]);
    said.complains(&["HTTP 401 (invalid_client) from the token endpoint", "api.client_secret"]);
    assert_eq!(said.json()["error"]["class"], "unauthorized", "{said:?}");
    assert!(place.sim.requests().await.is_empty());
}

#[tokio::test]
async fn an_api_that_nobody_reaches_got_nothing() {
    let place = Place::new().await;
    let said = place.launch(&["--json", "--set", "api.base_url=http://127.0.0.1:1"]);
    assert_eq!(said.code, 1);
    is(&said, CERTAIN);
    said.complains(&["cannot be reached", "refused", "api.base_url"]);
    let error = &said.json()["error"];
    assert_eq!(
        (&error["class"], &error["status"]),
        (&json!("unreachable"), &Value::Null)
    );
}
