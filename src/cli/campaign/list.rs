//! `flowlaunch campaign list`: every run there was.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::journal;
use super::text::{cut, day};
use crate::campaign::journal::{Counts, Run};
use crate::cli::{Failed, out};
use crate::config::Config;

/// Arguments of `flowlaunch campaign list`.
#[derive(clap::Args, Debug)]
#[command(after_help = "The newest first, from the journal (campaign.journal).\n\n\
    With --json: a list of campaign, run, state (running, paused, cancelled,\n\
    finished), reason, rows, launched, notLaunched, createdAt, source, runsNow.")]
pub(super) struct Args {
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Config, args: &Args) -> Result<(), Failed> {
    let journal = journal::open(config)?;
    let mut runs = Vec::new();
    for run in journal.runs()? {
        let (counts, now) = (journal.counts(run.id)?, journal.is_run_now(&run));
        runs.push((run, counts, now));
    }
    if args.json {
        let runs: Vec<_> = runs
            .iter()
            .map(|(run, counts, now)| as_json(run, counts, *now))
            .collect();
        out::json(&runs)?;
    } else {
        out::print(as_text(&runs))?;
    }
    Ok(())
}

fn as_json(run: &Run, counts: &Counts, now: bool) -> Value {
    json!({
        "campaign": run.name,
        "run": run.number,
        "state": run.state.as_str(),
        "reason": run.reason,
        "rows": counts.total(),
        "launched": counts.launched(),
        "notLaunched": counts.not_launched(),
        "createdAt": run.created,
        "source": run.source,
        "runsNow": now,
    })
}

/// For a terminal of 80 columns.
fn as_text(runs: &[(Run, Counts, bool)]) -> String {
    if runs.is_empty() {
        return "no campaign was run yet\n".to_owned();
    }
    let mut text = format!(
        "{:<17} {:>3} {:<9} {:>8} {:>8} {:>12} {:<16}\n",
        "campaign", "run", "state", "rows", "launched", "not launched", "created"
    );
    for (run, counts, _) in runs {
        let _ = writeln!(
            text,
            "{:<17} {:>3} {:<9} {:>8} {:>8} {:>12} {:<16}",
            cut(&run.name, 17),
            run.number,
            run.state.as_str(),
            counts.total(),
            counts.launched(),
            counts.not_launched(),
            day(run.created)
        );
    }
    text
}
