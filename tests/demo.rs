//! `flowlaunch demo`: with nothing set up, to an account of every job. No server needed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here and says why")]

mod common;

use std::path::Path;

use common::process::{Process, exit_code};
use common::wait::{LONG, SOON, eventually};
use common::worker::run;
use common::{flowlaunch, http};
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn it_ends_with_an_account_of_every_job_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said, shown) = run(
        &["demo", "--jobs", "500", "--rate", "60/s", "--json"],
        folder.path(),
        "",
    );
    assert_eq!(code, 0, "{said}{shown}");
    let account: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(account["unaccounted"], Value::Array(vec![]), "{account}");
    let dead = account["dead"].as_object().unwrap();
    let died: u64 = dead.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(account["launched"].as_u64().unwrap() + died, 500, "{account}");
    // One in a hundred is bad, and an answer or two were lost.
    assert_eq!(
        [&dead["malformed"], &dead["refused"], &dead["expired"]],
        [3, 1, 1],
        "{account}"
    );
    assert!(account["throttled"].as_u64().unwrap() > 0, "{account}");
    assert!(
        account["calls"].as_u64().unwrap() <= account["allowed"].as_u64().unwrap() + 60,
        "{account}"
    );
    // Plain lines, where there is no terminal.
    assert!(
        shown.contains("in flight") && !shown.contains('\r') && !shown.contains('\u{1b}'),
        "{shown:?}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn as_it_comes_it_ends_with_a_text_for_80_columns_whose_next_commands_are_commands() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said, shown) = run(&["demo"], folder.path(), "");
    assert_eq!(code, 0, "{said}{shown}");
    for words in [
        "1000 jobs in ",
        "each of them accounted for",
        "expired 2, malformed 6, refused 2",
        "answered 429",
    ] {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
    let long: Vec<_> = said.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(long.is_empty(), "{long:#?}");
    let (_, next) = said.split_once("\nNext:\n").unwrap();
    let mut commands = 0;
    for line in next.lines() {
        let (command, _) = line.trim_start().split_once("  ").unwrap();
        let parsed = flowlaunch::cli::command_line().try_get_matches_from(command.split_whitespace());
        assert!(parsed.is_ok(), "{command}: {parsed:?}");
        commands += 1;
    }
    assert!(commands >= 4, "{next}");
}

/// What is seen of a line on a terminal: without the sequences that move and colour.
fn bare(line: &str) -> String {
    let mut bare = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // ESC [ … letter
            let _ = chars.by_ref().skip(1).find(char::is_ascii_alphabetic);
        } else {
            bare.push(c);
        }
    }
    bare
}

#[test]
fn on_a_terminal_of_80_columns_it_draws_and_nothing_is_wider() {
    let folder = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_flowlaunch");
    let command = format!("stty cols 80 rows 24; exec {binary} demo --jobs 150 --rate 60/s");
    // `script` of util-linux: a terminal of its own for the command, and its exit code.
    let ended = std::process::Command::new("script")
        .args(["-qec", &command, "typescript"])
        .env("TERM", "xterm")
        .current_dir(folder.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let shown = std::fs::read_to_string(folder.path().join("typescript")).unwrap();
    assert!(ended.status.success(), "{shown}");
    assert!(
        shown.contains('\u{1b}') && shown.contains("in flight") && shown.contains("gate open"),
        "{shown:?}"
    );
    // What `script` itself writes at the beginning and the end is not on that terminal.
    let lines = shown.lines().filter(|line| !line.starts_with("Script "));
    for line in lines.flat_map(|line| line.split('\r')).map(bare) {
        assert!(line.chars().count() <= 80, "{line:?}");
    }
}

#[test]
fn a_rate_that_is_none_is_a_mistake_in_its_use() {
    let folder = tempfile::tempdir().unwrap();
    for (args, wanted) in [
        (&["demo", "--rate", "fast"][..], "--rate"),
        (&["demo", "--jobs", "0"][..], "--jobs"),
        (&["demo", "--set", "limits.rate=1/s"][..], "only its own flags"),
    ] {
        let (code, _, error) = run(args, folder.path(), "");
        assert_eq!(code, 2, "{args:?}: {error}");
        assert!(error.contains(wanted), "{args:?}: {error}");
    }
}

/// Starts a demo; what it says goes to `out`.
fn start(args: &[&str], folder: &Path) -> Process {
    let mut command = flowlaunch();
    command.arg("demo").args(args).current_dir(folder).env("TMPDIR", folder);
    Process::spawn("flowlaunch demo", &mut command, &folder.join("out"))
}

async fn says(folder: &Path, wanted: &str) -> String {
    eventually(wanted, LONG, async || {
        let said = std::fs::read_to_string(folder.join("out")).unwrap_or_default();
        if said.contains(wanted) { Ok(said) } else { Err(said) }
    })
    .await
}

#[tokio::test]
async fn kept_running_it_serves_its_metrics_takes_more_jobs_and_ends_with_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = start(&["--jobs", "20", "--rate", "100/s", "--keep"], folder.path());
    let said = says(folder.path(), "It goes on until Ctrl-C").await;
    let url = said.split_whitespace().find(|word| word.ends_with("/metrics")).unwrap();
    let (status, metrics) = http::get(url).await.unwrap();
    assert!(
        status == 200 && metrics.contains("flowlaunch_jobs_settled_total"),
        "{metrics}"
    );
    let config = said
        .split_whitespace()
        .find(|word| word.ends_with("flowlaunch.toml"))
        .unwrap();
    let job = r#"{"flowId":"5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b","id":"mine","inputs":{"mine":true}}"#;
    let (code, _, error) = run(&["publish", "--config", config, "-"], folder.path(), job);
    assert_eq!(code, 0, "{error}");
    let launches = said
        .split_whitespace()
        .find(|word| word.ends_with("/_sim/launches"))
        .unwrap();
    eventually("the job to be launched", SOON, async || {
        let (_, launches) = http::get(launches).await?;
        if launches.contains("\"mine\"") {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    })
    .await;
    demo.signal(Signal::SIGINT);
    assert_eq!(exit_code(demo.wait(SOON).await), 0);
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["out"], "the temporary folder is gone");
}

#[tokio::test]
async fn interrupted_it_says_how_things_stand() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = start(&["--jobs", "1000", "--rate", "20/s"], folder.path());
    says(folder.path(), "in flight").await;
    demo.signal(Signal::SIGINT);
    assert_eq!(exit_code(demo.wait(SOON).await), 130);
    let said = std::fs::read_to_string(folder.path().join("out")).unwrap();
    assert!(said.contains("interrupted") && !said.contains("no result"), "{said}");
}
