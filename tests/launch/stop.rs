//! Ctrl-C: at any moment, at once; and what was launched is told.

use std::io::Write as _;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::common::process::{Process, exit_code};
use super::common::wait::{SOON, eventually, until};
use super::rig::{FLOW, Place};

/// `flowlaunch launch` in the background; what it says goes to `out`.
fn start(place: &Place, more: &[&str]) -> Process {
    let mut command = place.command(&["launch", "--flow-id", FLOW]);
    command.args(more);
    Process::spawn("flowlaunch launch", &mut command, &place.path().join("out"))
}

fn said(place: &Place) -> String {
    std::fs::read_to_string(place.path().join("out")).unwrap_or_default()
}

#[tokio::test]
async fn while_it_waits_it_ends_and_says_which_execution_goes_on() {
    let place = Place::with(&["--rate", "unlimited", "--run-seconds", "100000"]).await;
    let mut launch = start(&place, &["--wait"]);
    let words = eventually("it to wait", SOON, async || {
        let said = said(&place);
        if said.contains("waiting for its end") {
            Ok(said)
        } else {
            Err(said)
        }
    })
    .await;
    let id = words.split_whitespace().find(|word| word.starts_with("exec-")).unwrap();
    launch.signal(Signal::SIGINT);
    assert_eq!(exit_code(launch.wait(SOON).await), 130);
    let words = said(&place);
    let id = id.trim_end_matches(';');
    assert!(
        words.contains(&format!("execution {id} was launched and goes on")),
        "{words}"
    );
}

#[tokio::test]
async fn a_look_that_hangs_is_not_awaited() {
    let place = Place::new().await;
    place
        .sim
        .set_rules(&json!([{ "endpoint": "poll", "delaySeconds": 100_000 }]))
        .await;
    // Longer than the test waits for it to end.
    let more = ["--wait", "--json", "--set", "api.timeout=10m"];
    let mut launch = start(&place, &more);
    let hits = async || place.sim.stats().await["rules"][0]["hits"] == 1;
    until("the look", SOON, hits).await;
    launch.signal(Signal::SIGINT);
    assert_eq!(exit_code(launch.wait(SOON).await), 130);
    let words = said(&place);
    let record: Value = serde_json::from_str(words.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
    assert!(record["executionId"].is_string(), "{words}");
    assert_eq!(
        (&record["ended"], &record["error"]["class"]),
        (&json!(false), &json!("interrupted"))
    );
}

#[tokio::test]
async fn a_login_that_hangs_is_not_awaited_and_nothing_was_launched() {
    let place = Place::new().await;
    place
        .sim
        .set_rules(&json!([{ "endpoint": "token", "delaySeconds": 100_000 }]))
        .await;
    let mut launch = start(&place, &["--set", "api.timeout=10m"]);
    until("the login", SOON, async || {
        place.sim.stats().await["rules"][0]["hits"] == 1
    })
    .await;
    launch.signal(Signal::SIGINT);
    assert_eq!(exit_code(launch.wait(SOON).await), 130);
    assert!(
        said(&place).contains("interrupted: nothing was launched"),
        "{}",
        said(&place)
    );
    assert!(place.sim.requests().await.is_empty());
}

#[tokio::test]
async fn a_launch_that_was_sent_is_awaited_and_told() {
    let place = Place::new().await;
    place.sim.set_rules(&json!([{ "delaySeconds": 10 }])).await;
    let mut launch = start(&place, &[]);
    until("the launch", SOON, async || place.sim.launches().await.len() == 1).await;
    launch.signal(Signal::SIGINT);
    assert_eq!(exit_code(launch.wait(SOON).await), 130);
    assert!(said(&place).contains("launched: execution exec-"), "{}", said(&place));
}

#[tokio::test]
async fn while_it_reads_the_standard_input_it_ends_and_launches_nothing() {
    let place = Place::new().await;
    let mut command = place.command(&["launch", "--flow-id", FLOW, "--inputs", "-"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // More than a pipe holds: once it is written, it is being read.
    pipe.write_all(&[b' '; 1 << 20]).unwrap();
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let status = eventually("it to end", SOON, async || child.try_wait().unwrap().ok_or("it runs")).await;
    assert_eq!(exit_code(status), 130);
    let mut words = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut words).unwrap();
    assert!(words.contains("interrupted: nothing was launched"), "{words}");
    assert!(place.sim.requests().await.is_empty());
    drop(pipe);
}
