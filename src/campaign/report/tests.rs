use std::path::PathBuf;

use super::super::journal::{NewRow, NewRun, Sending, Told};
use super::*;

const FLOW_ID: &str = "5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b";

struct Rig {
    dir: tempfile::TempDir,
    input: PathBuf,
}

impl Rig {
    fn new(name: &str, input: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, input).unwrap();
        Self { input: path, dir }
    }

    /// A run of these lines, of which some are dead.
    fn run(&self, settings: &str, lines: &[u64], dead: &[u64]) -> (Journal, Run) {
        let mut journal = Journal::open(&self.dir.path().join("campaigns.db")).unwrap();
        let run = NewRun {
            name: "spring".to_owned(),
            digest: Source::open(&self.input).unwrap().digest(),
            source: self.input.display().to_string(),
            settings: settings.to_owned(),
        };
        let rows = lines.iter().map(|line| {
            Ok::<_, JournalError>(NewRow {
                line: *line,
                key: format!("k\"{line}"),
                flow_id: FLOW_ID.to_owned(),
                inputs: if line % 2 == 0 { r#"{"n":1.10}"# } else { "{}" }.to_owned(),
                zone: (line % 2 == 0).then(|| "Europe/Berlin".to_owned()),
            })
        });
        let run = journal.begin(&run, rows).unwrap();
        let sending = dead.iter().map(|line| Sending {
            line: *line,
            expires: None,
            window: false,
            track: false,
        });
        journal.sending(run, &sending.collect::<Vec<_>>()).unwrap();
        let told: Vec<_> = dead.iter().map(|line| told(*line)).collect();
        journal.take_in(run, &told, 1).unwrap();
        let run = journal.latest("spring").unwrap().unwrap();
        (journal, run)
    }

    fn missed(&self, settings: &str, lines: &[u64], dead: &[u64]) -> Result<Vec<u8>, ReportError> {
        let (journal, run) = self.run(settings, lines, dead);
        let mut out = Vec::new();
        report(&journal, &run).missed_as_given(&mut out)?;
        Ok(out)
    }
}

fn told(line: u64) -> Told {
    Told {
        key: format!("k\"{line}"),
        state: RowState::Dead,
        execution_id: None,
        attempts: 1,
        reason: Some("refused".to_owned()),
        error: Some("HTTP 400: \"no\", it said\nand more".to_owned()),
        finished: Timestamp::UNIX_EPOCH,
    }
}

fn report<'a>(journal: &'a Journal, run: &'a Run) -> Report<'a> {
    Report {
        journal,
        run,
        uncertain: true,
        stopped: &|| false,
    }
}

#[test]
fn records_are_copied_byte_for_byte_whatever_ends_their_lines() {
    // Lines 1, 2, 3 (with a break within), 6 (behind a blank one), 7 (no end).
    let plain = "id;note\na;\"x; \"\"y\"\"\"\nb;\"two\nlines\"\n\nc;3\nd;4";
    for end in ["\n", "\r\n", "\r"] {
        // A carriage return alone ends no line within quotes, so the break is counted where there is a line feed.
        let text = plain.replace('\n', end);
        let lines: &[u64] = if end == "\r" { &[2, 3, 5, 6] } else { &[2, 3, 6, 7] };
        let rig = Rig::new("list.csv", text.as_bytes());
        let all = rig.missed("{}", lines, lines).unwrap();
        let wanted = text.replacen(&format!("{end}{end}"), end, 1);
        assert_eq!(String::from_utf8(all).unwrap(), wanted, "{end:?}");
        for some in [&lines[..1], &lines[1..2], &lines[3..], &[lines[0], lines[2]]] {
            let rig = Rig::new("list.csv", text.as_bytes());
            let out = String::from_utf8(rig.missed("{}", lines, some).unwrap()).unwrap();
            assert!(out.starts_with(&format!("id;note{end}")), "{out:?}");
            let rest = out.strip_prefix(&format!("id;note{end}")).unwrap();
            assert!(text.contains(rest) || some.len() == 2, "{rest:?}");
        }
    }
}

#[test]
fn a_first_line_that_names_the_delimiter_is_kept_and_another_encoding_is_told() {
    let rig = Rig::new("list.csv", b"sep=|\nid|note\na|f\xfcr\nb|x\n");
    let settings = r#"{"encoding":"windows-1252","pace":"1/s"}"#;
    let (journal, run) = rig.run(settings, &[3, 4], &[3]);
    let mut out = Vec::new();
    let (tally, encoding) = report(&journal, &run).missed_as_given(&mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "sep=|\nid|note\na|für\n");
    assert_eq!((tally.of(RowState::Dead), encoding), (1, Some("windows-1252")));
}

#[test]
fn lines_of_json_are_copied_and_blank_ones_counted() {
    let rig = Rig::new("list.jsonl", b"{\"a\": 1}\r\n\n{\"a\":2}\n  \n{\"a\":3}");
    let out = rig.missed("{}", &[1, 3, 5], &[1, 5]).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "{\"a\": 1}\r\n{\"a\":3}");
}

#[test]
fn a_file_that_is_changed_or_gone_is_named_and_the_journal_gives_its_rows_instead() {
    let rig = Rig::new("list.csv", b"id\na\nb\n");
    let (journal, run) = rig.run("{}", &[2, 3], &[2, 3]);
    let said = |journal: &Journal| {
        let failed = report(journal, &run).missed_as_given(Vec::new());
        failed.unwrap_err().to_string()
    };
    std::fs::write(&rig.input, "id\na\nc\n").unwrap();
    let changed = said(&journal);
    assert!(
        changed.contains("is not the file any more that run 1") && changed.contains("--format jsonl"),
        "{changed}"
    );
    std::fs::remove_file(&rig.input).unwrap();
    let gone = said(&journal);
    assert!(gone.contains("cannot read") && gone.contains("No such file"), "{gone}");
    let mut out = Vec::new();
    let (tally, zoned) = report(&journal, &run).missed_as_known(&mut out).unwrap();
    assert_eq!((tally.total(), zoned), (2, true));
    let wanted = format!(
        "{{\"flowlaunch_key\":\"k\\\"2\",\"flowlaunch_flow\":\"{FLOW_ID}\",\"flowlaunch_zone\":\"Europe/Berlin\",\"n\":1.10}}\n\
         {{\"flowlaunch_key\":\"k\\\"3\",\"flowlaunch_flow\":\"{FLOW_ID}\"}}\n"
    );
    assert_eq!(String::from_utf8(out).unwrap(), wanted);
}

#[test]
fn every_row_is_a_line_of_either_format_and_says_the_same() {
    let rig = Rig::new("list.csv", b"id\na\nb\n");
    let (journal, run) = rig.run("{}", &[2, 3], &[3]);
    let report = report(&journal, &run);
    let (mut table, mut lines) = (Vec::new(), Vec::new());
    let tally = report.all(Format::Csv, &mut table).unwrap();
    assert_eq!(report.all(Format::Jsonl, &mut lines).unwrap(), tally);
    assert_eq!(
        (tally.total(), tally.of(RowState::Dead), tally.of(RowState::Planned)),
        (2, 1, 1)
    );
    let lines: Vec<serde_json::Value> = serde_json::Deserializer::from_slice(&lines)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let mut reader = csv::Reader::from_reader(&table[..]);
    assert_eq!(reader.headers().unwrap(), &COLUMNS[..]);
    let table: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!((table.len(), lines.len()), (2, 2));
    for (cells, line) in table.iter().zip(&lines) {
        for (name, cell) in COLUMNS.iter().zip(cells) {
            let value = &line[name];
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(cell, if value.is_null() { "" } else { &text }, "{name}");
        }
    }
    assert_eq!(lines[1]["error"], "HTTP 400: \"no\", it said\nand more");
    assert_eq!(lines[0]["executionId"], serde_json::Value::Null);
}
