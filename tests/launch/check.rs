//! `flowlaunch check` with the embedded broker: its file, one flow, and what is set where.

use std::process::Stdio;

use serde_json::{Value, json};

use super::common::process::exit_code;
use super::rig::{FLOW, Place, Said};

/// Standing and detail of what was looked at.
fn found(said: &Said, what: &str) -> (String, String) {
    let findings = said.json();
    let mut findings = findings.as_array().unwrap().iter();
    let finding = findings
        .find(|finding| finding["what"] == what)
        .unwrap_or_else(|| panic!("{what}: {said:?}"));
    let text = |key: &str| finding[key].as_str().unwrap().to_owned();
    (text("standing"), text("detail"))
}

fn broker(place: &Place) -> (i32, String, String) {
    let said = place.run(&["check", "--json"]);
    let (standing, detail) = found(&said, "broker");
    (said.code, standing, detail)
}

#[tokio::test]
async fn the_file_is_looked_at_and_neither_made_nor_changed() {
    let place = Place::new().await;
    let file = place.path().join("jobs.db");
    let (code, standing, detail) = broker(&place);
    assert_eq!((code, standing.as_str()), (0, "note"), "{detail}");
    assert!(
        detail.contains("jobs.db is not there yet") && !file.exists(),
        "{detail}"
    );

    let jobs: String = (0..3)
        .map(|n| format!("{{\"flowId\":\"{FLOW}\",\"id\":\"{n}\"}}\n"))
        .collect();
    assert_eq!(place.run_with(&["publish", "--lane", "bulk"], &jobs).code, 0);
    let said = place.run(&["check", "--json"]);
    assert_eq!((said.code, found(&said, "broker").0.as_str()), (0, "ok"));
    let (_, waiting) = found(&said, "queues");
    assert!(
        waiting.contains("0 in lane normal, 3 in lane bulk, 0 delayed; 0 in the hands of 0 workers; 0 dead letters"),
        "{waiting}"
    );
    place.run(&["check"]).fits();

    // Made by a later version.
    let database = rusqlite::Connection::open(&file).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    database.pragma_update(None, "journal_mode", "delete").unwrap();
    drop(database);
    unchanged(&place, "newer flowlaunch");

    for stranger in [
        "not a database at all, but long enough to be one".repeat(50),
        "x".to_owned(),
    ] {
        std::fs::write(&file, stranger).unwrap();
        unchanged(&place, "jobs.db");
    }
}

/// It is to be fixed, and not a byte of the file is another.
fn unchanged(place: &Place, words: &str) {
    let file = place.path().join("jobs.db");
    let before = std::fs::read(&file).unwrap();
    let (code, standing, detail) = broker(place);
    assert_eq!((code, standing.as_str()), (1, "fix"), "{detail}");
    assert!(detail.contains(words), "{detail}");
    assert!(std::fs::read(&file).unwrap() == before, "{words}: it was written");
}

#[tokio::test]
async fn a_flow_is_there_and_published_or_what_to_do_is_said() {
    let place = Place::new().await;
    let look = || {
        let said = place.run(&["check", "--json", "--flow-id", FLOW]);
        let (standing, detail) = found(&said, "flow");
        (said.code, standing, detail)
    };
    let (code, standing, detail) = look();
    assert_eq!((code, standing.as_str()), (0, "ok"));
    assert!(detail.contains("version 1.0 is published"), "{detail}");

    let unpublished = json!({ "id": FLOW, "name": "Draft" });
    for (rule, code, standing, words) in [
        (
            json!({ "status": 200, "body": unpublished }),
            1,
            "fix",
            "Draft has no published version",
        ),
        (json!({ "status": 404 }), 1, "fix", "`flowlaunch flows` lists"),
        (json!({ "status": 403 }), 0, "unseen", "architect:flow:view"),
        (json!({ "status": 429 }), 0, "note", "the quota is in use"),
        (json!({ "status": 500 }), 1, "fix", "HTTP 500"),
    ] {
        let mut rule = rule;
        rule["endpoint"] = json!("flows");
        place.sim.set_rules(&json!([rule])).await;
        let (seen, stands, detail) = look();
        assert_eq!((seen, stands.as_str()), (code, standing), "{rule}: {detail}");
        assert!(detail.contains(words), "{rule}: {detail}");
    }
    assert!(place.sim.requests().await.is_empty(), "check launches nothing");
}

#[tokio::test]
async fn a_quota_that_is_in_use_is_nothing_to_fix() {
    let place = Place::new().await;
    for (endpoint, what) in [("flows", "api"), ("token", "token")] {
        let rule = json!({ "endpoint": endpoint, "status": 429, "retryAfterSeconds": 30 });
        place.sim.set_rules(&json!([rule])).await;
        let said = place.run(&["check", "--json"]);
        let (standing, detail) = found(&said, what);
        assert_eq!((said.code, standing.as_str()), (0, "note"), "{detail}");
        assert!(detail.contains("the quota is in use"), "{detail}");
    }
}

#[tokio::test]
async fn what_is_set_is_shown_with_its_place_and_no_secret_is() {
    let place = Place::new().await;
    let mut command = place.command(&["check", "--set", "limits.rate=60/min"]);
    command.env("FLOWLAUNCH_BROKER__URL", "amqp://guest:hunter2@127.0.0.1:1/%2f");
    let ended = command.output().unwrap();
    let text = String::from_utf8(ended.stdout).unwrap();
    for line in [
        "set in flowlaunch.toml:\n",
        "set in the environment:\n",
        "set in the flags:\n",
        "  api.client_id = \"demo\"\n",
        "  api.client_secret (not shown)\n",
        "  limits.rate = \"60/min\"\n",
        "  broker.url = \"amqp://guest:***@127.0.0.1:1/%2f\"\n",
        "all else is the default\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert!(!text.contains("hunter2") && !text.contains("demo-secret"), "{text}");
    let long: Vec<_> = text.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[tokio::test]
async fn against_genesys_cloud_the_name_of_the_inputs_has_to_be_set() {
    let place = Place::new().await;
    let genesys = "api.client_id = \"x\"\napi.client_secret = \"y\"\nbroker.url = \"sqlite:jobs.db\"\n";
    let look = |more: &str| {
        place.write("flowlaunch.toml", format!("{genesys}{more}"));
        // Nothing leaves this machine.
        let mut command = place.command(&["check", "--json"]);
        let ended = command
            .env("HTTPS_PROXY", "http://127.0.0.1:1")
            .stderr(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(exit_code(ended.status), 1, "there is no API");
        let findings: Value = serde_json::from_slice(&ended.stdout).unwrap();
        let findings = findings.as_array().unwrap();
        findings.iter().find(|finding| finding["what"] == "inputs").cloned()
    };
    let warning = look("").unwrap();
    assert_eq!(warning["standing"], "fix");
    assert!(warning["detail"].as_str().unwrap().contains("inputData"), "{warning}");
    assert_eq!(look("api.inputs_field = \"inputData\"\n"), None);
}
