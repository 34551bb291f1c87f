//! The campaign commands that look and command: `list`, `status`, `report`, `pause`, `resume` and `cancel`.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod common;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::Sim;
use common::story::{flow, job};
use common::wait::{LONG, eventually};
use common::worker::{Worker, run};
use flate2::{Compression, write::GzEncoder};
use flowlaunch::campaign::journal::{Journal, JournalError, NewRow, NewRun, RowState, RunId, RunState, Sending, Told};
use flowlaunch::campaign::source::Source;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

const FLOW: &str = "5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b";
const JOURNAL: &str = "flowlaunch-campaigns.db";

/// A folder with a journal, as `campaign run` would leave it.
struct Folder {
    dir: TempDir,
    journal: Journal,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(&dir.path().join(JOURNAL)).unwrap();
        Self { dir, journal }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A run of a file that is written here.
    fn run_of(&mut self, name: &str, file: &str, bytes: &[u8], lines: &[u64]) -> RunId {
        let path = self.path().join(file);
        std::fs::write(&path, bytes).unwrap();
        let digest = Source::open(&path).unwrap().digest();
        self.begin(name, &path.display().to_string(), digest, lines.iter().copied())
    }

    fn begin(&mut self, name: &str, source: &str, digest: String, lines: impl Iterator<Item = u64>) -> RunId {
        let run = NewRun {
            name: name.to_owned(),
            digest,
            source: source.to_owned(),
            settings: "{}".to_owned(),
        };
        let row = |line| {
            Ok::<_, JournalError>(NewRow {
                line,
                key: format!("key-{line}"),
                flow_id: FLOW.to_owned(),
                inputs: format!(r#"{{"n":{line}.10}}"#),
                zone: None,
            })
        };
        self.journal.begin(&run, lines.map(row)).unwrap()
    }

    fn send(&mut self, run: RunId, lines: &[u64]) {
        let sending = |line: &u64| Sending {
            line: *line,
            expires: Some(Timestamp::UNIX_EPOCH),
            window: false,
            track: false,
        };
        let rows: Vec<_> = lines.iter().map(sending).collect();
        self.journal.sending(run, &rows).unwrap();
    }

    fn tell(&mut self, run: RunId, lines: &[u64], state: RowState, reason: Option<&str>) {
        self.send(run, lines);
        let told = |line: &u64| Told {
            key: format!("key-{line}"),
            state,
            execution_id: reason.is_none().then(|| format!("exec-{line}")),
            attempts: 1,
            reason: reason.map(str::to_owned),
            error: reason.map(|reason| {
                format!(
                    "HTTP 404 (not.found): {reason},\n\u{1b}[31mas it was said; {}",
                    "long ".repeat(40)
                )
            }),
            // Within the last minute, however slow the machine; the later the line, the later.
            finished: Timestamp::now() + Duration::from_secs(3600 + line),
        };
        let told: Vec<_> = lines.iter().map(told).collect();
        self.journal.take_in(run, &told, 1).unwrap();
    }

    /// A command that must succeed: what it prints, and what it says beside it.
    fn say(&self, args: &[&str]) -> (String, String) {
        let (code, said, error) = self.try_say(args);
        assert_eq!(code, 0, "{args:?}: {said}{error}");
        (said, error)
    }

    fn try_say(&self, args: &[&str]) -> (i32, String, String) {
        run(&[&["campaign"], args].concat(), self.path(), "")
    }
}

/// A reader that has had enough of it (`| head`) is no error.
fn head(folder: &Path, format: &str) {
    let mut command = common::flowlaunch();
    command
        .args(["campaign", "report", "spring", "--format", format])
        .current_dir(folder);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 1]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{format}: {output:?}"
    );
}

fn json_of(said: &str) -> Value {
    serde_json::from_str(said).unwrap()
}

/// Fits a terminal of 80 columns and 24 lines, and nothing in it draws.
fn assert_fits(said: &str) {
    assert!(said.lines().count() < 24, "{said}");
    for line in said.lines() {
        assert!(line.chars().count() <= 80 && !line.contains('\u{1b}'), "{line:?}");
    }
}

#[test]
fn who_only_looks_makes_no_journal_and_says_which_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["list"][..], &["status", "spring"], &["report", "spring"]] {
        let (code, said, error) = run(&[&["campaign"], args].concat(), dir.path(), "");
        assert_eq!((code, said.as_str()), (1, ""), "{error}");
        assert!(error.contains(JOURNAL) && error.contains("campaign.journal"), "{error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let empty = dir.path().join(JOURNAL);
    std::fs::write(&empty, "").unwrap();
    let (code, _, error) = run(&["campaign", "list"], dir.path(), "");
    assert!(code == 1 && error.contains("not a journal of campaigns"), "{error}");
    assert_eq!(empty.metadata().unwrap().len(), 0);
    let mut folder = Folder::new();
    assert_eq!(folder.say(&["list"]).0, "no campaign was run yet\n");
    folder.begin("spring", "-", "d".to_owned(), 1..4);
    let (code, _, error) = folder.try_say(&["status", "sprig"]);
    assert!(code == 1 && error.contains("there is spring"), "{error}");
    let (code, _, error) = folder.try_say(&["report", "spring", "--run", "2"]);
    assert!(code == 1 && error.contains("its latest is 1"), "{error}");
}

#[test]
fn every_run_is_listed_the_newest_first() {
    let mut folder = Folder::new();
    let spring = folder.begin("spring", "-", "d".to_owned(), 1..5);
    folder.tell(spring, &[1, 2], RowState::Launched, None);
    folder.tell(spring, &[3], RowState::Dead, Some("refused"));
    folder
        .journal
        .set_state(spring, RunState::Cancelled, Some("by a person"))
        .unwrap();
    folder.begin("spring", "-", "d".to_owned(), 1..3);
    folder.begin(&"a".repeat(64), "-", "d".to_owned(), 1..2);
    let (said, _) = folder.say(&["list"]);
    assert_fits(&said);
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 4, "{said}");
    assert!(lines[1][0].starts_with("aaaa") && lines[1][0].ends_with('…'), "{said}");
    assert_eq!(lines[2][..6], ["spring", "2", "running", "2", "0", "0"]);
    assert_eq!(lines[3][..6], ["spring", "1", "cancelled", "4", "2", "1"]);
    let runs = json_of(&folder.say(&["list", "--json"]).0);
    assert_eq!(runs[0]["campaign"], "a".repeat(64));
    assert_eq!(
        (&runs[2]["notLaunched"], &runs[2]["reason"]),
        (&json!(1), &json!("by a person"))
    );
}

#[test]
fn a_status_is_one_screen_however_much_went_wrong() {
    let mut folder = Folder::new();
    let spring = folder.begin("spring", "customers.csv", "d".to_owned(), 1..1001);
    folder.send(spring, &[1, 2, 3, 4]);
    folder.journal.confirmed(spring, &[1, 2, 3]).unwrap();
    let lines: Vec<u64> = (101..601).collect();
    folder.tell(spring, &lines, RowState::Launched, None);
    let status = |folder: &Folder| folder.say(&["status", "spring"]).0;
    let said = status(&folder);
    assert_fits(&said);
    for wanted in [
        "running",
        "customers.csv",
        "launched          500",
        "50 % done",
        "500 launched in the last minute",
        " left",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    for (at, reason) in ["refused", "forbidden", "exhausted", "malformed", "poison", "unroutable"]
        .into_iter()
        .enumerate()
    {
        let from = 601 + 10 * at as u64;
        folder.tell(
            spring,
            &(from..from + 10 - at as u64).collect::<Vec<_>>(),
            RowState::Dead,
            Some(reason),
        );
    }
    for (line, state) in [
        (701, RowState::Expired),
        (702, RowState::Unknown),
        (703, RowState::Unaccounted),
        (704, RowState::Cancelled),
        (705, RowState::Completed),
        (706, RowState::Failed),
    ] {
        folder.tell(spring, &[line], state, Some(state.as_str()));
    }
    let why = "20 rows in a row were not launched: flow not found";
    folder.journal.set_state(spring, RunState::Paused, Some(why)).unwrap();
    let said = status(&folder);
    assert_fits(&said);
    for wanted in [
        why,
        "10 refused, 9 forbidden",
        "line 610: HTTP 404",
        "campaign resume spring",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    let status = json_of(&folder.say(&["status", "spring", "--json"]).0);
    let states = status["states"].as_object().unwrap();
    assert_eq!(states.values().filter_map(Value::as_u64).sum::<u64>(), 1000);
    let dead = status["failures"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["state"] == "dead");
    assert_eq!(dead.filter_map(|one| one["count"].as_u64()).sum::<u64>(), 45);
    assert_eq!(states["dead"], 45);
    assert_eq!((&status["rows"], &status["endsAbout"]), (&json!(1000), &Value::Null));
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|one| one.unwrap().file_name())
        .collect();
    assert!(
        left.iter().all(|name| name.to_str().unwrap().starts_with(JOURNAL)),
        "{left:?}"
    );
}

#[test]
fn a_status_waits_for_no_writer() {
    let mut folder = Folder::new();
    folder.begin("spring", "-", "d".to_owned(), 1..4);
    // All the while this run is begun the file is locked for writing.
    let rows = std::iter::once_with(|| {
        let said = run(&["campaign", "status", "spring"], folder.dir.path(), "");
        assert!(said.0 == 0 && said.1.contains("spring, run 1"), "{said:?}");
        Err::<NewRow, _>(anyhow::anyhow!("enough"))
    });
    let again = NewRun {
        name: "spring".to_owned(),
        digest: "d".to_owned(),
        source: "-".to_owned(),
        settings: "{}".to_owned(),
    };
    folder.journal.begin(&again, rows).unwrap_err();
}

#[tokio::test]
async fn a_watch_tells_each_change_and_ends_with_the_campaign() {
    let mut folder = Folder::new();
    let spring = folder.begin("spring", "-", "d".to_owned(), 1..3);
    let output = folder.path().join("watched");
    let mut command = common::flowlaunch();
    command
        .args(["campaign", "status", "spring", "--watch"])
        .current_dir(folder.path());
    let mut watching = common::process::Process::spawn("a watch", &mut command, &output);
    let seen = async |wanted: &str| {
        eventually(wanted, LONG, async || {
            let said = std::fs::read_to_string(&output).unwrap();
            if said.contains(wanted) { Ok(()) } else { Err(said) }
        })
        .await;
    };
    seen("running: 0 of 2 done").await;
    folder.tell(spring, &[1, 2], RowState::Launched, None);
    seen("running: 2 of 2 done, 2 launched").await;
    folder.journal.set_state(spring, RunState::Finished, None).unwrap();
    assert!(watching.wait(LONG).await.success());
    seen("finished: 2 of 2 done").await;
}

#[test]
fn a_report_of_200_000_rows_adds_up_in_the_order_of_the_input() {
    const ROWS: u64 = 200_000;
    let mut folder = Folder::new();
    let spring = folder.begin("spring", "-", "d".to_owned(), 2..ROWS + 2);
    folder.tell(spring, &(2..50_000).rev().collect::<Vec<_>>(), RowState::Launched, None);
    folder.tell(
        spring,
        &(60_000..60_100).collect::<Vec<_>>(),
        RowState::Dead,
        Some("refused"),
    );
    let (said, error) = folder.say(&["report", "spring"]);
    let mut lines = said.lines();
    assert_eq!(
        lines.next(),
        Some("line,key,flowId,state,executionId,attempts,reason,error,publishedAt,finishedAt")
    );
    // An error has a break in it: lines of the text are more than rows.
    let rows = lines
        .filter_map(|line| line.split_once(",key-"))
        .map(|(line, _)| line.parse::<u64>().unwrap());
    assert!(rows.eq(2..ROWS + 2), "each row once, in order");
    assert_eq!(
        error,
        "flowlaunch: 200000 rows: 149902 planned, 49998 launched, 100 dead\n"
    );
    for format in ["csv", "jsonl"] {
        head(folder.path(), format);
    }
    let (said, _) = folder.say(&["report", "spring", "--format", "jsonl", "-o", "report.jsonl"]);
    assert_eq!(said, "");
    let text = std::fs::read_to_string(folder.path().join("report.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 200_000);
    let first = json_of(text.lines().next().unwrap());
    assert_eq!(
        (&first["line"], &first["executionId"], &first["reason"]),
        (&json!(2), &json!("exec-2"), &Value::Null)
    );
}

#[test]
fn failed_rows_come_as_they_stand_in_the_input_and_can_be_run_again() {
    let plain = "id;note\r\na;\"x; \"\"y\"\"\"\r\nb;\"two\r\nlines\"\r\nc;3\r\nd;4\r\n";
    let mut folder = Folder::new();
    let lines = [2, 3, 5, 6];
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(plain.as_bytes()).unwrap();
    let gz = gz.finish().unwrap();
    for (name, file, bytes) in [("plain", "list.csv", plain.as_bytes()), ("packed", "list.csv.gz", &gz)] {
        let run = folder.run_of(name, file, bytes, &lines);
        folder.tell(run, &[2], RowState::Launched, None);
        folder.tell(run, &[3], RowState::Unknown, Some("unknown"));
        folder.tell(run, &[5], RowState::Dead, Some("refused"));
        // Nobody is called twice for want of a look.
        let (said, error) = folder.say(&["report", name, "--failed"]);
        assert_eq!(said, "id;note\r\nc;3\r\n");
        assert!(error.contains("1 rows to be launched again: 1 dead"), "{error}");
        assert!(error.contains("1 more may have been launched"), "{error}");
        let (said, error) = folder.say(&["report", name, "--failed", "--uncertain"]);
        assert_eq!(said, "id;note\r\nb;\"two\r\nlines\"\r\nc;3\r\n");
        assert!(
            error.contains("2 rows to be launched again: 1 dead, 1 unknown"),
            "{error}"
        );
        assert!(error.contains("nobody knows whether 1 of them"), "{error}");
        folder.say(&["report", name, "--failed", "--uncertain", "-o", "again.csv"]);
        assert_eq!(std::fs::read_to_string(folder.path().join("again.csv")).unwrap(), said);
        let plan = ["plan", "again.csv", "--name", "again", "--flow-id", FLOW, "--json"];
        assert_eq!(json_of(&folder.say(&plan).0)["rows"], 2);
    }
    // The list of customers is not what a report is written over.
    let (code, _, error) = folder.try_say(&["report", "plain", "--failed", "-o", "list.csv"]);
    assert_eq!(code, 2, "{error}");
    assert_eq!(std::fs::read_to_string(folder.path().join("list.csv")).unwrap(), plain);
    std::fs::write(folder.path().join("list.csv"), "id;note\r\na;1\r\n").unwrap();
    let (code, said, error) = folder.try_say(&["report", "plain", "--failed", "-o", "other.csv"]);
    assert_eq!((code, said.as_str()), (1, ""));
    assert!(
        error.contains("is not the file any more") && error.contains("--format jsonl"),
        "{error}"
    );
    // Neither a half nor what it was to become is left.
    let mut left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|one| one.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with(JOURNAL))
        .collect();
    left.sort();
    assert_eq!(left, ["again.csv", "list.csv", "list.csv.gz"]);
}

#[test]
fn failed_rows_of_json_lines_are_copied_and_those_of_standard_input_made() {
    let mut folder = Folder::new();
    let run = folder.run_of(
        "lines",
        "list.jsonl",
        b"{\"a\":1}\n\n{\"a\": 2.0}\n{\"a\":3}\n",
        &[1, 3, 4],
    );
    folder.tell(run, &[3, 4], RowState::Expired, Some("expired"));
    assert_eq!(
        folder.say(&["report", "lines", "--failed"]).0,
        "{\"a\": 2.0}\n{\"a\":3}\n"
    );
    let run = folder.begin("piped", "standard input", "d".to_owned(), [2, 3].into_iter());
    folder.tell(run, &[3], RowState::Failed, Some("ERROR"));
    let (said, error) = folder.say(&["report", "piped", "--failed", "-o", "again.jsonl"]);
    assert_eq!(said, "");
    assert!(error.contains("1 of them were launched"), "{error}");
    let made = std::fs::read_to_string(folder.path().join("again.jsonl")).unwrap();
    assert_eq!(
        made,
        format!("{{\"flowlaunch_key\":\"key-3\",\"flowlaunch_flow\":\"{FLOW}\",\"n\":3.10}}\n")
    );
    // The flags that it names take the rows back: the same inputs to the byte.
    let flags = error.split("again.jsonl ").nth(1).unwrap().split_whitespace();
    let args: Vec<&str> = ["plan", "again.jsonl", "--name", "again", "--json"]
        .into_iter()
        .chain(flags)
        .collect();
    let plan = json_of(&folder.say(&args).0);
    assert_eq!(
        plan["firstRequest"],
        format!("{{\"flowId\":\"{FLOW}\",\"inputs\":{{\"n\":3.10}}}}")
    );
    let (code, _, error) = folder.try_say(&["report", "piped", "--failed", "--format", "csv"]);
    assert!(code == 2 && error.contains("--format jsonl"), "{error}");
}

#[test]
fn a_pause_is_there_once_and_a_cancel_wants_a_run_and_a_yes() {
    let mut folder = Folder::new();
    let spring = folder.begin("spring", "-", "d".to_owned(), 1..5);
    let (code, _, error) = folder.try_say(&["resume", "spring"]);
    assert!(
        code == 1 && error.contains("there is no pause of campaign spring"),
        "{error}"
    );
    let (said, error) = folder.say(&["pause", "spring", "--reason", "recall"]);
    assert!(
        said.contains("flowlaunch campaign resume spring") && error.is_empty(),
        "{said}{error}"
    );
    let (said, _, _) = folder.try_say(&["pause", "sprig"]);
    assert_eq!(said, 0);
    let (_, listed, _) = run(&["pause", "--list"], folder.path(), "");
    assert!(listed.contains("campaign spring: recall"), "{listed}");
    let (said, _) = folder.say(&["resume", "spring"]);
    assert!(
        said.contains("resumed: campaign spring") && said.contains("still paused: campaign sprig"),
        "{said}"
    );
    let (code, _, error) = folder.try_say(&["cancel", "spring"]);
    assert!(
        code == 2 && error.contains("run 1 of campaign spring: 4 of 4 rows") && error.contains("--yes"),
        "{error}"
    );
    assert!(
        folder
            .say(&["cancel", "spring", "--yes"])
            .0
            .contains("cancelled: campaign spring, run 1")
    );
    folder.journal.set_state(spring, RunState::Finished, None).unwrap();
    let (code, _, error) = folder.try_say(&["cancel", "spring", "--yes"]);
    assert!(code == 1 && error.contains("is finished"), "{error}");
    // Where no journal is, nobody but the person knows the run.
    let other = tempfile::tempdir().unwrap();
    let (code, _, error) = run(&["campaign", "cancel", "spring", "--yes"], other.path(), "");
    assert!(
        code == 2 && error.contains("--run N") && error.contains("spring:N:KEY"),
        "{error}"
    );
    let (code, said, _) = run(
        &["campaign", "cancel", "spring", "--run", "7", "--yes"],
        other.path(),
        "",
    );
    assert!(
        code == 0 && said.contains("run 7") && !other.path().join(JOURNAL).exists(),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_follows_what_they_say() {
    let folder = Folder::new();
    let url = format!("sqlite:{}", folder.path().join("jobs.db").display());
    let sim = Sim::start().await;
    let builder = Worker::builder(&url, "flowlaunch", &sim.base_url(), &sim.login_url());
    std::fs::write(folder.path().join("flowlaunch.toml"), builder.toml()).unwrap();
    let mut worker = builder.ready().await;
    folder.say(&["pause", "spring"]);
    worker
        .wait_readyz("the pause to be known", |_, body| {
            body.contains("paused: campaign spring")
        })
        .await;
    let mut jobs = String::new();
    for (run, n) in (1..3).flat_map(|run| (0..5).map(move |n| (run, n))) {
        let mut job = job(&format!("spring:{run}:row-{n}"), &flow(1));
        job["campaign"] = json!("spring");
        let _ = writeln!(jobs, "{job}");
    }
    let (code, _, error) = run(&["publish", "--lane", "bulk"], folder.path(), &jobs);
    assert_eq!(code, 0, "{error}");
    let settled = async |worker: &Worker, verdict: &str, count: f64| {
        eventually(verdict, LONG, async || {
            let seen = worker
                .metrics()
                .await
                .get("flowlaunch_jobs_settled_total", &[("verdict", verdict)]);
            if seen == count { Ok(()) } else { Err(seen) }
        })
        .await;
    };
    settled(&worker, "delayed", 10.0).await;
    folder.say(&["cancel", "spring", "--run", "1", "--yes"]);
    folder.say(&["resume", "spring"]);
    common::story::launched(&sim, 5, LONG + Duration::from_secs(30)).await;
    settled(&worker, "cancelled", 5.0).await;
    let launches = common::story::launches(&sim).await;
    assert!(launches.keys().all(|id| id.starts_with("spring:2:")), "{launches:?}");
}
