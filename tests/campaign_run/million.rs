//! Files of a million rows: the runner keeps in memory what it works at, and not the file.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::time::Duration;

use crate::common::wait::eventually;
use crate::stage::Stage;

/// 200,000 rows on a slow machine.
const WHOLE: Duration = Duration::from_secs(600);
/// What a runner has at its highest, in kB. The larger part of it is the program itself, as it is built for tests: the bench
/// has the figures of a release, and of a million rows.
const MOST: u64 = 80_000;

/// Memory of a process at its highest, in kB.
fn highest(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

/// Reads so many rows in, and goes on until some are published; the memory that took.
async fn runner_alone(rows: usize) -> u64 {
    let stage = Stage::embedded().await;
    let mut file = BufWriter::new(File::create(stage.dir.path().join("rows.csv")).unwrap());
    writeln!(file, "id,n,email,zone").unwrap();
    for n in 0..rows {
        writeln!(file, "row-{n},{n},customer-{n}@example.com,Europe/Berlin").unwrap();
    }
    file.into_inner().unwrap();
    let mut campaign = stage.campaign(&[
        "--no-worker",
        "--timezone-column",
        "zone",
        "--windows",
        "Mon-Sun 00:00-24:00",
    ]);
    eventually("rows to be published", WHOLE, async || {
        assert!(campaign.process.is_running(), "it has ended: {}", campaign.output());
        let status = stage.status().unwrap_or_default();
        let published = status["states"]["published"].as_u64().unwrap_or(0);
        if published >= 5_000 { Ok(()) } else { Err(status) }
    })
    .await;
    highest(campaign.process.pid())
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_flat_with_200000_rows() {
    let (few, many) = (runner_alone(20_000).await, runner_alone(200_000).await);
    println!("{few} kB with 20,000 rows, {many} kB with 200,000");
    assert!(
        many < few * 13 / 10,
        "{few} kB with 20,000 rows, {many} kB with 200,000"
    );
    assert!(many < MOST, "{few} kB with 20,000 rows, {many} kB with 200,000");
}
