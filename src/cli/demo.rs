//! `flowlaunch demo`: what it shows while it runs, and the account at its end.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::anyhow;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Failed, out};
use crate::admit::settings::Rate;
use crate::app::demo::{Account, Demo, Plan, Progress};
use crate::telemetry;

/// Between two looks; on a terminal each is shown.
const LOOK: Duration = Duration::from_millis(200);
/// Between two lines where nothing can be drawn.
const LINE: Duration = Duration::from_secs(2);
/// Mistakes that are shown; the rest are counted.
const SHOWN: usize = 10;

/// Arguments of `flowlaunch demo`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Needs nothing: a simulator stands in for the API, the jobs wait in the embedded\n\
    broker, in a temporary folder. Some are bad; the simulator closes for two\n\
    seconds, is busy now and then and loses a few answers. At the end every job is\n\
    accounted for, or the exit code is 1.\n\n  \
    flowlaunch demo --jobs 5000 --rate 200/s\n  \
    flowlaunch demo --keep           then look at its metrics"
)]
pub(super) struct Args {
    /// How many jobs.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    jobs: u32,

    /// What the API allows: the worker keeps to it, the simulator holds it to it.
    #[arg(long, default_value = "4000/min", value_name = "RATE")]
    rate: Rate,

    /// Leave it running at the end, with metrics and probes, until Ctrl-C.
    #[arg(long)]
    pub(super) keep: bool,

    /// Print the account as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, stop: CancellationToken) -> Result<(), Failed> {
    let plan = Plan {
        jobs: args.jobs as usize,
        rate: args.rate.to_string(),
    };
    let mut demo = Demo::start(plan, &stop).await?;
    telemetry::init(demo.log()).map_err(|error| Failed::Usage(error.into()))?;
    hint(&format!(
        "{} jobs at {}, against a simulator on {}",
        args.jobs,
        args.rate,
        demo.simulator()
    ));
    let ended = watch(&mut demo, &stop).await?;
    let account = demo.account();
    if !ended {
        let dead: usize = account.dead.values().sum();
        hint(&format!(
            "interrupted: {} of {} jobs launched, {dead} dead; the others go with their temporary folder",
            account.launched, account.jobs
        ));
        return Ok(demo.stop().await?);
    }
    say(&account, &args)?;
    if args.keep && account.unaccounted.is_empty() && !stop.is_cancelled() {
        kept(&demo);
        stop.cancelled().await;
    }
    demo.stop().await?;
    match account.unaccounted.len() {
        0 => Ok(()),
        wrong => Err(Failed::Work(anyhow!(
            "{wrong} of {} jobs are not accounted for",
            account.jobs
        ))),
    }
}

/// Shows how far it is until every job has ended, or none will any more; false when a signal comes before.
async fn watch(demo: &mut Demo, stop: &CancellationToken) -> anyhow::Result<bool> {
    let mut screen = Screen::new();
    let period = demo.period();
    let ended = loop {
        // Looked at first: a signal ends the worker too, and that is no end of the jobs.
        let stopped = stop.is_cancelled();
        let progress = demo.progress().await?;
        screen.show(&progress);
        if progress.launched + progress.dead >= progress.jobs || !stopped && progress.is_over(period) {
            break true;
        }
        if stop.run_until_cancelled(sleep(LOOK)).await.is_none() {
            break false;
        }
    };
    screen.bar.finish_and_clear();
    Ok(ended)
}

/// Where progress goes.
struct Screen {
    bar: ProgressBar,
    lines: bool,
    told: Instant,
    /// Some looks back: when, and how many had ended.
    past: std::collections::VecDeque<(Instant, usize)>,
}

impl Screen {
    fn new() -> Self {
        let lines = !std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{bar:16} {pos}/{len}  {wide_msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        let now = Instant::now();
        Self {
            bar,
            lines,
            told: now,
            past: [(now, 0)].into(),
        }
    }

    fn show(&mut self, progress: &Progress) {
        let ended = progress.launched + progress.dead;
        let now = Instant::now();
        self.past.push_back((now, ended));
        if self.past.len() > 15 {
            self.past.pop_front();
        }
        let rate = self.past.front().map_or(0.0, |(since, before)| {
            (ended - before) as f64 / now.duration_since(*since).as_secs_f64().max(0.1)
        });
        let text = format!(
            "{rate:.0}/s, {} in flight, {} delayed, {} dead; gate {}",
            progress.in_flight, progress.delayed, progress.dead, progress.gate
        );
        self.bar.set_length(progress.jobs as u64);
        self.bar.set_position(ended as u64);
        self.bar.set_message(text.clone());
        if self.lines && self.told.elapsed() >= LINE {
            self.told = now;
            hint(&format!("{ended}/{}  {text}", progress.jobs));
        }
    }
}

#[expect(clippy::print_stderr, reason = "a word to the person at the terminal")]
fn hint(text: &str) {
    eprintln!("{text}");
}

fn say(account: &Account, args: &Args) -> anyhow::Result<()> {
    if args.json {
        return out::json(account);
    }
    out::print(text(account, args.rate))
}

/// The account, for a person.
fn text(account: &Account, rate: Rate) -> String {
    use std::fmt::Write as _;

    let mut text = String::new();
    let whole = if account.unaccounted.is_empty() {
        "each of them accounted for"
    } else {
        "NOT all of them accounted for"
    };
    let _ = writeln!(text, "{} jobs in {:.1} s, {whole}:\n", account.jobs, account.seconds);
    let _ = writeln!(text, "  launched  {:>6}", account.launched);
    let dead: usize = account.dead.values().sum();
    let reasons: Vec<_> = account
        .dead
        .iter()
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    let _ = writeln!(text, "  dead      {dead:>6}  {}", reasons.join(", "));
    for wrong in account.unaccounted.iter().take(SHOWN) {
        let _ = writeln!(text, "  {wrong}");
    }
    if account.unaccounted.len() > SHOWN {
        let _ = writeln!(text, "  and {} more", account.unaccounted.len() - SHOWN);
    }
    if let Some(unknown) = account.dead.get("unknown") {
        let _ = writeln!(
            text,
            "\n{unknown} calls got no answer that tells (it was lost, or a 500): were they launched?\n\
             They wait for a person (retry.on_unknown = \"park\"): nobody is called twice."
        );
    }
    let _ = writeln!(
        text,
        "\nBy the simulator's own record: {} launches, {} calls,\n\
         {} of them answered 429. Those jobs waited until the time that it named,\n\
         and lost no attempt for it.",
        account.accepted, account.calls, account.throttled
    );
    if let Some(allowed) = account.allowed {
        let _ = writeln!(
            text,
            "In that time {rate} allowed {allowed} calls: {:.0} % were used.",
            account.calls as f64 * 100.0 / allowed.max(1) as f64
        );
    }
    text.push_str(
        "\nNext:\n  \
         flowlaunch demo --keep         leave it running, and look at its metrics\n  \
         flowlaunch simulator           a stand-in for the API, for your own trials\n  \
         flowlaunch publish jobs.jsonl  your own jobs: see flowlaunch publish --help\n  \
         flowlaunch check               what is set, and whether it will do\n",
    );
    text
}

fn kept(demo: &Demo) {
    hint(&format!(
        "\nIt goes on until Ctrl-C. Metrics: http://{admin}/metrics\n\
         More jobs: flowlaunch publish --config {config} jobs.jsonl\n\
         What the simulator launched: {simulator}/_sim/launches",
        admin = demo.admin(),
        config = demo.folder().join("flowlaunch.toml").display(),
        simulator = demo.simulator(),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_fits_a_terminal_of_80_columns_and_names_what_is_wrong() {
        let account = Account {
            jobs: 1_000_000,
            launched: 999_000,
            dead: [("malformed", 500), ("refused", 300), ("unknown", 200)].into(),
            unaccounted: (0..12).map(|n| format!("demo-{n:04}: no result")).collect(),
            accepted: 999_100,
            throttled: 3,
            calls: 1_000_300,
            allowed: Some(1_010_000),
            seconds: 20_000.0,
        };
        let text = text(&account, "4000/min".parse().unwrap());
        let long: Vec<_> = text.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "{long:?}");
        assert!(
            text.contains("NOT all") && text.contains("demo-0009") && text.contains("and 2 more"),
            "{text}"
        );
    }
}
