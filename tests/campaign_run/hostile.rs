//! Files as people have them: what is wrong is told by line, and nothing is published before all of a file was found sound.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use crate::stage::{FLOW, Stage};

/// More than a job may have.
const TOO_LONG: usize = 1_000_000;

fn run(stage: &Stage, more: &[&str]) -> (i32, String, String) {
    let mut args = vec!["campaign", "run", "rows.csv", "--name", "spring", "--flow-id", FLOW];
    args.extend(more);
    stage.ask(&args)
}

fn wide(rows: usize) -> String {
    let line = |cell: &dyn Fn(usize) -> String| (0..100).map(cell).collect::<Vec<_>>().join(",") + "\n";
    let mut text = line(&|column| format!("c{column}"));
    for row in 0..rows {
        text += &line(&|column| format!("{row}-{column}"));
    }
    text
}

/// Nobody ever saw a run, and nothing went out.
async fn nothing_came_of_it(stage: &Stage, what: &str) {
    let (code, out, said) = stage.ask(&["campaign", "list", "--json"]);
    assert_eq!(code, 0, "{what}: {said}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), json!([]), "{what}");
    assert_eq!(stage.sim.requests().await.len(), 0, "{what}");
    assert!(
        !stage.dir.path().join("jobs.db").exists(),
        "{what}: the broker was asked for something"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_sound_is_told_by_line_and_nothing_of_it_is_published() {
    let stage = Stage::embedded().await;
    let many = "a,1\n".repeat(30_000);
    let long = format!("id,n\na,1\nb,{}\nc,3\n", "x".repeat(TOO_LONG));
    let longer = format!("id,n\na,1\nb,{}\nc,3\n", "x".repeat(3 * TOO_LONG));
    let ragged_wide = format!("{}{}", wide(3), "1,2\n");
    let late = format!("id,n\n{many}b\n");
    let late_nul = format!("id,n\n{many}b,\0\n");
    // The file's fault as a whole is one of how the command was used: 2. Bad rows are work that could not be done: 1.
    let cases: [(&str, &[u8], i32, &[&str]); 17] = [
        (
            "no header",
            b"+491701234567,ann@example.com\n+491701234568,bob@example.com\n",
            2,
            &["line 1, the header", "looks like data", "name every column"],
        ),
        (
            "a header without a name",
            b"id,,n\na,1,2\n",
            2,
            &["line 1, the header: column 2 has no name"],
        ),
        (
            "columns named alike",
            b"id,n,id\na,1,2\n",
            2,
            &["line 1, the header: columns 1 and 3 are both named id"],
        ),
        ("empty", b"", 2, &["rows.csv: is empty"]),
        ("lines and nothing in them", b"\n\n  \n", 2, &["rows.csv: is empty"]),
        ("a header alone", b"id,n\n", 2, &["rows.csv: has a header and no row"]),
        (
            "zero bytes",
            b"id,n\na,1\nb,\0\0\n",
            2,
            &["is not text (line 3 has a zero byte in it)"],
        ),
        (
            "a zero byte far behind",
            late_nul.as_bytes(),
            1,
            &["line 30002, column n: has a zero byte in it", "1 row cannot"],
        ),
        (
            "a workbook",
            b"PK\x03\x04\x14\0\0\0\x08\0",
            2,
            &["is an Excel workbook", "save the sheet as CSV"],
        ),
        (
            "gzip that is cut off",
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b",
            2,
            &["gzip data is damaged or cut off"],
        ),
        (
            "ragged rows",
            b"id,n\na,1\nb\nc,2,3\nd,4\n",
            1,
            &[
                "line 3: has 1 cell, and the header has 2",
                "line 4: has 3 cells, and the header has 2",
                "2 rows cannot be launched",
                "spring-rejects.csv",
                "--skip-bad",
                "nothing was published",
            ],
        ),
        (
            "a ragged row of 100 columns",
            ragged_wide.as_bytes(),
            1,
            &["line 5: has 2 cells, and the header has 100"],
        ),
        (
            "a cell of 1 MB",
            long.as_bytes(),
            1,
            &["line 3, column n: would make a job of about 1001", "at most 512000"],
        ),
        (
            "a cell of 3 MB",
            longer.as_bytes(),
            1,
            &["line 3: is longer than 2 MiB"],
        ),
        (
            "two encodings in one file",
            b"id,n\na,M\xc3\xbcller\nb,M\xfcller\n",
            1,
            &[
                "line 3, column n: is not UTF-8 from its character 2 on",
                "--encoding windows-1252",
            ],
        ),
        (
            "a quote that is never closed",
            b"id,n\na,1\nb,\"2\nc,3\n",
            1,
            &["line 3: opens a quote that is never closed"],
        ),
        (
            "one bad row behind 30,000 good ones",
            late.as_bytes(),
            1,
            &["line 30002: has 1 cell", "1 row cannot be launched"],
        ),
    ];
    for (what, bytes, wanted, words) in cases {
        fs::write(stage.dir.path().join("rows.csv"), bytes).unwrap();
        let (code, _, said) = run(&stage, &[]);
        assert_eq!(code, wanted, "{what}: {said}");
        for word in words {
            assert!(said.contains(word), "{what}: {word:?} is not in\n{said}");
        }
        assert!(!said.contains("xxxx"), "{what}: a value was shown:\n{said:.2000}");
        nothing_came_of_it(&stage, what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_skip_bad_the_good_rows_go_and_the_bad_ones_are_in_the_report() {
    let stage = Stage::embedded().await;
    let mut bytes = b"id,n\na,1\nb\nc,M\xfcller\n".to_vec();
    bytes.extend(format!("d,{}\n", "x".repeat(TOO_LONG)).bytes());
    // As long as a job may be, nearly: 511,000 bytes.
    bytes.extend(format!("e,{}\n", "y".repeat(510_900)).bytes());
    bytes.extend(b",6\na,7\nf,8\n");
    fs::write(stage.dir.path().join("rows.csv"), &bytes).unwrap();
    let (code, out, said) = run(&stage, &["--key", "id", "--skip-bad"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("bad or repeated: 5 rows, listed in spring-rejects.csv"),
        "{said}"
    );
    assert!(said.contains("5 of 8 rows were not launched"), "{said}");
    assert!(out.contains("each of 8 rows is accounted for"), "{out}");
    let rejects = fs::read_to_string(stage.dir.path().join("spring-rejects.csv")).unwrap();
    let lines: Vec<_> = rejects.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(lines, ["line", "3", "4", "5", "7", "8"], "{rejects}");
    let report: Vec<_> = stage
        .report()
        .iter()
        .map(|row| {
            let word = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            (row["line"].as_u64().unwrap(), word("state"), word("reason"))
        })
        .collect();
    let row = |line, state: &str, reason: &str| (line, state.to_owned(), reason.to_owned());
    assert_eq!(
        report,
        [
            row(2, "launched", ""),
            row(3, "dead", "bad"),
            row(4, "dead", "bad"),
            row(5, "dead", "bad"),
            row(6, "launched", ""),
            row(7, "dead", "bad"),
            row(8, "dead", "repeated"),
            row(9, "launched", ""),
        ]
    );
    let launches = stage.sim.launches().await;
    let mut ids: Vec<_> = launches.iter().map(|l| l["inputs"]["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["a", "e", "f"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_columns_are_a_hundred_inputs() {
    let stage = Stage::embedded().await;
    stage.file("rows.csv", &wide(50));
    let (code, _, said) = run(&stage, &[]);
    assert_eq!(code, 0, "{said}");
    let launches = stage.sim.launches().await;
    assert_eq!(launches.len(), 50);
    for launch in launches {
        let inputs = launch["inputs"].as_object().unwrap();
        assert_eq!(inputs.len(), 100);
        let row = inputs["c0"].as_str().unwrap().split_once('-').unwrap().0;
        for (name, value) in inputs {
            let mut wanted = String::new();
            write!(wanted, "{row}-{}", &name[1..]).unwrap();
            assert_eq!(value, &json!(wanted));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_no_good_row_at_all_is_no_campaign() {
    let stage = Stage::embedded().await;
    stage.file("rows.csv", "id,n\na\nb\n");
    let (code, _, said) = run(&stage, &["--skip-bad"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("there is no row to launch"), "{said}");
    assert!(said.contains("line 2: has 1 cell"), "{said}");
    nothing_came_of_it(&stage, "all rows bad").await;
}
