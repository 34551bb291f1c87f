//! What must never be seen: a secret, a token or an input's value in a log line, a metric or a status page, at any level.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::account::{FLOW, dead_count};
use common::wait::{eventually, until};
use common::worker::Builder;
use common::{Amqp, LONG, Prefix, Sim, Worker, python, shared, with_ctl};
use serde_json::{Value, json};

const CLIENT_SECRET: &str = "cl13nt-s3cr3t-canary";
const BROKER_PASSWORD: &str = "br0k3r-pa55word-canary";
const PROXY_PASSWORD: &str = "pr0xy-pa55word-canary";
/// In every input, and in what the API says about them.
const INPUT: &str = "1nput-value-canary";

/// A secret, and the forms in which somebody may print it: as it is, as the numbers of its bytes, and as Basic auth has it.
fn forms(secrets: &[(&str, String)]) -> BTreeMap<String, String> {
    let mut forms = BTreeMap::new();
    for (what, secret) in secrets {
        let decimal: Vec<_> = secret.bytes().map(|byte| byte.to_string()).collect();
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        forms.insert(format!("{what}, as it is"), secret.clone());
        forms.insert(format!("{what}, in decimal bytes"), decimal.join(", "));
        forms.insert(format!("{what}, in hexadecimal"), hex);
    }
    forms
}

fn assert_hidden(place: &str, text: &str, forms: &BTreeMap<String, String>) {
    for (what, form) in forms {
        if let Some(line) = text.lines().find(|line| line.contains(form.as_str())) {
            let at = line.find(form.as_str()).unwrap_or_default();
            let around = String::from_utf8_lossy(&line.as_bytes()[at.saturating_sub(300)..]);
            panic!("{place} shows the {what}: …{around:.900}");
        }
    }
}

/// What a worker writes and shows: its log so far, and its pages.
async fn shown(worker: &Worker) -> Vec<(String, String)> {
    let mut shown = vec![("the log".to_owned(), worker.log())];
    for page in ["/metrics", "/status", "/readyz", "/livez"] {
        if let Ok((_, text)) = worker.get(page).await {
            shown.push((page.to_owned(), text));
        }
    }
    shown
}

fn flow(n: usize) -> String {
    format!("3f1c2b7a-2222-4000-8000-{n:012x}")
}

/// A failure of every kind, each of which repeats an input's value wherever an answer can hold one.
fn faults() -> Vec<Value> {
    let said = json!({
        "message": format!("the value '{INPUT}' of Flow.name is wrong"), "code": INPUT.replace('-', " "),
        "headers": { "x-echo": INPUT, "inin-correlation-id": format!("see {INPUT}"), "server": INPUT },
    });
    let with = |more: Value| {
        let mut rule = said.clone();
        for (key, value) in more.as_object().into_iter().flatten() {
            rule[key] = value.clone();
        }
        rule
    };
    let mut faults: Vec<Value> = [
        400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 418, 422, 425, 500, 502, 503, 504,
    ]
    .map(|status| with(json!({ "status": status })))
    .into();
    faults.push(with(json!({ "status": 429, "retryAfterSeconds": 1 })));
    faults.push(with(
        json!({ "status": 301, "location": format!("https://elsewhere.example.org/?name={INPUT}") }),
    ));
    faults.push(json!({ "status": 200, "body": format!("<html>Dear {INPUT}</html>") }));
    faults
        .push(json!({ "status": 200, "body": { "id": format!("exec of {INPUT}"), "state": format!("said {INPUT}") } }));
    faults.push(json!({ "status": 400, "body": { "details": [{ "fieldName": INPUT, "errorCode": INPUT }], "messageParams": { "v": INPUT } } }));
    faults.push(json!({ "reset": "afterBody" }));
    faults.push(json!({ "cut": true }));
    for (n, fault) in faults.iter_mut().enumerate() {
        fault["flowId"] = json!(flow(n));
        // Each of these two halts the worker, for half a minute a time.
        fault["first"] = json!(match fault["status"].as_u64() {
            Some(301) => 1,
            Some(401) => 2,
            _ => ROUNDS,
        });
    }
    faults
}

/// How often each fault is met.
const ROUNDS: usize = 3;

fn inputs() -> Value {
    json!({ "name": INPUT, "nested": { "list": [INPUT, 7] } })
}

/// A round: a job for every fault, and as many good ones. Fewer refusals than halt a worker, so that it goes on whatever
/// the order.
fn round(round: usize, faults: usize) -> Vec<Value> {
    (0..faults)
        .flat_map(|n| {
            let of = |kind: &str, flow: &str| json!({ "flowId": flow, "id": format!("{kind}-{round}-{n}"), "inputs": inputs() });
            [
                json!({ "lane": "bulk", "body": of("bad", &flow(n)) }),
                json!({ "lane": "normal", "body": of("good", FLOW) }),
            ]
        })
        .collect()
}

/// What cannot be read.
fn malformed() -> Vec<Value> {
    let inputs = inputs();
    [
        json!({ "flowId": FLOW, "inputData": inputs }),
        json!({ "flowId": FLOW, "inputs": INPUT }),
        json!({ "flowId": FLOW, "inputs": inputs, "maxAttempts": "3" }),
        json!(format!(r#"{{"flowId":"{FLOW}","inputs":{{"name":"{INPUT}",}}}}"#)),
        json!(format!(r#"{{"flowId":"{FLOW}","inputs":{{"name":"{INPUT}"}}"#)),
    ]
    .map(|body| json!({ "lane": "bulk", "body": body }))
    .into()
}

fn traced(builder: Builder) -> Builder {
    builder
        // Naming lapin lifts our own ban on its lines.
        .set("log.filter", "trace,lapin=trace")
        .set("api.client_secret", CLIENT_SECRET)
        .set("retry.initial_delay", "250ms")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_token_or_input_value_is_shown_at_any_level_whatever_fails() {
    let (node, _own) = with_ctl().await;
    let prefix = Prefix::new(&node, "secrets");
    let user = prefix.name().to_owned();
    node.ctl(&["add_user", &user, BROKER_PASSWORD]);
    node.ctl(&["set_permissions", &user, ".*", ".*", ".*"]);
    let url = node.url().replace("guest:guest", &format!("{user}:{BROKER_PASSWORD}"));
    assert_ne!(url, node.url(), "the node's URL names guest");
    let sim = Sim::start_with(&["--rate", "unlimited"]).await;
    sim.patch_settings(&json!({ "clientSecret": CLIENT_SECRET, "dialect": "vendor" }))
        .await;
    let faults = faults();
    sim.set_rules(&json!(faults)).await;
    let worker = traced(Worker::builder(&url, &user, &sim.base_url(), &sim.login_url()))
        .ready()
        .await;
    // To the end of what the gate lets through: halts, closures and an outage are among it. Each ends with a launch that
    // passes, so there is always another good job to come.
    let amqp = Amqp::connect(node.url()).await;
    let (mut published, mut spare) = (0, 0);
    for number in 0..ROUNDS {
        let mut messages = round(number, faults.len());
        if number == 0 {
            messages.extend(malformed());
        }
        python::publish_mixed(node.url(), &user, &messages, &[]).await;
        published += messages.len();
        eventually("a round's jobs to be launched or dead", LONG, async || {
            let done = sim.launches().await.len() + dead_count(&amqp, &user).await;
            if done >= published + spare {
                return Ok(());
            }
            if amqp.count(&format!("{user}.jobs.normal")).await == Some(0) {
                publish_one(&amqp, &user, &format!("spare-{spare}")).await;
                spare += 1;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            Err((done, published + spare))
        })
        .await;
    }

    // The token endpoint's errors, which repeat what it was sent.
    let token = sim.stats().await["tokensAlive"].clone();
    sim.set_rules(
        &json!([{ "endpoint": "token", "status": 500, "message": format!("you sent {CLIENT_SECRET}"), "first": 2 }]),
    )
    .await;
    sim.revoke_tokens().await;
    publish_one(&amqp, &user, "after-revocation").await;
    until("a token to be refused", LONG, async || {
        worker
            .metrics()
            .await
            .get("flowlaunch_token_requests_total", &[("result", "failed")])
            >= 1.0
    })
    .await;
    // A message that comes back to us, which lapin has a word about.
    let dead = format!("{user}.dead");
    amqp.unbind(&dead, &dead, "").await;
    let misspelt = json!({ "flowId": FLOW, "id": "comes-back", "inputData": { "name": INPUT } });
    amqp.publish_all(&format!("{user}.jobs"), "normal", [misspelt.to_string().into_bytes()])
        .await;
    until("the letter to come back", LONG, async || {
        worker.log().contains("a copy is not confirmed yet")
    })
    .await;
    amqp.bind(&dead, &dead, "").await;
    // Refused connections.
    sim.set_open(false).await;
    publish_one(&amqp, &user, "while-closed").await;
    until("an outage", LONG, async || {
        worker.metrics().await.get("flowlaunch_gate_closed", &[]) == 1.0
    })
    .await;
    // A broker that does not know this password any more, met by a new session.
    node.ctl(&["change_password", &user, "another"]);
    node.ctl(&["close_all_user_connections", &user, "test"]);
    until("the login to be refused", LONG, async || {
        worker.log().contains("refuses the login")
    })
    .await;

    let tails: Vec<String> = sim
        .tokens()
        .await
        .iter()
        .filter_map(|mint| Some(mint["token"].as_str()?.to_owned()))
        .collect();
    assert!(!tails.is_empty(), "{token}");
    let mut secrets = vec![
        ("client secret", CLIENT_SECRET.to_owned()),
        ("broker's password", BROKER_PASSWORD.to_owned()),
        ("input value", INPUT.to_owned()),
    ];
    // `demo:…`, as Basic auth has it.
    secrets.push((
        "client secret in base64",
        "ZGVtbzpjbDEzbnQtczNjcjN0LWNhbmFyeQ".to_owned(),
    ));
    secrets.extend(tails.into_iter().map(|tail| ("end of a token", tail)));
    let forms = forms(&secrets);
    for (place, text) in shown(&worker).await {
        assert_hidden(&place, &text, &forms);
    }
    // It was a log at that level, of all this.
    let log = worker.log();
    assert!(
        log.contains(r#""level":"TRACE""#) || log.contains(r#""level":"DEBUG""#),
        "no trace"
    );
    for said in ["halted", "outage", "refuses the login"] {
        assert!(log.contains(said), "nothing said about {said}");
    }
    node.ctl(&["delete_user", &user]);
}

async fn publish_one(amqp: &Amqp, prefix: &str, id: &str) {
    let body = json!({ "flowId": FLOW, "id": id, "inputs": { "name": INPUT } });
    amqp.publish_all(&format!("{prefix}.jobs"), "normal", [body.to_string().into_bytes()])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_shown_by_a_worker_that_cannot_reach_its_broker_or_its_proxy() {
    let node = shared();
    let prefix = Prefix::new(&node, "proxy");
    let nowhere = format!("amqp://user:{BROKER_PASSWORD}@127.0.0.1:1/%2f");
    // Not this machine's name, so that the proxy stands in between.
    let (base, login) = ("http://api.example.invalid", "http://login.example.invalid");
    let proxy = format!("http://user:{PROXY_PASSWORD}@127.0.0.1:1");
    let brokerless = traced(Worker::builder(&nowhere, prefix.name(), base, login)).spawn();
    let builder = traced(Worker::builder(node.url(), prefix.name(), base, login));
    let shut_in = builder.env("HTTP_PROXY", &proxy).env("http_proxy", &proxy).spawn();
    until("the broker to be missed", LONG, async || {
        brokerless.log().contains("cannot reach the broker")
    })
    .await;
    until("the API to be missed", LONG, async || {
        shut_in
            .log()
            .contains("the token endpoint at login.example.invalid cannot be reached")
    })
    .await;

    let mut secrets = vec![
        ("client secret", CLIENT_SECRET.to_owned()),
        ("broker's password", BROKER_PASSWORD.to_owned()),
        ("proxy's password", PROXY_PASSWORD.to_owned()),
    ];
    // `user:…`, as Basic auth has it.
    secrets.push((
        "proxy's password in base64",
        "dXNlcjpwcjB4eS1wYTU1d29yZC1jYW5hcnk".to_owned(),
    ));
    let forms = forms(&secrets);
    for worker in [&brokerless, &shut_in] {
        for (place, text) in shown(worker).await {
            assert_hidden(&place, &text, &forms);
        }
    }
}
