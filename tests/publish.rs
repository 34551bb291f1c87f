//! `flowlaunch publish`: everything is checked before anything is sent, and an interrupted run can be gone on with.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here and says why")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::process::{Process, exit_code};
use common::worker::run;
use common::{Amqp, LONG, Prefix, Rabbit, SOON, eventually, flowlaunch, shared};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

fn job(n: usize) -> String {
    format!("{{\"flowId\": \"0f5e4b1c-0000-4000-8000-{n:012x}\", \"id\": \"job-{n}\", \"inputs\": {{\"n\": {n}}}}}")
}

fn place(url: &str, prefix: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let settings = format!("broker.url = \"{url}\"\nbroker.prefix = \"{prefix}\"\n");
    std::fs::write(folder.path().join("flowlaunch.toml"), settings).unwrap();
    folder
}

fn write_jobs(folder: &Path, count: usize) {
    let text: String = (1..=count).map(|n| job(n) + "\n").collect();
    std::fs::write(folder.join("jobs.jsonl"), text).unwrap();
}

/// How often each job lies in the lane.
async fn lying(amqp: &Amqp, lane: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for message in amqp.drain(lane).await {
        *counts.entry(message.message_id().unwrap()).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn a_file_and_standard_input_end_in_their_lanes_byte_for_byte() {
    let node = shared();
    let prefix = Prefix::new(&node, "publish");
    let folder = place(node.url(), prefix.name());
    let amqp = Amqp::connect(node.url()).await;
    // Lines as Windows ends them, empty ones, and a last one without an end.
    let text = format!("{}\r\n\r\n   \r\n{}\n\n{}", job(1), job(2), job(3));
    std::fs::write(folder.path().join("jobs.jsonl"), &text).unwrap();
    let (code, out, err) = run(&["publish", "jobs.jsonl"], folder.path(), "");
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "3 jobs published into lane normal\n", "")
    );
    let (code, out, _) = run(&["publish", "--lane", "bulk", "--json"], folder.path(), &text);
    let account: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &account),
        (0, &serde_json::json!({"lane": "bulk", "published": 3, "jobs": 3}))
    );
    // Line 4 is the second job.
    let (code, out, _) = run(&["publish", "-", "--from-line", "4"], folder.path(), &text);
    assert_eq!((code, out.as_str()), (0, "2 jobs published into lane normal\n"));

    for (lane, wanted) in [("normal", vec![1, 2, 3, 2, 3]), ("bulk", vec![1, 2, 3])] {
        let found = amqp.drain(&format!("{prefix}.jobs.{lane}")).await;
        // There is no order among jobs.
        let mut bodies: Vec<_> = found
            .iter()
            .map(|message| String::from_utf8(message.body.clone()).unwrap())
            .collect();
        bodies.sort();
        let mut wanted: Vec<_> = wanted.into_iter().map(job).collect();
        wanted.sort();
        assert_eq!(bodies, wanted, "{lane}");
        let has_id = |message: &common::Message| message.message_id().as_deref() == message.json()["id"].as_str();
        assert!(found.iter().all(has_id), "{found:?}");
    }
}

#[tokio::test]
async fn bad_lines_are_named_by_number_and_then_nothing_is_sent() {
    let node = shared();
    let prefix = Prefix::new(&node, "publish-bad");
    let folder = place(node.url(), prefix.name());
    assert_eq!(run(&["topology", "apply"], folder.path(), "").0, 0);
    let text = format!(
        "{}\n\n{{\"flowId\": \"7\"}}\n{}\r\nnonsense\n{}\n",
        job(1),
        job(2),
        job(3).replace("inputs", "inputData")
    );
    let (code, out, err) = run(&["publish"], folder.path(), &text);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines.len(), 4, "{err}");
    assert!(
        lines[0].contains("3 of 5 lines cannot be published; nothing was sent"),
        "{err}"
    );
    assert!(
        lines[1].starts_with("  line 3, column ") && lines[1].contains("flowId: must be a UUID"),
        "{err}"
    );
    assert!(lines[2].starts_with("  line 5, column 1: "), "{err}");
    assert!(
        lines[3].starts_with("  line 6, column ") && lines[3].contains("`inputs`"),
        "{err}"
    );
    // One without an end is not kept whole, and the next one has its number all the same.
    let (code, _, err) = run(&["publish"], folder.path(), &format!("{}\nx\n", "y".repeat(3_000_000)));
    let lines: Vec<&str> = err.lines().collect();
    assert!(
        code == 2
            && lines[1].contains("line 1")
            && lines[1].contains("512000")
            && lines[2].contains("line 2, column 1"),
        "{err}"
    );
    // Many are counted.
    let (code, _, err) = run(&["publish"], folder.path(), &"x\n".repeat(1000));
    assert!(
        code == 2 && err.lines().count() == 22 && err.contains("and 980 more"),
        "{err}"
    );
    let (code, _, err) = run(&["publish", "--from-line", "9"], folder.path(), &job(1));
    assert!(
        code == 2 && err.contains("--from-line 9: the input has no job from there on"),
        "{err}"
    );
    let amqp = Amqp::connect(node.url()).await;
    assert_eq!(amqp.count(&format!("{prefix}.jobs.normal")).await, Some(0));
}

/// Starts `publish --json` of the jobs file, and does something once the first hundred jobs are in the lane.
async fn interrupted(folder: &Path, amqp: &Amqp, lane: &str, act: impl AsyncFnOnce(&mut Process)) -> (i32, String) {
    let output = folder.join("out");
    let mut command = flowlaunch();
    command
        .args(["publish", "jobs.jsonl", "--lane", "bulk", "--json"])
        .current_dir(folder);
    let mut process = Process::spawn("flowlaunch publish", &mut command, &output);
    eventually("the first jobs to be in the lane", LONG, async || {
        match amqp.count(lane).await {
            Some(count) if count >= 100 => Ok(()),
            seen => Err(seen),
        }
    })
    .await;
    act(&mut process).await;
    let code = exit_code(process.wait(LONG).await);
    (code, std::fs::read_to_string(output).unwrap())
}

#[tokio::test]
async fn a_run_that_a_signal_ends_is_gone_on_with_and_nothing_is_there_twice() {
    const JOBS: usize = 10_000;
    let node = shared();
    let prefix = Prefix::new(&node, "publish-signal");
    let folder = place(node.url(), prefix.name());
    write_jobs(folder.path(), JOBS);
    let amqp = Amqp::connect(node.url()).await;
    let lane = format!("{prefix}.jobs.bulk");
    let (code, said) = interrupted(folder.path(), &amqp, &lane, async |process| {
        process.signal(Signal::SIGINT)
    })
    .await;
    assert_eq!(code, 130, "{said}");
    let account: Value = serde_json::from_str(said.trim()).unwrap_or_else(|_| panic!("{said}"));
    let published = account["published"].as_u64().unwrap();
    let from = account["goOnFromLine"].as_u64().expect("it was interrupted half-way");
    // Each line is a job: exact, and nothing in doubt.
    assert_eq!((from, account.get("inDoubt")), (published + 1, None), "{said}");
    assert!(published < JOBS as u64, "{said}");
    amqp.wait_count(&lane, u32::try_from(published).unwrap()).await;

    let (code, out, err) = run(
        &[
            "publish",
            "jobs.jsonl",
            "--lane",
            "bulk",
            "--from-line",
            &from.to_string(),
        ],
        folder.path(),
        "",
    );
    assert_eq!(code, 0, "{out}{err}");
    let there = lying(&amqp, &lane).await;
    assert_eq!((there.len(), there.values().max()), (JOBS, Some(&1)));
}

#[tokio::test]
async fn a_run_whose_broker_dies_names_what_is_in_doubt_and_nothing_is_there_twice() {
    const JOBS: usize = 10_000;
    let mut rabbit = Rabbit::start().await;
    let folder = place(rabbit.url(), "killed");
    write_jobs(folder.path(), JOBS);
    let lane = "killed.jobs.bulk";
    assert_eq!(run(&["topology", "apply"], folder.path(), "").0, 0);
    // Younger than this, the queue of a killed 3.10 node comes back leaderless.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    let amqp = Amqp::connect(rabbit.url()).await;
    let (code, said) = interrupted(folder.path(), &amqp, lane, async |_| rabbit.kill()).await;
    assert_eq!(code, 1, "{said}");
    let line = said.lines().find(|line| line.starts_with('{')).unwrap();
    let account: Value = serde_json::from_str(line).unwrap();
    let from = account["goOnFromLine"].as_u64().unwrap();
    let ranges = |name: &str| -> Vec<u64> {
        let ranges = account[name].as_array().cloned().unwrap_or_default();
        ranges
            .iter()
            .flat_map(|range| range[0].as_u64().unwrap()..=range[1].as_u64().unwrap())
            .collect()
    };
    let (doubt, absent) = (ranges("inDoubt"), ranges("absent"));
    assert!(said.contains(&format!("Go on with --from-line {from}")), "{said}");
    assert!(
        doubt.is_empty() || said.contains("each may be in the lane or not"),
        "{said}"
    );

    rabbit.start_again().await;
    let from = from.to_string();
    let again = ["publish", "jobs.jsonl", "--lane", "bulk", "--from-line", &from];
    // A node that has just come back may have a queue that is not up yet: then nothing was sent.
    eventually("publish to go on", LONG, async || {
        match run(&again, folder.path(), "") {
            (0, _, _) => Ok(()),
            (1, out, err) if out.is_empty() && err.contains("Try again in a moment") => Err(err),
            other => panic!("{other:?}"),
        }
    })
    .await;
    let amqp = Amqp::connect(rabbit.url()).await;
    let there = eventually("the lane to answer", SOON, async || {
        let there = lying(&amqp, lane).await;
        if there.is_empty() { Err("empty") } else { Ok(there) }
    })
    .await;
    assert_eq!(there.values().max(), Some(&1), "something is there twice");
    // What is missing was named: nothing is lost in silence.
    let missing: Vec<u64> = (1..=JOBS as u64)
        .filter(|n| !there.contains_key(&format!("job-{n}")))
        .collect();
    assert!(
        missing.iter().all(|n| doubt.contains(n) || absent.contains(n)),
        "{missing:?} of {account}"
    );
    assert!(absent.iter().all(|n| missing.contains(n)), "{absent:?}");
}

#[tokio::test]
async fn a_full_lane_refuses_and_what_it_did_not_take_is_told_from_what_it_took() {
    let rabbit = Rabbit::start().await;
    let folder = place(rabbit.url(), "full");
    write_jobs(folder.path(), 5_000);
    assert_eq!(run(&["topology", "apply"], folder.path(), "").0, 0);
    rabbit.ctl(&[
        "set_policy",
        "limit",
        "^full.jobs.bulk$",
        "{\"max-length\":500}",
        "--apply-to",
        "queues",
    ]);
    let (code, out, err) = run(
        &["publish", "jobs.jsonl", "--lane", "bulk", "--json"],
        folder.path(),
        "",
    );
    assert_eq!(code, 1, "{out}{err}");
    assert!(
        err.contains("the broker refused the message (a full queue refuses publishes"),
        "{err}"
    );
    let account: Value = serde_json::from_str(out.trim()).unwrap();
    rabbit.ctl(&["clear_policy", "limit"]);
    let amqp = Amqp::connect(rabbit.url()).await;
    let there = lying(&amqp, "full.jobs.bulk").await;
    let from = account["goOnFromLine"].as_u64().unwrap();
    assert_eq!(account["published"].as_u64().unwrap(), there.len() as u64);
    assert!(account.get("inDoubt").is_none(), "{account}");
    let absent = account["absent"].as_array().cloned().unwrap_or_default();
    let is_absent = |n: u64| {
        absent
            .iter()
            .any(|r| (r[0].as_u64().unwrap()..=r[1].as_u64().unwrap()).contains(&n))
    };
    for n in 1..=5_000 {
        let wanted = n < from && !is_absent(n);
        assert_eq!(there.contains_key(&format!("job-{n}")), wanted, "line {n}: {account}");
    }
}
