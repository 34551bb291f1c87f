//! A campaign of a million rows: how long until they are in the journal, how much memory the runner takes, and how fast
//! rows go from the journal to a launch and back.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and stops at what it did not expect"
)]

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::common::process::{Process, exit_code};
use super::common::wait::eventually;
use super::common::{Worker, flowlaunch};
use super::stub::Stub;
use super::{FLOW, memory_of};

const WHOLE: Duration = Duration::from_secs(900);

/// A folder with rows in it, and a campaign of them on the embedded broker.
struct Trial {
    dir: tempfile::TempDir,
}

impl Trial {
    fn new(rows: usize, api: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("jobs.db").display());
        let settings = Worker::builder(&url, "flowlaunch", api, api).toml();
        std::fs::write(dir.path().join("flowlaunch.toml"), settings).unwrap();
        let file = std::fs::File::create(dir.path().join("rows.csv")).unwrap();
        let mut file = std::io::BufWriter::new(file);
        writeln!(file, "id,seq,email,zone").unwrap();
        for n in 0..rows {
            writeln!(file, "row-{n},{n},customer-{n}@example.com,Europe/Berlin").unwrap();
        }
        Self { dir }
    }

    fn run(&self, args: &[&str]) -> Process {
        let mut command = flowlaunch();
        command.args(["campaign", "run", "rows.csv", "--name", "spring", "--key", "id"]);
        command.args(["--map", "seq:integer=seq", "--flow-id", FLOW]).args(args);
        let _ = std::fs::remove_file(self.log());
        Process::spawn("campaign run", command.current_dir(self.dir.path()), &self.log())
    }

    fn log(&self) -> std::path::PathBuf {
        self.dir.path().join("log")
    }

    /// Seconds until it says this.
    async fn until(&self, begun: Instant, wanted: &str) -> f64 {
        let log = self.log();
        eventually(wanted, WHOLE, async || {
            let said = said(&log);
            if said.contains(wanted) { Ok(()) } else { Err(said) }
        })
        .await;
        begun.elapsed().as_secs_f64()
    }
}

fn said(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

pub(crate) async fn run() {
    println!("campaign: embedded broker, durable journal, stub and runner on one machine");
    let stub = Stub::start().await;
    let trial = Trial::new(1_000_000, &stub.url());
    let alone = ["--no-worker", "--timezone-column", "zone"];
    for (what, wanted) in [("read in", "1000000 rows"), ("gone on with", "goes on: ")] {
        let begun = Instant::now();
        let mut process = trial.run(&alone);
        let took = trial.until(begun, wanted).await;
        // Its first rows are published, and no more are while nobody launches.
        trial.until(begun, "on their way").await;
        let (_, most) = memory_of(process.pid());
        println!("  1,000,000 rows {what} after {took:.1} s; the runner: {most:.0} MB at most (target 60 MB)");
        process.kill();
    }
    let rows = 100_000;
    let trial = Trial::new(rows, &stub.url());
    let mut process = trial.run(&[]);
    trial.until(Instant::now(), "100000 rows").await;
    let begun = Instant::now();
    let most = eventually("the rows to be launched", WHOLE, async || {
        let (_, most) = memory_of(process.pid());
        let count = stub.count().await;
        if count + 200 >= rows as u64 {
            Ok(most)
        } else {
            Err(count)
        }
    })
    .await;
    let ended = process.wait(WHOLE).await;
    assert_eq!(exit_code(ended), 0, "{}", said(&trial.log()));
    println!(
        "  {rows} rows launched and accounted for: {:.0} a second (target 1,000); runner and worker: {most:.0} MB at most",
        rows as f64 / begun.elapsed().as_secs_f64()
    );
}
