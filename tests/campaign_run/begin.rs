//! How a run begins, and how it goes on: by whom, with which rows, and what somebody is told who may not.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use rusqlite::{Connection, OpenFlags};

use crate::common::http;
use crate::common::ports::Port;
use crate::common::process::exit_code;
use crate::common::wait::{LONG, eventually};
use crate::common::worker::{Metrics, flowlaunch};
use crate::stage::{Campaign, FLOW, Stage, on_both};

const ROWS: usize = 300;

/// `campaign run` as campaign `spring`, to its end.
fn run(stage: &Stage, more: &[&str]) -> (i32, String, String) {
    let mut args = vec![
        "campaign",
        "run",
        "rows.csv",
        "--name",
        "spring",
        "--key",
        "id",
        "--flow-id",
        FLOW,
    ];
    args.extend(more);
    stage.ask(&args)
}

async fn each_once(stage: &Stage, rows: usize) {
    let launches = stage.launches_by_row().await;
    assert_eq!(launches.len(), rows);
    let twice: Vec<_> = launches.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "launched again: {twice:?}");
}

async fn says(campaign: &Campaign, wanted: &str) -> String {
    eventually(&format!("it to say {wanted:?}"), LONG, async || {
        let said = campaign.output();
        if said.contains(wanted) { Ok(said) } else { Err(said) }
    })
    .await
}

on_both! {
    ctrl_c_says_how_to_go_on_and_what_was_changed_since_is_refused_or_taken,
    what_another_journals_run_of_the_same_name_did_is_never_taken_for_this_ones,
}

async fn what_another_journals_run_of_the_same_name_did_is_never_taken_for_this_ones(stage: Stage) {
    stage.rows(20);
    let _worker = stage.on_rabbitmq.then(|| stage.worker());
    let (code, _, said) = run(&stage, &[]);
    assert_eq!(code, 0, "{said}");
    // Other customers, with the same keys, under the same name: on another host, or the journal is gone.
    let other = [
        "--set",
        "campaign.journal=other.db",
        "--skip",
        "n",
        "--input",
        "region=north",
    ];
    let (code, out, said) = run(&stage, &other);
    assert_eq!(code, 1, "{out}{said}");
    for wanted in ["never published from this journal", "Nothing was published", "--name"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert_eq!(stage.launched().await, 20);
    // It was never there, and says the same again.
    let (_, runs, _) = stage.ask(&["campaign", "list", "--json", "--set", "campaign.journal=other.db"]);
    assert_eq!(runs.trim(), "[]");
    let (code, _, said) = run(&stage, &other);
    assert_eq!(code, 1, "{said}");
    assert_eq!(stage.launched().await, 20);
    // The journal that it belongs to has lost nothing by that.
    assert_eq!(stage.report().len(), 20);
}

async fn ctrl_c_says_how_to_go_on_and_what_was_changed_since_is_refused_or_taken(stage: Stage) {
    let stage = stage.set("limits.rate", "50/s");
    stage.rows(ROWS);
    let _worker = stage.on_rabbitmq.then(|| stage.worker());
    let mut campaign = stage.campaign(&["--pace", "600/min"]);
    stage.wait_launched(10).await;
    campaign.process.signal(Signal::SIGINT);
    assert_eq!(campaign.wait().await, 130);
    let said = campaign.output();
    assert!(said.contains("the same command goes on"), "{said}");
    assert!(said.contains("flowlaunch campaign pause spring"), "{said}");

    let rows = fs::read_to_string(stage.dir.path().join("rows.csv")).unwrap();
    stage.file("rows.csv", &format!("{rows}row-x,1000\n"));
    let (code, _, said) = run(&stage, &[]);
    assert_eq!(code, 2, "{said}");
    for word in [
        "campaign spring was begun with other rows",
        "rows.csv",
        "run 1",
        "--again",
    ] {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    stage.file("rows.csv", &rows);
    for (more, key) in [
        (&["--map", "number:integer=n"][..], "map"),
        (&["--input", "region=north"], "input"),
        (&["--input-prefix", "Flow."], "input-prefix"),
        (&["--skip", "n"], "skip"),
        (&["--lane", "normal"], "lane"),
    ] {
        let (code, _, said) = run(&stage, more);
        assert_eq!(code, 2, "{more:?}: {said}");
        let wanted = format!("campaign spring was begun with another --{key} (run 1)");
        assert!(said.contains(&wanted), "{more:?}: {said}");
    }
    assert!(stage.launched().await < ROWS as u64, "the refused ones have launched");

    let (code, out, said) = run(&stage, &["--pace", "6000/min"]);
    assert_eq!(code, 0, "{out}{said}");
    assert!(said.contains("goes on: "), "{said}");
    each_once(&stage, ROWS).await;
    let (code, _, said) = run(&stage, &[]);
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("campaign spring is finished (run 1): --again launches all of it once more, as run 2"),
        "{said}"
    );
    assert_eq!(stage.launched().await, ROWS as u64);
    let (code, out, said) = run(&stage, &["--again"]);
    assert_eq!(code, 0, "{out}{said}");
    assert_eq!(stage.launched().await, 2 * ROWS as u64);
    assert_eq!(stage.status().unwrap()["run"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_runs_a_campaign_and_another_campaign_runs_beside_it_with_the_same_worker() {
    let stage = Stage::embedded().await.set("limits.rate", "20/s");
    stage.rows(ROWS);
    let mut first = stage.campaign(&["--pace", "20/s"]);
    stage.wait_launched(5).await;
    let (code, _, said) = run(&stage, &[]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("campaign spring is being run by another process: `flowlaunch campaign status spring`"),
        "{said}"
    );
    stage.file("others.csv", &others(ROWS));
    let mut second = stage.start("autumn", &mut others_run());
    says(&second, "the worker that runs already launches it").await;
    // The one with the worker ends first: by a kill, so that the worker goes with it.
    stage.wait_launched(ROWS as u64 / 2).await;
    first.process.kill();
    eventually("the rest of the second one", LONG, async || {
        let (_, out, _) = stage.ask(&["campaign", "status", "autumn", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&out).unwrap_or_default();
        if status["state"] == "finished" {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
    assert_eq!(second.wait().await, 0, "{}", second.output());
    let mut first = stage.campaign(&[]);
    assert_eq!(first.wait().await, 0, "{}", first.output());
    let keys: BTreeSet<_> = stage.launches_by_row().await.into_keys().collect();
    assert_eq!(keys.len(), 2 * ROWS, "each row of both");
}

/// `script` of util-linux: a terminal of its own for the command, and its exit code.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_a_person_is_asked_behind_the_first_rows() {
    let stage = Stage::embedded().await;
    stage.rows(ROWS);
    for (answer, wanted, launched) in [("no", 1, 5), ("yes", 0, ROWS)] {
        let line = format!(
            "stty cols 80 rows 24; exec {} campaign run rows.csv --name {answer} --key id --flow-id {FLOW} --first 5",
            env!("CARGO_BIN_EXE_flowlaunch")
        );
        let mut script = Command::new("script")
            .args(["-qefc", &line, "typescript"])
            .env("TERM", "xterm")
            .current_dir(stage.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut keys = script.stdin.take().unwrap();
        let shown = || fs::read_to_string(stage.dir.path().join("typescript")).unwrap_or_default();
        let question = format!("{} more rows wait. Say yes to go on:", ROWS - 5);
        eventually("the question", LONG, async || {
            let shown = shown();
            if shown.contains(&question) { Ok(()) } else { Err(shown) }
        })
        .await;
        assert_eq!(stage.sim.launches().await.len(), 5, "{}", shown());
        keys.write_all(format!("{answer}\n").as_bytes()).unwrap();
        let ended = eventually("it to end", LONG, async || script.try_wait().unwrap().ok_or_else(shown)).await;
        assert_eq!(exit_code(ended), wanted, "{}", shown());
        assert_eq!(stage.sim.launches().await.len(), launched, "{}", shown());
        stage.sim.forget().await;
        fs::remove_file(stage.dir.path().join("typescript")).unwrap();
    }
}

fn others(rows: usize) -> String {
    let lines = (0..rows).map(|n| format!("{}\n", 10_000 + n));
    ["n\n".to_owned()].into_iter().chain(lines).collect()
}

fn others_run() -> Command {
    let mut command = flowlaunch();
    command.args(["campaign", "run", "others.csv", "--name", "autumn", "--flow-id", FLOW]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_from_standard_input_are_in_the_journal_and_a_killed_run_goes_on_without_them() {
    let stage = Stage::embedded().await.set("limits.rate", "50/s");
    stage.rows(ROWS);
    let mut command = Command::new("sh");
    let line = "exec \"$0\" campaign run - --name spring --key id --flow-id \"$1\" <rows.csv";
    command.args(["-c", line, env!("CARGO_BIN_EXE_flowlaunch"), FLOW]);
    let campaign = stage.start("spring", &mut command);
    stage.wait_launched(20).await;
    campaign.kill();
    fs::remove_file(stage.dir.path().join("rows.csv")).unwrap();
    // Nothing comes from there any more.
    let (code, out, said) = stage.ask(&[
        "campaign",
        "run",
        "-",
        "--name",
        "spring",
        "--key",
        "id",
        "--flow-id",
        FLOW,
    ]);
    assert_eq!(code, 0, "{out}{said}");
    assert!(
        said.contains(&format!("of {ROWS} rows have come to their end")),
        "{said}"
    );
    assert_eq!(stage.launches_by_row().await.len(), ROWS);
    for row in stage.report() {
        assert_eq!(row["state"], "launched", "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_its_rows_are_read_in_it_was_never_there() {
    let stage = Stage::embedded().await;
    stage.rows(400_000);
    let mut campaign = stage.campaign(&[]);
    let journal = stage.dir.path().join("flowlaunch-campaigns.db");
    eventually("the rows to be read in", LONG, async || {
        assert!(campaign.process.is_running(), "it has ended: {}", campaign.output());
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let journal = Connection::open_with_flags(&journal, flags).map_err(|error| error.to_string())?;
        let state = journal.query_row("SELECT state FROM run", [], |row| row.get::<_, String>(0));
        match state {
            Ok(state) if state == "loading" => Ok(()),
            Ok(state) => Err(state),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    campaign.kill();
    let (code, out, said) = stage.ask(&["campaign", "list", "--json"]);
    assert_eq!((code, out.trim()), (0, "[]"), "{said}");
    let (code, _, said) = stage.ask(&["campaign", "status", "spring"]);
    assert_ne!(code, 0, "{said}");
    assert_eq!(stage.sim.requests().await.len(), 0);
    // Other rows are no other campaign: it never began.
    stage.rows(50);
    let (code, out, said) = run(&stage, &[]);
    assert_eq!(code, 0, "{out}{said}");
    each_once(&stage, 50).await;
    assert_eq!(stage.status().unwrap()["run"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_listens_where_it_is_told_to_and_else_nowhere() {
    let stage = Stage::embedded().await.set("limits.rate", "20/s");
    stage.rows(ROWS);
    let mut silent = stage.campaign(&["--pace", "20/s"]);
    stage.wait_launched(5).await;
    assert_eq!(listens(silent.process.pid()), BTreeSet::new());
    silent.term().await;
    let port = Port::take();
    let address = format!("127.0.0.1:{}", port.number());
    let mut campaign = stage.campaign(&["--pace", "20/s", "--listen", &address]);
    says(&campaign, &format!("metrics: http://{address}/metrics")).await;
    let rows = "flowlaunch_campaign_rows";
    let scrape = async || {
        let (_, text) = http::get(&format!("http://{address}/metrics")).await?;
        Ok::<_, String>(Metrics::parse(&text))
    };
    eventually("the rows to add up", LONG, async || {
        let metrics = scrape().await?;
        let of = |state: &str| metrics.get(rows, &[("campaign", "spring"), ("state", state)]);
        assert_eq!(metrics.lines(rows).len(), 11, "a state a line");
        if of("launched") >= 20.0 && metrics.get(rows, &[]) as usize == ROWS {
            Ok(())
        } else {
            Err(metrics.lines(rows).join("\n"))
        }
    })
    .await;
    assert_eq!(listens(campaign.process.pid()).len(), 1);
    campaign.term().await;
}

/// The sockets on which a process listens, by their inodes.
fn listens(pid: i32) -> BTreeSet<String> {
    let mut listening = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        // 0A: LISTEN.
        listening.extend(
            fields
                .filter(|f| f.get(3) == Some(&"0A"))
                .map(|f| format!("socket:[{}]", f[9])),
        );
    }
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let open = open.map(|target| target.display().to_string());
    open.filter(|target| listening.contains(target)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_results_it_says_what_to_do() {
    let stage = Stage::embedded().await.set("results.enabled", false);
    stage.rows(3);
    let (code, _, said) = run(&stage, &[]);
    assert_eq!(code, 2, "{said}");
    for word in ["results.enabled", "set it to true, for the workers too"] {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    assert!(!stage.dir.path().join("flowlaunch-campaigns.db").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_rabbitmq_it_says_that_no_worker_takes_its_rows_and_goes_on_when_one_does() {
    let stage = Stage::rabbitmq().await;
    stage.rows(ROWS);
    let (code, _, said) = stage.ask(&["topology", "apply"]);
    assert_eq!(code, 0, "{said}");
    let mut campaign = stage.campaign(&[]);
    says(
        &campaign,
        "no worker takes jobs from lane bulk: start one with `flowlaunch worker`",
    )
    .await;
    assert_eq!(stage.launched().await, 0);
    // Whoever looks from elsewhere is told as well.
    eventually("the status to say so", LONG, async || {
        let status = stage.status().unwrap_or_default();
        let trouble = status["trouble"].as_str().unwrap_or_default().to_owned();
        if trouble.contains("no worker takes jobs") {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
    let (_, said, _) = stage.ask(&["campaign", "status", "spring"]);
    assert!(
        said.contains("\nbut      no worker takes jobs from lane bulk"),
        "{said}"
    );
    let _worker = stage.worker();
    assert_eq!(campaign.wait().await, 0, "{}", campaign.output());
    each_once(&stage, ROWS).await;
}
