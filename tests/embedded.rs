//! The embedded broker under real processes: killed, suspended, locked out, out of room. No server needed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what it did not expect, and prints its figures"
)]

mod common;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::jobs::{
    assert_launched_once_each, job, launch_count, launches_by_job, now_micros, slow, wait_each_launched, wait_launches,
};
use common::process::{Process, exit_code};
use common::wait::{LONG, eventually, until};
use common::worker::{Builder, run};
use common::{Sim, Worker, flowlaunch};
use flowlaunch::broker::client::Broker;
use flowlaunch::broker::settings::{Declare, Settings};
use flowlaunch::broker::sqlite::Sqlite;
use flowlaunch::broker::{Browse, Destination, Message};
use flowlaunch::lane::Lane;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const SLOTS: usize = 12;
/// What a worker with that many slots and no rate limit may have in hand of a lane.
const PREFETCH: usize = SLOTS * 16;

/// A folder with the broker's file in it, and a simulator.
struct Stage {
    dir: TempDir,
    sim: Sim,
}

impl Stage {
    async fn set() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            sim: Sim::start().await,
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("jobs.db")
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.file().display())
    }

    fn worker(&self) -> Builder {
        Worker::builder(&self.url(), "flowlaunch", &self.sim.base_url(), &self.sim.login_url())
            .set("limits.concurrency", SLOTS)
    }

    /// Jobs `0..count`, a line each.
    fn input(&self, count: usize) -> PathBuf {
        let path = self.dir.path().join("jobs.jsonl");
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
        for n in 0..count {
            writeln!(file, "{}", job(n)).unwrap();
        }
        path
    }

    fn publish(&self, input: &Path) {
        let (broker, input) = (format!("broker.url={}", self.url()), input.to_str().unwrap());
        let args = ["publish", "--lane", "bulk", "--set", &broker, input];
        let (code, said, error) = run(&args, self.dir.path(), "");
        assert_eq!(code, 0, "{said}{error}");
    }

    /// What waits in a queue, ready.
    fn waiting(&self, queue: &str) -> usize {
        let report = Sqlite::inspect(&self.file()).unwrap();
        let found = report.messages.iter().find(|(name, _)| *name == queue);
        found.unwrap().1.unwrap() as usize
    }

    fn in_all(&self) -> usize {
        ["normal", "bulk", "delayed", "dead", "in hand"]
            .map(|queue| self.waiting(queue))
            .iter()
            .sum()
    }
}

/// A publisher of the input's lines from a number on, as a process.
fn publisher(stage: &Stage, input: &Path, from_line: usize) -> Process {
    let mut command = flowlaunch();
    command
        .args(["publish", "--lane", "bulk", "--set"])
        .arg(format!("broker.url={}", stage.url()));
    command.arg("--from-line").arg(from_line.to_string()).arg(input);
    Process::spawn("publish", &mut command, &stage.dir.path().join("publish.log"))
}

#[tokio::test(flavor = "multi_thread")]
async fn five_kills_of_the_publisher_and_five_of_the_worker_lose_none_of_20000_jobs() {
    const JOBS: usize = 20_000;
    let stage = Stage::set().await;
    let input = stage.input(JOBS);
    stage.sim.set_rules(&json!([slow(Duration::from_millis(5))])).await;
    let mut worker = stage.worker().ready().await;
    let (mut there, mut cut, mut kills) = (0, 0, Vec::new());
    for kill in 1..=5 {
        let mut publishing = publisher(&stage, &input, there + 1);
        // In the midst of it: a whole run takes less than a second.
        while publishing.is_running() && stage.waiting("bulk") < 1_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
        publishing.kill();
        wait_launches(&stage.sim, there + 500).await;
        worker.kill();
        kills.push(now_micros());
        worker.start_again();
        eventually("all that was published to be done", LONG, async || {
            match stage.in_all() {
                0 => Ok(()),
                left => Err(left),
            }
        })
        .await;
        // What is there after a kill is a beginning of the file: the next run goes on behind it, and nothing is there twice.
        let before = there;
        there = launches_by_job(&stage.sim).await.len();
        assert!(there > before);
        cut += usize::from(there < JOBS);
        println!("kill {kill} of both: {there} lines were there");
    }
    assert!(cut >= 3, "the story needs publishers that are killed at work: {cut}");
    if there < JOBS {
        assert_eq!(exit_code(publisher(&stage, &input, there + 1).wait(LONG).await), 0);
    }
    wait_each_launched(&stage.sim, JOBS).await;
    worker.term();
    assert_eq!(worker.wait_exit().await, 0);
    assert_eq!(stage.in_all(), 0, "what was in hand is settled, or back");

    let by_job = launches_by_job(&stage.sim).await;
    let lost: Vec<_> = (0..JOBS).filter(|n| !by_job.contains_key(n)).collect();
    assert!(lost.is_empty(), "{} jobs lost: {lost:?}", lost.len());
    let mut extra = 0;
    for (n, launches) in &by_job {
        for pair in launches.windows(2) {
            let between = |kill: &&i64| (pair[0].at_micros..pair[1].at_micros).contains(*kill);
            assert!(
                kills.iter().any(|kill| between(&kill)),
                "job {n}: twice by one worker: {pair:#?}"
            );
            extra += 1;
        }
    }
    println!("five kills of the worker: {extra} launches repeated");
    assert!(extra <= 5 * PREFETCH, "more were repeated than were in hand");
    // A result each; those that were told before the kill and not yet acknowledged were told again.
    let told = Browser::of(&stage).results().await;
    let wanted: BTreeSet<_> = by_job.keys().map(|n| format!("job-{n}")).collect();
    assert!(
        told == wanted,
        "{} jobs have a result, and {} were launched",
        told.len(),
        wanted.len()
    );
}

/// Somebody who looks, beside all others.
struct Browser(std::sync::Arc<dyn Browse>);

impl Browser {
    fn of(stage: &Stage) -> Self {
        Self(Sqlite::browser(stage.file()))
    }

    /// The ids of all jobs that have a result.
    async fn results(&self) -> BTreeSet<String> {
        let (mut ids, mut after) = (BTreeSet::new(), 0);
        loop {
            let page = self.0.results(after, 1000, Duration::ZERO).await.unwrap();
            let Some((last, _)) = page.last() else { return ids };
            after = *last;
            for (_, result) in page {
                let record: Value = serde_json::from_slice(&result.body).unwrap();
                ids.insert(record["jobId"].as_str().unwrap().to_owned());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_a_publisher_and_one_who_looks_share_the_file_at_once() {
    const JOBS: usize = 10_000;
    let stage = Stage::set().await;
    let input = stage.input(JOBS);
    let mut workers = [stage.worker().ready().await, stage.worker().ready().await];
    let mut publishing = publisher(&stage, &input, 1);
    let looking = async {
        let browser = Browser::of(&stage);
        loop {
            assert!(browser.0.dead(10).await.unwrap().is_empty());
            if browser.results().await.len() == JOBS {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, looking).await.expect("a result of each");
    assert_eq!(exit_code(publishing.wait(LONG).await), 0);
    assert_launched_once_each(&stage.sim, JOBS).await;
    for worker in &mut workers {
        let launched = worker
            .metrics()
            .await
            .get("flowlaunch_jobs_settled_total", &[("verdict", "launched")]);
        assert!(
            launched >= 0.1 * JOBS as f64,
            "one of them had next to none: {launched}"
        );
        assert!(!worker.log().contains("locked"), "{}", worker.log());
        worker.term();
        assert_eq!(worker.wait_exit().await, 0);
    }
    assert_eq!(stage.in_all(), 0);
}

const PUBLISH_TO: &str = "FLOWLAUNCH_TEST_PUBLISH_TO";

/// In a process of its own, which is killed: publishes for ever, and says what is confirmed.
async fn publish_for_ever(url: &str) {
    let settings = Settings {
        url: url.into(),
        prefix: "flowlaunch".to_owned(),
        declare: Declare::Create,
        ca_file: None,
        client_cert_file: None,
        client_key_file: None,
    };
    let broker = Broker::new(&settings, Duration::from_secs(3600)).unwrap();
    let publisher = broker.publisher_only().unwrap().publisher();
    let publishing = (0..50_usize).map(|start| {
        let publisher = publisher.clone();
        async move {
            for n in (start..).step_by(50) {
                let message = Message {
                    body: job(n).to_string().into(),
                    ..Message::default()
                };
                publisher
                    .publish(Destination::Lane(Lane::Normal), message, LONG)
                    .await
                    .unwrap();
                println!("confirmed {n}");
            }
        }
    });
    futures_util::future::join_all(publishing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_when_its_publisher_was_killed_is_there() {
    #[allow(
        clippy::disallowed_methods,
        reason = "the test's own variable, for the process that it starts"
    )]
    if let Ok(url) = std::env::var(PUBLISH_TO) {
        return publish_for_ever(&url).await;
    }
    for round in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let (file, said) = (dir.path().join("jobs.db"), dir.path().join("said"));
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "--nocapture",
                "what_was_confirmed_when_its_publisher_was_killed_is_there",
            ])
            .env(PUBLISH_TO, format!("sqlite:{}", file.display()));
        let mut publishing = Process::spawn("the publisher", &mut command, &said);
        let confirmed = || -> Vec<usize> {
            let said = std::fs::read_to_string(&said).unwrap_or_default();
            let whole = said.rfind('\n').map_or("", |end| &said[..end]);
            let numbers = whole.lines().filter_map(|line| line.strip_prefix("confirmed "));
            numbers.map(|number| number.parse().unwrap()).collect()
        };
        until("some to be confirmed", LONG, async || {
            confirmed().len() >= 500 + 300 * round
        })
        .await;
        publishing.kill();
        let confirmed = confirmed();
        let connection = rusqlite::Connection::open(&file).unwrap();
        let mut statement = connection.prepare("SELECT body FROM message").unwrap();
        let there: BTreeSet<String> = statement
            .query_map([], |row| row.get::<_, Vec<u8>>(0))
            .unwrap()
            .map(|body| String::from_utf8(body.unwrap()).unwrap())
            .collect();
        let lost: Vec<_> = confirmed
            .iter()
            .filter(|n| !there.contains(&job(**n).to_string()))
            .collect();
        assert!(lost.is_empty(), "confirmed, and not there: {lost:?}");
        println!(
            "{} were confirmed at the kill, and {} were there",
            confirmed.len(),
            there.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_held_goes_to_the_other_one_and_what_a_suspended_one_holds_does_not() {
    let stage = Stage::set().await;
    // The first to come takes all that there is, and waits for its answers.
    stage.sim.set_rules(&json!([{ "delaySeconds": 1.0 }])).await;
    stage.publish(&stage.input(24));
    let mut held = stage.worker().ready().await;
    until("all to be in hand", LONG, async || stage.waiting("bulk") == 0).await;
    held.signal(Signal::SIGSTOP);
    let mut other = stage.worker().ready().await;
    // Longer than any lease by a clock that one might have thought of.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(stage.waiting("bulk"), 0);
    let metrics = other.metrics().await;
    assert_eq!(
        metrics.get("flowlaunch_jobs_received_total", &[]),
        0.0,
        "nobody took what it has"
    );
    held.signal(Signal::SIGCONT);
    wait_launches(&stage.sim, 24).await;
    until("all to be settled", LONG, async || {
        held.metrics()
            .await
            .get("flowlaunch_jobs_settled_total", &[("verdict", "launched")])
            == 24.0
    })
    .await;
    assert_launched_once_each(&stage.sim, 24).await;

    // Killed with everything in hand, it leaves it to the other one.
    stage.sim.forget().await;
    other.signal(Signal::SIGSTOP);
    stage.publish(&stage.input(24));
    until("all to be in hand", LONG, async || stage.waiting("bulk") == 0).await;
    held.kill();
    other.signal(Signal::SIGCONT);
    until("the other one to launch them", LONG, async || {
        let metrics = other.metrics().await;
        metrics.get("flowlaunch_jobs_settled_total", &[("verdict", "launched")]) == 24.0
    })
    .await;
    let by_job = launches_by_job(&stage.sim).await;
    assert_eq!(by_job.len(), 24);
    // Those that the killed one had sent already are window 1, and there were slots for so many.
    let twice = by_job.values().filter(|launches| launches.len() > 1).count();
    assert!(twice <= SLOTS, "{twice} launched twice");
    assert!(
        other
            .log()
            .contains("a process is gone: the jobs that it held are back")
    );
    // Its terminal is gone: an orderly end as well.
    other.signal(Signal::SIGHUP);
    assert_eq!(other.wait_exit().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_locked_for_long_holds_work_and_loses_none() {
    let stage = Stage::set().await;
    stage.sim.set_rules(&json!([slow(Duration::from_millis(20))])).await;
    stage.publish(&stage.input(2_000));
    let mut worker = stage.worker().ready().await;
    wait_launches(&stage.sim, 300).await;
    let stranger = rusqlite::Connection::open(stage.file()).unwrap();
    stranger.busy_timeout(Duration::from_secs(30)).unwrap();
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
    let body = worker
        .wait_readyz("readyz to tell of the lock", |status, body| {
            status == 503 && body.contains("locked")
        })
        .await;
    assert!(
        body.contains("is locked by another program: end that one, or wait for it"),
        "{body}"
    );
    // A publisher is told the same, and leaves nothing.
    let (broker, more) = (
        format!("broker.url={}", stage.url()),
        stage.dir.path().join("more.jsonl"),
    );
    std::fs::write(&more, job(9_999).to_string()).unwrap();
    let mut publisher = Process::spawn(
        "publish",
        flowlaunch().args(["publish", "--set", &broker]).arg(&more),
        &stage.dir.path().join("publish.log"),
    );
    until("the publisher to say why it waits", LONG, async || {
        let said = std::fs::read_to_string(stage.dir.path().join("publish.log")).unwrap();
        said.contains("waiting, for the broker takes nothing now") && said.contains("is locked by another program")
    })
    .await;
    assert!(publisher.is_running(), "it waits");
    let held = launch_count(&stage.sim).await;
    assert!(held < 2_000);
    stranger.execute_batch("COMMIT").unwrap();
    wait_launches(&stage.sim, 2_001).await;
    worker.wait_ready().await;
    eventually("the file to be empty", LONG, async || match stage.in_all() {
        0 => Ok(()),
        left => Err(left),
    })
    .await;
    let by_job = launches_by_job(&stage.sim).await;
    assert!(
        by_job.values().all(|launches| launches.len() == 1),
        "the lock cost nobody a second call"
    );
    assert_eq!(by_job.len(), 2_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_room_is_told_of_and_loses_nothing() {
    let stage = Stage::set().await;
    let input = stage.input(20_000);
    // Files may have 2 MB: what does not fit cannot be written, as on a full disk.
    let script = format!(
        "trap '' XFSZ; ulimit -f 2000; exec {} publish --lane bulk --set 'broker.url={}' {}",
        env!("CARGO_BIN_EXE_flowlaunch"),
        stage.url(),
        input.display()
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--from-line"), "it says where to go on: {said}");
    println!("{said}");
    let there = stage.waiting("bulk");
    assert!((1..20_000).contains(&there), "{there}");
    let from = said
        .split("--from-line ")
        .nth(1)
        .unwrap()
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap();
    assert_eq!(from.parse::<usize>().unwrap(), there + 1, "what it says is so");
    let (broker, input) = (format!("broker.url={}", stage.url()), input.to_str().unwrap());
    let args = [
        "publish",
        "--lane",
        "bulk",
        "--set",
        &broker,
        "--from-line",
        from,
        input,
    ];
    let (code, _, error) = run(&args, stage.dir.path(), "");
    assert_eq!(code, 0, "{error}");
    assert_eq!(stage.waiting("bulk"), 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_taken_away_under_a_worker_is_told_of_and_nothing_is_confirmed_into_it() {
    let stage = Stage::set().await;
    stage.publish(&stage.input(10));
    let mut worker = stage.worker().ready().await;
    wait_launches(&stage.sim, 10).await;
    let aside = stage.dir.path().join("aside");
    std::fs::create_dir(&aside).unwrap();
    let names: Vec<_> = std::fs::read_dir(stage.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("jobs.db") && !name.ends_with("-holders")
        })
        .collect();
    let carry = |from: &Path, to: &Path| {
        for name in &names {
            // Its log may have gone meanwhile.
            let _ = std::fs::rename(from.join(name), to.join(name));
        }
    };
    carry(stage.dir.path(), &aside);
    worker
        .wait_readyz("the worker to miss its file", |status, body| {
            status == 503 && body.contains("was moved, removed or replaced")
        })
        .await;
    // Back in its place it is the same file, and work goes on.
    carry(&aside, stage.dir.path());
    worker.wait_ready().await;
    stage.sim.forget().await;
    stage.publish(&stage.input(10));
    wait_launches(&stage.sim, 10).await;
    assert_launched_once_each(&stage.sim, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_switch_on_a_broker_that_takes_nothing_says_so_and_ends_at_the_first_signal() {
    let stage = Stage::set().await;
    stage.publish(&stage.input(1));
    let stranger = rusqlite::Connection::open(stage.file()).unwrap();
    stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
    let said = stage.dir.path().join("pause.log");
    let mut command = flowlaunch();
    command
        .args(["pause", "--all", "--set"])
        .arg(format!("broker.url={}", stage.url()));
    let mut pausing = Process::spawn("pause", &mut command, &said);
    until("it to say why it waits", LONG, async || {
        std::fs::read_to_string(&said)
            .unwrap()
            .contains("waiting, for the broker takes nothing now")
    })
    .await;
    pausing.signal(Signal::SIGTERM);
    assert_eq!(exit_code(pausing.wait(LONG).await), 143);
    let said = std::fs::read_to_string(&said).unwrap();
    assert!(said.contains("interrupted"), "{said}");
    stranger.execute_batch("COMMIT").unwrap();
    let (code, listed, _) = run(
        &["pause", "--list", "--set", &format!("broker.url={}", stage.url())],
        stage.dir.path(),
        "",
    );
    assert_eq!((code, listed.as_str()), (0, "Nothing is paused\n"));
}
