//! The control API itself, and the command.

use serde_json::json;

use crate::rig::{json_of, rig};

#[tokio::test]
async fn settings_are_read_and_changed_all_or_none() {
    let rig = rig(json!({})).await;
    let settings = json_of(rig.control("GET", "/settings", None).await).await;
    assert_eq!(
        (&settings["dialect"], &settings["rate"]),
        (&json!("user"), &json!("unlimited"))
    );
    let wrong = [
        (json!({ "window": "sliding", "rtae": "5/s" }), "rtae"),
        (json!({ "window": "sliding", "rate": "5 a second" }), "rate"),
        (json!({ "window": "sliding", "windowSeconds": 0 }), "windowSeconds"),
        (json!({ "window": "rolling" }), "window"),
        (json!({ "rate": "1/h" }), "rate"),
        (json!({ "failShare": 2 }), "failShare"),
        (json!({ "launchStatus": 404 }), "launchStatus"),
        (json!({ "flows": [{ "id": "x" }] }), "flows"),
        (json!({ "maxRecords": 0 }), "maxRecords"),
        (json!([]), "(body)"),
    ];
    for (patch, field) in wrong {
        let answer = rig.control("PATCH", "/settings", Some(patch.clone())).await;
        assert_eq!(answer.status(), 400, "{patch}");
        assert_eq!(json_of(answer).await["field"], field, "{patch}");
    }
    assert_eq!(json_of(rig.control("GET", "/settings", None).await).await, settings);
    // What is read can be written again.
    assert_eq!(rig.control("PATCH", "/settings", Some(settings)).await.status(), 200);
}

#[tokio::test]
async fn the_dialect_can_be_changed_while_it_runs() {
    let rig = rig(json!({})).await;
    rig.patch(json!({ "dialect": "vendor" })).await;
    assert_eq!(rig.launch().await.status(), 200);
}

#[tokio::test]
async fn the_index_names_every_request_and_others_are_not_found() {
    let rig = rig(json!({})).await;
    let index = rig.control("GET", "", None).await.text().await.unwrap();
    for line in index.lines() {
        let mut words = line.split_whitespace();
        let (method, path) = (
            words.next().unwrap(),
            words.next().unwrap().strip_prefix("/_sim").unwrap(),
        );
        if matches!(method, "GET" | "DELETE" | "POST") {
            assert!(rig.control(method, path, None).await.status().is_success(), "{line}");
        } else {
            assert_eq!(
                rig.control(method, path, None).await.status(),
                400,
                "without a body: {line}"
            );
        }
    }
    assert_eq!(rig.control("GET", "/lunches", None).await.status(), 404);
    assert_eq!(rig.control("POST", "/rules", None).await.status(), 404);
}

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: flowlaunch::simulator::Args,
}

fn command(args: &[&str]) -> Result<Command, clap::Error> {
    clap::Parser::try_parse_from([&["simulator"], args].concat())
}

#[tokio::test]
async fn the_command_serves_until_it_is_told_to_stop() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (rules, flows) = (path("rules.json"), path("flows.json"));
    std::fs::write(&rules, r#"[{"status": 503, "share": 0.1}]"#).unwrap();
    std::fs::write(
        &flows,
        r#"[{"id": "8a6e1d0c-9a1e-4f4b-9d8e-2a0f3d5b7c11", "name": "Reminder"}]"#,
    )
    .unwrap();
    let args = [
        "--listen",
        "127.0.0.1:0",
        "--control",
        "127.0.0.1:0",
        "--rules",
        &rules,
        "--flows",
        &flows,
    ];
    let shutdown = tokio_util::sync::CancellationToken::new();
    let running = flowlaunch::simulator::run(command(&args).unwrap().args, shutdown.clone());
    let (ended, ()) = tokio::join!(running, async { shutdown.cancel() });
    ended.unwrap();
}

#[tokio::test]
async fn the_command_says_what_is_wrong_with_its_arguments() {
    for wrong in [
        ["--rate", "fast"],
        ["--window", "rolling"],
        ["--retry-after", "later"],
        ["--listen", "8080"],
    ] {
        assert!(command(&wrong).is_err(), "{wrong:?}");
    }
    let directory = tempfile::tempdir().unwrap();
    let rules = directory.path().join("rules.json");
    std::fs::write(&rules, r#"[{"status": 503, "share": 10}]"#).unwrap();
    let cases = [
        (["--rules", rules.to_str().unwrap()], "[0].share"),
        (["--flows", "/no/such"], "/no/such"),
        (["--fail-share", "7"], "failShare"),
    ];
    for (args, expected) in cases {
        let args = [args.as_slice(), &["--listen", "127.0.0.1:0"]].concat();
        let run = flowlaunch::simulator::run(command(&args).unwrap().args, tokio_util::sync::CancellationToken::new());
        let error = format!("{:#}", run.await.unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
}
