use std::time::Duration;

use super::*;

struct Rig {
    journal: Journal,
    run: RunId,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

fn new_run(name: &str) -> NewRun {
    NewRun {
        name: name.to_owned(),
        digest: "d1".to_owned(),
        source: "list.csv".to_owned(),
        settings: "{}".to_owned(),
    }
}

fn new_row(line: u64, zone: Option<&str>) -> NewRow {
    NewRow {
        line,
        key: format!("key-{line}"),
        flow_id: "5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b".to_owned(),
        inputs: r#"{"n":1.10}"#.to_owned(),
        zone: zone.map(str::to_owned),
    }
}

fn sending(lines: &[u64]) -> Vec<Sending> {
    let one = |line: &u64| Sending {
        line: *line,
        expires: None,
        window: false,
        track: false,
    };
    lines.iter().map(one).collect()
}

fn told(line: u64, state: RowState) -> Told {
    Told {
        key: format!("key-{line}"),
        state,
        execution_id: Some(format!("exec-{line}")),
        attempts: 2,
        reason: None,
        error: None,
        finished: Timestamp::from_millisecond(1_800_000_000_000).unwrap(),
    }
}

impl Rig {
    fn new(rows: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("campaigns.db");
        let mut journal = Journal::open(&path).unwrap();
        let rows =
            (2..rows + 2).map(|line| Ok::<_, JournalError>(new_row(line, (line % 2 == 1).then_some("Europe/Berlin"))));
        let run = journal.begin(&new_run("spring"), rows).unwrap();
        Self {
            journal,
            run,
            path,
            _dir: dir,
        }
    }

    fn states(&self) -> Vec<(u64, RowState)> {
        let mut states = Vec::new();
        let each = self.journal.each_in_pages(self.run, false, |row| {
            states.push((row.planned.line, row.state));
            Ok::<_, JournalError>(())
        });
        each.unwrap();
        states
    }

    /// As the next process finds it.
    fn reopen(&mut self) {
        self.journal = Journal::open_existing(&self.path).unwrap();
    }
}

#[test]
fn a_row_goes_its_way_and_a_new_process_finds_it_there() {
    let mut rig = Rig::new(3);
    let planned = rig.journal.planned(rig.run, None, 10).unwrap();
    assert_eq!(planned.iter().map(|row| row.planned.line).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(planned[0].planned, new_row(2, None));
    rig.journal.sending(rig.run, &sending(&[2, 4])).unwrap();
    rig.reopen();
    let doubt = rig.journal.in_doubt(rig.run).unwrap();
    assert_eq!(doubt.iter().map(|row| row.planned.line).collect::<Vec<_>>(), [2, 4]);
    rig.journal.confirmed(rig.run, &[2]).unwrap();
    rig.journal.withdrawn(rig.run, &[4]).unwrap();
    rig.reopen();
    assert_eq!(
        rig.states(),
        [(2, RowState::Published), (3, RowState::Planned), (4, RowState::Planned)]
    );
    assert_eq!(
        rig.journal
            .take_in(rig.run, &[told(2, RowState::Launched)], 7)
            .unwrap()
            .changes
            .len(),
        1
    );
    rig.reopen();
    let run = rig.journal.latest("spring").unwrap().unwrap();
    assert_eq!((run.number, run.results_after, run.state), (1, 7, RunState::Running));
    let counts = rig.journal.counts(rig.run).unwrap();
    assert_eq!(
        (counts.total(), counts.ended(), counts.of(RowState::Launched)),
        (3, 1, 1)
    );
}

#[test]
fn a_result_that_comes_before_the_confirm_is_noted_stands_and_a_launch_is_never_undone() {
    let mut rig = Rig::new(2);
    rig.journal.sending(rig.run, &sending(&[2, 3])).unwrap();
    rig.journal.take_in(rig.run, &[told(2, RowState::Launched)], 1).unwrap();
    rig.journal.confirmed(rig.run, &[2, 3]).unwrap();
    assert_eq!(rig.states(), [(2, RowState::Launched), (3, RowState::Published)]);
    // Its copy died: launched it was all the same.
    rig.journal.take_in(rig.run, &[told(2, RowState::Dead)], 2).unwrap();
    // The other way round the launch is the news.
    rig.journal
        .take_in(rig.run, &[told(3, RowState::Dead), told(3, RowState::Launched)], 3)
        .unwrap();
    assert_eq!(rig.states(), [(2, RowState::Launched), (3, RowState::Launched)]);
    // Of strangers' jobs nothing is noted, but that they were read.
    assert_eq!(
        rig.journal
            .take_in(rig.run, &[told(99, RowState::Launched)], 9)
            .unwrap(),
        Taken {
            foreign: 1,
            ..Taken::default()
        }
    );
    assert_eq!(rig.journal.latest("spring").unwrap().unwrap().results_after, 9);
    // And the log is never read backwards.
    rig.journal.take_in(rig.run, &[], 4).unwrap();
    assert_eq!(rig.journal.latest("spring").unwrap().unwrap().results_after, 9);
}

#[test]
fn a_run_is_there_with_all_of_its_rows_or_not_at_all() {
    let mut rig = Rig::new(2);
    let rows = [Ok(new_row(2, None)), Err(anyhow::anyhow!("line 3 is no row"))];
    let failed = rig.journal.begin(&new_run("spring"), rows.into_iter());
    assert_eq!(failed.unwrap_err().to_string(), "line 3 is no row");
    assert_eq!(rig.journal.runs().unwrap().len(), 1);
    // Two rows of one identity would be two calls.
    let mut twin = new_row(3, None);
    twin.key = "key-2".to_owned();
    let rows = [Ok::<_, JournalError>(new_row(2, None)), Ok(twin)];
    let failed = rig.journal.begin(&new_run("spring"), rows.into_iter()).unwrap_err();
    assert!(failed.to_string().contains("campaigns.db"), "{failed}");
    assert_eq!(rig.journal.runs().unwrap().len(), 1);
    // The next run of a campaign has the next number; another campaign has its own.
    let none = || std::iter::empty::<Result<NewRow, JournalError>>();
    rig.journal.begin(&new_run("spring"), none()).unwrap();
    rig.journal.begin(&new_run("autumn"), none()).unwrap();
    let runs: Vec<_> = rig
        .journal
        .runs()
        .unwrap()
        .into_iter()
        .map(|run| (run.name, run.number))
        .collect();
    assert_eq!(
        runs,
        [
            ("autumn".to_owned(), 1),
            ("spring".to_owned(), 2),
            ("spring".to_owned(), 1)
        ]
    );
}

#[test]
fn what_is_planned_can_be_cancelled_and_what_is_silent_is_told_apart() {
    let mut rig = Rig::new(4);
    assert_eq!(
        rig.journal.zones(rig.run).unwrap(),
        [(None, 2), (Some("Europe/Berlin".to_owned()), 2)]
    );
    rig.journal.sending(rig.run, &sending(&[2, 3])).unwrap();
    rig.journal.confirmed(rig.run, &[2, 3]).unwrap();
    assert_eq!(rig.journal.unaccounted(rig.run, Duration::from_secs(3600)).unwrap(), 0);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(rig.journal.unaccounted(rig.run, Duration::from_millis(1)).unwrap(), 2);
    let moved = rig
        .journal
        .move_all(rig.run, RowState::Planned, RowState::Cancelled, Some("by a person"));
    assert_eq!(moved.unwrap(), 2);
    // Heard of after all.
    rig.journal.take_in(rig.run, &[told(2, RowState::Launched)], 1).unwrap();
    let counts = rig.journal.counts(rig.run).unwrap();
    let of = [RowState::Launched, RowState::Unaccounted, RowState::Cancelled].map(|state| counts.of(state));
    assert_eq!((of, counts.ended()), ([1, 1, 2], 4));
    rig.journal
        .set_state(rig.run, RunState::Cancelled, Some("by a person"))
        .unwrap();
    let run = rig.journal.latest("spring").unwrap().unwrap();
    assert_eq!(
        (run.state, run.reason.as_deref()),
        (RunState::Cancelled, Some("by a person"))
    );
}

#[test]
fn a_journal_that_is_none_is_named_and_whoever_looks_makes_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.db");
    assert!(matches!(Journal::open_existing(&path), Err(OpenError::Missing { .. })));
    assert!(!path.exists());
    std::fs::write(&path, "a note").unwrap();
    assert!(matches!(Journal::open(&path), Err(OpenError::Stranger { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"a note");
    // The broker's file is no journal.
    let other = dir.path().join("jobs.db");
    let stranger = Connection::open(&other).unwrap();
    stranger.execute_batch("CREATE TABLE message (id)").unwrap();
    let said = Journal::open(&other).unwrap_err().to_string();
    assert!(said.contains("jobs.db") && said.contains("campaign.journal"), "{said}");
    let rig = Rig::new(0);
    rig.journal
        .connection
        .pragma_update(None, "user_version", VERSION_OF_TOMORROW)
        .unwrap();
    let said = Journal::open(&rig.path).unwrap_err().to_string();
    assert!(said.contains("made by a newer flowlaunch"), "{said}");
}

const VERSION_OF_TOMORROW: i32 = 2;

#[test]
fn the_feed_reads_by_an_index_however_many_rows_there_are() {
    let rig = Rig::new(1);
    let sql = format!("EXPLAIN QUERY PLAN {ROW} {PLANNED}");
    let mut explain = rig.journal.connection.prepare(&sql).unwrap();
    let plan: Vec<String> = explain
        .query_map(params![1, None::<String>, 5], |row| row.get(3))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let plan = plan.join("; ");
    assert!(
        plan.contains("(run=? AND state=? AND zone=?)") && !plan.contains("TEMP B-TREE"),
        "{plan}"
    );
}
