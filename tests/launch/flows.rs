//! `flowlaunch flows`: all of them, on 80 columns, and what keeps them from being listed.

use std::process::Stdio;

use serde_json::{Value, json};

use super::common::process::exit_code;
use super::rig::Place;

/// 250 flows, every tenth of another type.
async fn many() -> Place {
    let flow = |n: usize| {
        let kind = if n.is_multiple_of(10) {
            "inboundcall"
        } else {
            "workflow"
        };
        json!({ "id": format!("00000000-0000-4000-8000-{n:012}"), "name": format!("A flow with quite a long name, No {n:03}"), "type": kind })
    };
    let place = Place::new().await;
    let flows: Vec<_> = (1..=250).map(flow).collect();
    place.sim.patch_settings(&json!({ "flows": flows })).await;
    place
}

fn ids(flows: &Value) -> Vec<&str> {
    flows
        .as_array()
        .unwrap()
        .iter()
        .map(|flow| flow["id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn all_pages_are_read_and_the_table_fits_80_columns() {
    let place = many().await;
    let said = place.run(&["flows"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    said.fits();
    assert_eq!(said.out.lines().count(), 251, "{}", said.out);
    assert!(
        said.out.contains("00000000-0000-4000-8000-000000000250  A flow"),
        "{}",
        said.out
    );
    let flows = place.run(&["flows", "--json"]).json();
    assert_eq!(ids(&flows).len(), 250);
    assert_eq!(
        (&flows[0]["published"], &flows[0]["publishedVersion"]),
        (&json!(true), &json!("1.0"))
    );
}

#[tokio::test]
async fn by_name_and_by_type() {
    let place = many().await;
    let named = place.run(&["flows", "--json", "--name", "no 24"]).json();
    assert_eq!(ids(&named).len(), 10, "{named}");
    let typed = place.run(&["flows", "--json", "--type", "inboundcall"]).json();
    assert_eq!(ids(&typed).len(), 25, "{typed}");
    let none = place.run(&["flows", "--name", "nothing of that name"]);
    assert_eq!((none.code, none.out.as_str()), (0, "no flow matches\n"));
}

#[tokio::test]
async fn a_server_that_knows_no_page_numbers_is_not_asked_for_ever() {
    let place = Place::new().await;
    let page: Vec<_> = (0..100).map(|n| json!({ "id": format!("flow-{n}") })).collect();
    let rule = json!({ "endpoint": "flows", "status": 200, "body": { "entities": page } });
    place.sim.set_rules(&json!([rule])).await;
    let flows = place.run(&["flows", "--json"]).json();
    assert_eq!(ids(&flows).len(), 100);
    assert_eq!(place.sim.stats().await["rules"][0]["hits"], 2);
}

#[tokio::test]
async fn what_keeps_them_from_being_listed_speaks_of_the_list_and_not_of_a_launch() {
    let place = Place::new().await;
    for (rule, words) in [
        (json!({ "status": 403 }), &["HTTP 403", "architect:flow:view"][..]),
        (json!({ "status": 404 }), &["HTTP 404", "not the API"][..]),
        (
            json!({ "status": 500 }),
            &["tried 4 times", "HTTP 500", "Try again later"][..],
        ),
        (
            json!({ "status": 200, "html": true }),
            &["an HTML page", "not the API"][..],
        ),
    ] {
        let mut rule = rule;
        rule["endpoint"] = json!("flows");
        rule["headers"] = json!({ "inin-correlation-id": "corr-7" });
        place.sim.set_rules(&json!([rule])).await;
        let said = place.run(&["flows"]);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{rule}: {said:?}");
        said.complains(words);
        said.complains(&["cannot list the flows", "[correlation id corr-7]"]);
        assert!(
            !said.err.contains("launched") && !said.err.contains("flow:launch"),
            "{said:?}"
        );
    }
}

#[tokio::test]
async fn a_hiccup_does_not_end_the_list() {
    let place = many().await;
    place
        .sim
        .set_rules(&json!([{ "endpoint": "flows", "status": 502, "every": 2 }]))
        .await;
    let said = place.run(&["flows", "--json"]);
    assert_eq!(ids(&said.json()).len(), 250);
    said.complains(&["HTTP 502", "Trying again in"]);
}

#[tokio::test]
async fn a_reader_that_has_had_enough_is_no_error() {
    let place = many().await;
    for args in [&["flows"][..], &["completions", "bash"], &["man"], &["check", "--json"]] {
        let mut command = place.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Nobody reads, from the first byte on.
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((exit_code(ended.status), words.as_ref()), (0, ""), "{args:?}");
    }
}
