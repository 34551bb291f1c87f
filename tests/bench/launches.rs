//! `cargo bench`: how fast, beside what else, and at what price. Needs a RabbitMQ (see tests/run); `cargo bench -- NAME`
//! runs the parts whose names contain NAME.
//!
//! Broker, stub and worker are three processes on one machine. Nothing here fails for being slow: the figures are printed
//! beside their targets.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints, and stops at what it did not expect"
)]

mod bare;
mod campaign;
#[path = "../common/mod.rs"]
mod common;
mod lane;
mod stub;

use std::time::{Duration, Instant};

use common::wait::eventually;
use common::{Amqp, LONG, Prefix, Rabbit, Sim, Worker};
use stub::Stub;

const FLOW: &str = "5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b";

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    match args.first().map(String::as_str) {
        // The parts that are processes of their own: this same binary, so that all are built alike.
        Some("bare-loop") => runtime.block_on(bare::run(&args.split_off(1))),
        Some("stub") => runtime.block_on(stub::serve()),
        _ => {
            let _ = rustls::crypto::ring::default_provider().install_default();
            runtime.block_on(all(args.first().map_or("", String::as_str)));
        }
    }
}

async fn all(wanted: &str) {
    let wants = |name: &str| name.contains(wanted);
    if wants("embedded") {
        embedded().await;
    }
    if wants("campaign") {
        campaign::run().await;
    }
    if !["throughput", "latency", "quota", "memory", "lane"]
        .into_iter()
        .any(wants)
    {
        return;
    }
    let rabbit = Rabbit::start().await;
    if wants("throughput") {
        throughput(&rabbit).await;
    }
    if wants("latency") {
        latency(&rabbit).await;
    }
    if wants("quota") {
        quota(&rabbit).await;
    }
    if wants("memory") {
        memory(&rabbit).await;
    }
    if wants("lane") {
        lane::run(&rabbit).await;
    }
}

fn body(n: usize) -> Vec<u8> {
    format!(
        r#"{{"flowId":"{FLOW}","id":"job-{n}","inputs":{{"seq":{n},"customerEmail":"ann-{n}@example.com","amount":"1.10"}}}}"#
    )
    .into_bytes()
}

/// Seconds of CPU that a process has used.
fn cpu(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = [11, 12]
        .iter()
        .filter_map(|at| fields.get(*at)?.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}

/// Resident memory in MB: now, and at its highest.
fn memory_of(pid: i32) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    (
        field("VmRSS:").unwrap_or(0.0) / 1000.0,
        field("VmHWM:").unwrap_or(0.0) / 1000.0,
    )
}

struct Run {
    per_second: f64,
    cpu_per_thousand: f64,
    broker_per_thousand: f64,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:>7.0} launches/s  {:>6.1} ms CPU per 1,000 launches, and {:>4.1} ms of the broker's",
            self.per_second, self.cpu_per_thousand, self.broker_per_thousand
        )
    }
}

/// Launches a second, from the moment a tenth is done until nine tenths are: neither start nor tail.
async fn measure(stub: &Stub, jobs: u64, pid: i32, broker: Option<i32>) -> Run {
    let mark = async |share: u64| {
        eventually("the jobs to be launched", Duration::from_secs(300), async || {
            let seen = stub.count().await;
            if seen >= jobs * share / 10 { Ok(seen) } else { Err(seen) }
        })
        .await
    };
    let first = mark(1).await;
    let cpu_now = || [Some(pid), broker].map(|pid| pid.map_or(0.0, cpu));
    let (began, cpu_then) = (Instant::now(), cpu_now());
    let last = mark(9).await;
    let launched = (last - first) as f64;
    let took = began.elapsed().as_secs_f64();
    let cpu_now = cpu_now();
    let [own, brokers] = [0, 1].map(|at| (cpu_now[at] - cpu_then[at]) * 1e6 / launched);
    Run {
        per_second: launched / took,
        cpu_per_thousand: own,
        broker_per_thousand: brokers,
    }
}

fn worker(rabbit: &Rabbit, prefix: &Prefix, url: &str, login: &str) -> common::worker::Builder {
    // Warnings only: a line a launch would be measured too.
    Worker::builder(rabbit.url(), prefix.name(), url, login).set("log.filter", "warn")
}

const BARE: &str = "bare loop";
const OFF: &str = "results off";
const ON: &str = "results on";
/// Odd, so that one of them is the median. Many and short, one after the other, each with all three: what else the machine
/// does changes by the minute, and the bare loop alone by a third.
const ROUNDS: usize = 15;

async fn throughput(rabbit: &Rabbit) {
    println!("throughput: quorum queue, stub and consumer on one machine, no rate limit, 64 at once");
    let jobs = 40_000;
    let stub = Stub::start().await;
    let broker = rabbit.ctl(&["eval", "os:getpid()."]);
    let broker: i32 = broker.trim().trim_matches('"').parse().unwrap();
    let mut runs = Vec::new();
    for round in 1..=ROUNDS {
        for what in [BARE, OFF, ON] {
            let prefix = Prefix::new(rabbit.node(), "bench");
            let amqp = Amqp::connect(rabbit.url()).await;
            common::worker::run(
                &[
                    "topology",
                    "apply",
                    "--set",
                    &format!("broker.prefix={prefix}"),
                    "--set",
                    &format!("broker.url={}", rabbit.url().replace("guest:guest@", "")),
                ],
                std::path::Path::new("."),
                "",
            );
            amqp.publish_all(&format!("{prefix}.jobs"), "bulk", (0..jobs).map(body))
                .await;
            stub.reset().await;
            let run = if what == BARE {
                let child = bare::spawn(rabbit.url(), &format!("{prefix}.jobs.bulk"), &stub.url());
                measure(&stub, jobs as u64, child.pid(), Some(broker)).await
            } else {
                let worker = worker(rabbit, &prefix, &stub.url(), &stub.url())
                    .set("results.enabled", what == ON)
                    .spawn();
                measure(&stub, jobs as u64, worker.pid(), Some(broker)).await
            };
            println!("  {what:<12} {run}  (round {round})");
            runs.push((what, run));
        }
    }
    let median_run = |name| {
        let of_it = || runs.iter().filter(|(what, _)| *what == name).map(|(_, run)| run);
        Run {
            per_second: median(of_it().map(|run| run.per_second)),
            cpu_per_thousand: median(of_it().map(|run| run.cpu_per_thousand)),
            broker_per_thousand: median(of_it().map(|run| run.broker_per_thousand)),
        }
    };
    for what in [BARE, OFF, ON] {
        println!("  {what:<12} {}  (median)", median_run(what));
    }
    // Of each round with itself: the machine is another one minutes later.
    let to_bare = |name| {
        let of = |name| {
            runs.iter()
                .filter(move |(what, _)| *what == name)
                .map(|(_, run)| run.per_second)
        };
        median(of(name).zip(of(BARE)).map(|(one, bare)| one / bare))
    };
    println!("  results off / bare loop: {:.2} (target 1.1)", to_bare(OFF));
    println!("  results on  / bare loop: {:.2} (target 0.8)", to_bare(ON));
    println!(
        "  results on: {:.0} launches/s (target 10,000)",
        median_run(ON).per_second
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn latency(rabbit: &Rabbit) {
    println!("latency: 100 jobs a second, idle otherwise, from before the publish to the request's arrival");
    let prefix = Prefix::new(rabbit.node(), "bench");
    let stub = Stub::start().await;
    let _worker = worker(rabbit, &prefix, &stub.url(), &stub.url()).ready().await;
    let amqp = Amqp::connect(rabbit.url()).await;
    let mut sent = Vec::new();
    let mut every = tokio::time::interval(Duration::from_millis(10));
    let exchange = format!("{prefix}.jobs");
    for n in 0..2_000 {
        every.tick().await;
        sent.push(stub::now_micros());
        amqp.publish(&exchange, "normal", &body(n), lapin::BasicProperties::default())
            .await;
    }
    let arrived = eventually("2,000 launches", LONG, async || {
        let arrived = stub.arrivals().await;
        if arrived.len() >= 2_000 {
            Ok(arrived)
        } else {
            Err(arrived.len())
        }
    })
    .await;
    let mut took: Vec<f64> = arrived
        .iter()
        .map(|(n, at)| at.saturating_sub(sent[*n]) as f64 / 1000.0)
        .skip(100)
        .collect();
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "  p50 {:.1} ms, p99 {:.1} ms (target 15 ms), most {:.1} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

async fn quota(rabbit: &Rabbit) {
    println!("quota: 6,000 a minute against a fixed window of 60 s, two minutes");
    let prefix = Prefix::new(rabbit.node(), "bench");
    let sim = Sim::start_with(&["--rate", "6000/min", "--window", "fixed"]).await;
    let worker = worker(rabbit, &prefix, &sim.base_url(), &sim.login_url())
        .set("limits.rate", "6000/min")
        .ready()
        .await;
    let amqp = Amqp::connect(rabbit.url()).await;
    amqp.publish_all(&format!("{prefix}.jobs"), "bulk", (0..13_000).map(body))
        .await;
    let launched = async || {
        worker
            .metrics()
            .await
            .get("flowlaunch_launch_attempts_total", &[("outcome", "launched")])
    };
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (began, before) = (Instant::now(), launched().await);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let share = (launched().await - before) / (began.elapsed().as_secs_f64() * 100.0);
    let throttled = worker
        .metrics()
        .await
        .get("flowlaunch_launch_attempts_total", &[("outcome", "throttled")]);
    println!(
        "  {:.2} % of the allowance used (target 99 %), {throttled} answers of 429 (target 0)",
        share * 100.0
    );
}

async fn memory(rabbit: &Rabbit) {
    println!("memory: 1,000,000 jobs waiting, 300 a minute");
    let prefix = Prefix::new(rabbit.node(), "bench");
    let stub = Stub::start().await;
    let worker = worker(rabbit, &prefix, &stub.url(), &stub.url())
        .set("limits.rate", "300/min")
        .ready()
        .await;
    let amqp = Amqp::connect(rabbit.url()).await;
    for chunk in 0..20 {
        amqp.publish_all(
            &format!("{prefix}.jobs"),
            "bulk",
            (chunk * 50_000..(chunk + 1) * 50_000).map(body),
        )
        .await;
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    let waiting = amqp.count(&format!("{prefix}.jobs.bulk")).await.unwrap_or(0);
    let (now, most) = memory_of(worker.pid());
    println!("  {waiting} waiting: {now:.1} MB resident, {most:.1} MB at most (target 60 MB)");
}

/// The embedded broker: durable commits, a file on this machine's disk, nothing else to wait for.
async fn embedded() {
    println!("embedded: one file, durable commits, stub and worker on one machine, no rate limit, 64 at once");
    for jobs in [100_000_usize, 1_000_000] {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("jobs.db").display());
        let input = dir.path().join("jobs.jsonl");
        let mut text = Vec::new();
        for n in 0..jobs {
            text.extend(body(n));
            text.push(b'\n');
        }
        std::fs::write(&input, text).unwrap();
        let broker = format!("broker.url={url}");
        let args = ["publish", "--lane", "bulk", "--set", &broker, input.to_str().unwrap()];
        let began = Instant::now();
        assert_eq!(common::worker::run(&args, dir.path(), "").0, 0);
        let published = jobs as f64 / began.elapsed().as_secs_f64();
        let stub = Stub::start().await;
        let worker = Worker::builder(&url, "flowlaunch", &stub.url(), &stub.url())
            .set("log.filter", "warn")
            .spawn();
        // All of the smaller one; of the larger one enough to see what it takes to have so many wait.
        let run = measure(&stub, 100_000, worker.pid(), None).await;
        let (now, most) = memory_of(worker.pid());
        println!(
            "  {jobs:>7} jobs: published {published:>6.0} a second; {:.0} launches/s (target 5,000), {:.1} ms CPU per 1,000 \
             launches; {now:.0} MB resident, {most:.0} MB at most",
            run.per_second, run.cpu_per_thousand
        );
    }
}
