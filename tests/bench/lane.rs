//! One urgent job beside a campaign of 100,000 rows that has a minute's work in its lane: how long until it is launched.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and stops at what it did not expect"
)]

use std::time::Duration;

use super::common::process::Process;
use super::common::wait::{LONG, eventually};
use super::common::{Amqp, Prefix, Rabbit, Sim, Worker, flowlaunch};
use super::{FLOW, stub};

const ROWS: usize = 100_000;
const JOBS: usize = 100;

pub(crate) async fn run(rabbit: &Rabbit) {
    println!("lane: {JOBS} jobs in the normal lane, one by one, while a campaign of {ROWS} rows runs at 300/min");
    let prefix = Prefix::new(rabbit.node(), "bench");
    let sim = Sim::start_with(&["--rate", "unlimited"]).await;
    let settings = || {
        Worker::builder(rabbit.url(), prefix.name(), &sim.base_url(), &sim.login_url()).set("limits.rate", "300/min")
    };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("flowlaunch.toml"), settings().toml()).unwrap();
    let rows: String = (0..ROWS).map(|n| format!("row-{n},{n}\n")).collect();
    std::fs::write(dir.path().join("rows.csv"), format!("id,n\n{rows}")).unwrap();
    let _worker = settings().ready().await;
    let mut command = flowlaunch();
    command
        .args([
            "campaign",
            "run",
            "rows.csv",
            "--name",
            "spring",
            "--key",
            "id",
            "--flow-id",
            FLOW,
        ])
        .current_dir(dir.path());
    let _campaign = Process::spawn("campaign run", &mut command, &dir.path().join("log"));
    let amqp = Amqp::connect(rabbit.url()).await;
    eventually("a minute's work to lie in the lane", LONG, async || {
        let ready = amqp.count(&format!("{prefix}.jobs.bulk")).await;
        if ready >= Some(280) { Ok(()) } else { Err(ready) }
    })
    .await;

    let mut took = Vec::with_capacity(JOBS);
    for n in 0..JOBS {
        let job = format!(r#"{{"id":"urgent-{n}","flowId":"{FLOW}","inputs":{{"n":"urgent-{n}"}}}}"#);
        let published = stub::now_micros();
        amqp.publish(
            &format!("{prefix}.jobs"),
            "normal",
            job.as_bytes(),
            lapin::BasicProperties::default(),
        )
        .await;
        let launched = eventually("the urgent job to be launched", LONG, async || {
            let launches = sim.launches().await;
            let urgent = launches
                .iter()
                .rev()
                .find(|launch| launch["inputs"]["n"] == format!("urgent-{n}"));
            urgent
                .map(|launch| launch["atMicros"].as_i64().unwrap())
                .ok_or(launches.len())
        })
        .await;
        took.push((launched - i64::try_from(published).unwrap()) as f64 / 1000.0);
        // Not in step with the tokens.
        tokio::time::sleep(Duration::from_millis(300 + 37 * (n as u64 % 10))).await;
    }
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took[((JOBS - 1) as f64 * share) as usize];
    println!(
        "  p50 {:.0} ms, p99 {:.0} ms (target 1,000 ms), most {:.0} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
