//! `flowlaunch campaign plan`, as a person uses it, and the check of inputs that `run` makes too.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod common;

use std::fmt::Write as _;

use common::worker::run;
use common::{Sim, Worker};
use serde_json::{Value, json};

const FLOW: &str = "5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b";
const OTHER: &str = "6f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b";
const NONE: &str = "7f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b";
const ZONES: [&str; 3] = ["Europe/Berlin", "America/New_York", "Asia/Kolkata"];

fn list(rows: usize) -> String {
    let mut text = "customer_id,email,amount,zone\n".to_owned();
    for n in 0..rows {
        let _ = writeln!(text, "c{n},ann{n}@example.com,{n}.10,{}", ZONES[n % ZONES.len()]);
    }
    text
}

const SETTINGS: [&str; 14] = [
    "--pace",
    "120/min",
    "--flow-id",
    FLOW,
    "--key",
    "customer_id",
    "--map",
    "amount:number=amount",
    "--skip",
    "zone",
    "--windows",
    "Mon-Sun 09:00-18:00",
    "--timezone-column",
    "zone",
];

#[test]
fn a_plan_tells_all_of_it_on_80_columns_and_launches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bad = "c5,again@example.com,1,Europe/Berlin\nnew,x@example.com,1,Mars/Base\nshort,y\n";
    std::fs::write(folder.path().join("list.csv"), list(20_000) + bad).unwrap();
    let plan = [
        "campaign",
        "plan",
        "list.csv",
        "--name",
        "spring",
        "--write",
        "spring.toml",
    ];
    let (code, said, error) = run(&[&plan[..], &SETTINGS].concat(), folder.path(), "");
    assert_eq!(code, 1, "{said}{error}");
    for wanted in [
        "20000  that can be launched",
        "line 20003, column zone: \"Mars/Base\"",
        "line 20004: has 2 cells, and the header has 4",
        "all of those are in spring-rejects.csv",
        "40 % of what limits.rate (300/min) allows",
        "Europe/Berlin",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    let body =
        format!(r#"{{"flowId":"{FLOW}","inputs":{{"customer_id":"c0","email":"ann0@example.com","amount":0.10}}}}"#);
    assert!(said.contains(&body), "the very bytes of the first request: {said}");
    assert!(error.contains("2 rows cannot be launched"), "{error}");
    let long: Vec<_> = said
        .lines()
        .filter(|line| line.chars().count() > 80 && !line.starts_with(['{', ' ']))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
    let rejects = std::fs::read_to_string(folder.path().join("spring-rejects.csv")).unwrap();
    assert_eq!(rejects.lines().count(), 4, "{rejects}");

    // The file that it wrote says the same; a flag goes before it.
    let again = [
        "campaign",
        "plan",
        "--file",
        "spring.toml",
        "--skip-bad",
        "--pace",
        "600/min",
        "--json",
    ];
    let (code, said, error) = run(&again, folder.path(), "");
    assert_eq!(code, 0, "{said}{error}");
    let plan: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&plan["rows"], &plan["bad"], &plan["repeated"]),
        (&20_000.into(), &2.into(), &1.into())
    );
    assert_eq!(plan["launched"], 20_000);
    assert_eq!(plan["firstRequest"], body);
    let launches = |bin: &Value| {
        bin["launches"]
            .as_object()
            .unwrap()
            .values()
            .filter_map(Value::as_u64)
            .sum::<u64>()
    };
    assert_eq!(
        plan["bins"].as_array().unwrap().iter().map(launches).sum::<u64>(),
        20_000
    );
    let (_, said, _) = run(
        &["campaign", "plan", "--file", "spring.toml", "--pace", "600/min"],
        folder.path(),
        "",
    );
    assert!(
        said.contains("200 % of what limits.rate (300/min) allows") && said.contains("WARNING"),
        "{said}"
    );
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !["list.csv", "spring.toml", "spring-rejects.csv"].contains(&name.as_str()))
        .collect();
    assert!(left.is_empty(), "neither a queue nor a journal was made: {left:?}");
}

#[test]
fn rows_come_from_standard_input_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["campaign", "plan", "-", "--name", "spring", "--json"];
    let (code, said, error) = run(&[&args[..], &SETTINGS].concat(), folder.path(), &list(30));
    assert_eq!(code, 0, "{said}{error}");
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["rows"], 30);
}

#[test]
fn a_mistake_in_its_use_is_named_and_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("list.csv"), list(3)).unwrap();
    std::fs::write(folder.path().join("empty.csv"), "").unwrap();
    std::fs::write(folder.path().join("wrong.toml"), "paces = \"1/s\"\n").unwrap();
    let named = ["--name", "spring", "--flow-id", FLOW];
    for (args, wanted) in [
        (&["list.csv"][..], "--name"),
        (&["--name", "spring"], "say which rows"),
        (&["list.csv", "--name", "a b"], "letters, digits"),
        (&["list.csv", "--name", "spring"], "--flow-id"),
        (
            &[&["list.csv", "--key", "custmer_id"][..], &named].concat(),
            "did you mean customer_id",
        ),
        (&[&["list.csv", "--pace", "fast"][..], &named].concat(), "pace"),
        (
            &[&["list.csv", "--windows", "Mon-Fri 09:00-18:00"][..], &named].concat(),
            "no time zone is given",
        ),
        (
            &[&["list.csv", "--timezone", "Berlin"][..], &named].concat(),
            "timezone",
        ),
        (&[&["list.csv", "--start", "tomorrow"][..], &named].concat(), "start"),
        (&[&["list.csv", "--input", "x"][..], &named].concat(), "KEY=TEXT"),
        (&[&["missing.csv"][..], &named].concat(), "cannot read missing.csv"),
        (&[&["empty.csv"][..], &named].concat(), "is empty"),
        (&["--file", "wrong.toml"], "paces"),
    ] {
        let (code, said, error) = run(&[&["campaign", "plan"][..], args].concat(), folder.path(), "");
        assert_eq!((code, said.as_str()), (2, ""), "{args:?}: {error}");
        assert!(error.contains(wanted), "{args:?}: {error}");
    }
}

/// A simulator with two flows, one of which says what it asks for, and a folder that knows of it.
async fn with_flows() -> (Sim, tempfile::TempDir) {
    let sim = Sim::start().await;
    let schema = json!({
        "type": "object", "required": ["Flow.email"],
        "properties": { "Flow.email": { "type": "string" }, "Flow.amount": { "type": "number" } },
    });
    let flows = json!([{ "id": FLOW, "name": "Order", "inputSchema": schema }, { "id": OTHER, "name": "Silent" }]);
    sim.patch_settings(&json!({ "flows": flows })).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = Worker::builder("sqlite:jobs.db", "t", &sim.base_url(), &sim.login_url()).toml();
    std::fs::write(folder.path().join("flowlaunch.toml"), settings).unwrap();
    (sim, folder)
}

#[tokio::test]
async fn inputs_are_held_against_what_the_flow_asks_for() {
    let (sim, folder) = with_flows().await;
    let plan = |rows: &str, more: &[&str]| {
        let args = ["campaign", "plan", "-", "--name", "spring", "--check-inputs"];
        run(&[&args, more].concat(), folder.path(), rows)
    };
    let rows = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let one = ["--flow-id", FLOW];

    // A wrong column name.
    let (code, said, error) = plan("emial,amount\na@b.c,1\n", &one);
    assert_eq!(code, 1, "{said}{error}");
    let wanted = "line 2: the flow has no input emial; did you mean email?";
    assert!(said.contains(wanted), "{said}");
    assert!(said.contains("the flow needs the input Flow.email"), "{said}");
    assert!(rows("spring-rejects.csv").contains("no input emial"));

    // Texts where numbers are wanted, and how to make them such.
    let two = "email,amount\na@b.c,1\nd@e.f,2\n";
    let (code, said, error) = plan(two, &one);
    assert_eq!(code, 1, "{said}{error}");
    for line in [2, 3] {
        let wanted = format!("line {line}: the input amount has to be of type number, and is of type string");
        assert!(said.contains(&wanted), "{said}");
    }
    assert!(error.contains("2 rows cannot be launched"), "{error}");
    let (code, said, error) = plan(two, &[&one[..], &["--map", "amount:number=amount"]].concat());
    assert_eq!((code, error.as_str()), (0, ""), "{said}");

    // A row without a required one, among others.
    let lines = "{\"email\":\"a\"}\n{\"amount\":1}\n{\"Flow.email\":\"a\",\"Flow.amount\":1}\n";
    let (code, said, error) = plan(lines, &[&one[..], &["--json"]].concat());
    assert_eq!(code, 1, "{said}{error}");
    let planned: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&planned["rows"], &planned["bad"]), (&2.into(), &1.into()), "{said}");
    assert!(rows("spring-rejects.csv").contains("2,,\"the flow needs the input Flow.email"));

    // Each row's own flow: one says nothing, one is not there.
    let flows = format!("flow,email,x\n{FLOW},a,b\n{OTHER},a,b\n{NONE},a,b\n");
    let (code, said, error) = plan(&flows, &["--flow-column", "flow"]);
    assert_eq!(code, 1, "{said}{error}");
    assert!(said.contains("line 2: the flow has no input flow"), "{said}");
    assert!(!said.contains("line 3"), "{said}");
    assert!(said.contains(&format!("line 4: no flow has the id {NONE}")), "{said}");
    assert!(
        error.contains(&format!("does not say what flow Silent ({OTHER}) asks for")),
        "{error}"
    );
    assert_eq!(sim.launches().await, Vec::<Value>::new());

    // What runs holds them against it in the same way, and publishes nothing when one is bad.
    let go = |rows: &str| {
        let args = ["campaign", "run", "-", "--name", "go", "--check-inputs", "--yes"];
        run(&[&args[..], &one, &["--format", "jsonl"]].concat(), folder.path(), rows)
    };
    let (code, said, error) = go(lines);
    assert_eq!(code, 1, "{said}{error}");
    assert!(error.contains("nothing was published"), "{error}");
    assert!(rows("go-rejects.csv").contains("the flow needs the input Flow.email"));
    assert_eq!(sim.launches().await, Vec::<Value>::new());
    let (code, said, error) = go("{\"email\":\"a\",\"amount\":1}\n");
    assert_eq!(code, 0, "{said}{error}");
    assert_eq!(sim.launches().await.len(), 1);
}

#[tokio::test]
async fn inputs_that_cannot_be_checked_are_not_passed_as_good() {
    let (sim, folder) = with_flows().await;
    let args = [
        "campaign",
        "plan",
        "-",
        "--name",
        "spring",
        "--check-inputs",
        "--flow-id",
        FLOW,
    ];
    let rule = json!({ "endpoint": "flows", "status": 403 });
    sim.set_rules(&json!([rule])).await;
    let (code, said, error) = run(&args, folder.path(), "email\na@b.c\n");
    assert_eq!((code, said.as_str()), (1, ""), "{error}");
    assert!(
        error.contains("cannot look at flow") && error.contains("architect:flow:view"),
        "{error}"
    );
    // Nobody needs the API for a plan without it.
    let (code, said, error) = run(
        &["campaign", "plan", "-", "--name", "spring", "--flow-id", FLOW],
        folder.path(),
        "x\n1\n",
    );
    assert_eq!((code, error.as_str()), (0, ""), "{said}");
}
