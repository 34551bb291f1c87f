//! `flowlaunch campaign run`: every row, when it is due.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use serde_json::json;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::inputs::Reader;
use super::rejects::keep_rejects;
use super::screen::Screen;
use super::settings::{Flags, Settings};
use super::text::remedy;
use super::usage;
use crate::app::campaign::{self as app, Campaign, Launcher, Options};
use crate::campaign::begin::{BeginError, Begun, Order, begin, so_many};
use crate::campaign::journal::{Counts, JournalError, Row, RowState, Run, RunState};
use crate::campaign::plan::PlanError;
use crate::campaign::run::Ended;
use crate::campaign::source::{Source, SourceError};
use crate::cli::{Failed, ask, out, told};
use crate::config::Config;
use crate::units;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// First rows that are shown; the report has all.
const SHOWN: usize = 20;
/// Bad rows that are shown; the rejects have all.
const BAD_SHOWN: usize = 5;

/// Arguments of `flowlaunch campaign run`.
#[derive(clap::Args, Debug)]
#[command(after_help = "  \
    flowlaunch campaign run customers.csv --name spring --pace 120/min --key customer_id \\\n      \
    --flow-id 5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b --windows \"Mon-Fri 09:00-18:00\" \\\n      \
    --timezone-column zone --first 10\n  \
    flowlaunch campaign run --file spring.toml\n\n\
    Nothing is published before the whole file was read and found sound. Ctrl-C, a kill\n\
    or a closed laptop lose nothing: the same command goes on where it was. Whoever\n\
    wants the rows launched once more says --again.\n\
    With the embedded broker it launches by itself, unless a worker runs already; with\n\
    RabbitMQ workers do.\n\
    Exit codes: 0 every row was launched; 1 some were not, and `flowlaunch campaign\n\
    report NAME` names them; 2 usage, nothing was published.")]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,

    /// Launch so many rows, follow them to their end, show them, and ask before the rest.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    first: Option<u64>,

    /// Do not ask.
    #[arg(long)]
    yes: bool,

    /// A new run of a campaign that is over: every row once more.
    #[arg(long)]
    again: bool,

    /// Launch nothing from here: a worker runs elsewhere.
    #[arg(long)]
    no_worker: bool,

    /// Serve metrics and probes there, such as 127.0.0.1:9465; else nowhere.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,

    /// With nothing left anywhere, wait so long for results that do not come.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = units::parse_duration)]
    give_up_after: Duration,

    /// Where bad rows are listed; else NAME-rejects.csv, when there are any.
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,

    /// Print the account as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: Config, args: Args, stop: CancellationToken) -> Result<(), Failed> {
    app::check(&config, !args.no_worker).map_err(Failed::Usage)?;
    let settings = args.flags.settings()?;
    let name = settings.name.clone();
    let wanted = (args.again, args.first, args.rejects.clone());
    let config = Arc::new(config);
    let (limits, until) = (config.clone(), stop.clone());
    // A file of millions must not keep a signal waiting.
    let reading = app::apart(move || read(&limits, settings, wanted, &until)).context("cannot start a thread")?;
    let Some(begun) = stop.run_until_cancelled(reading).await else {
        told::hint("interrupted: nothing was published");
        return Ok(());
    };
    let begun = begun.context("reading the rows died")??;
    said(&begun, &args);
    let options = Options {
        no_worker: args.no_worker,
        listen: args.listen,
        give_up_after: args.give_up_after,
    };
    let starting = Campaign::start(&config, begun, &options);
    let Some(campaign) = stop.run_until_cancelled(starting).await else {
        return Ok(());
    };
    let mut campaign = campaign?;
    match campaign.launcher() {
        Launcher::Here => {}
        Launcher::Elsewhere => told::hint("the workers that run elsewhere launch it"),
        Launcher::InTurn => told::hint("the worker that runs already launches it, and when that ends this one does"),
    }
    if let Some(listens) = campaign.listens() {
        told::hint(&format!("metrics: http://{listens}/metrics"));
    }
    let ended = go(&mut campaign, &args, &stop).await;
    let (run, counts) = campaign.look(|desk| (desk.run().clone(), desk.counts()));
    let stopped = campaign.stop().await;
    let ended = ended?;
    stopped?;
    tell(&run, counts, ended, args.json)?;
    let (name, launched) = (&name, counts.launched());
    match ended {
        Ended::Finished | Ended::Cancelled if launched == counts.total() => Ok(()),
        Ended::Finished | Ended::Cancelled => Err(Failed::Work(anyhow!(
            "{}: `flowlaunch campaign report {name}` names them",
            missed(counts)
        ))),
        Ended::FirstDone => Err(Failed::Work(anyhow!(
            "the first rows are done, and nothing else was published: the same command without --first launches the rest"
        ))),
        Ended::Stopped => Ok(()),
    }
}

/// How many were not launched, and of how many nobody knows.
fn missed(counts: Counts) -> String {
    let doubt = counts.of(RowState::Unknown) + counts.of(RowState::Unaccounted);
    let (all, not) = (counts.total(), counts.total() - counts.launched() - doubt);
    match (not, doubt) {
        (not, 0) => format!("{not} of {all} rows were not launched"),
        (0, doubt) => format!("{doubt} of {all} rows may have been launched, or not"),
        (not, doubt) => format!("{not} of {all} rows were not launched, and {doubt} may have been"),
    }
}

/// Reads the rows, or finds the run that goes on.
fn read(
    config: &Config,
    settings: Settings,
    (again, first, rejects): (bool, Option<u64>, Option<PathBuf>),
    stop: &CancellationToken,
) -> Result<Begun, Failed> {
    let Settings {
        file,
        name,
        rows,
        constants,
    } = settings;
    let reader = Reader::new(config, &file, stop)?;
    let mut bad = tempfile::tempfile().context("cannot make a temporary file for the rejects")?;
    let order = Order {
        file: &file,
        name: &name,
        constants,
        journal: &config.campaign.journal,
        again,
        first,
        on_unknown: config.retry.on_unknown,
        limit: config.limits.rate.per_window(Duration::from_secs(1)),
    };
    let begun = begin(order, || Source::open(&rows), &|ids| reader.read(ids), &bad);
    let found = match &begun {
        Ok(begun) => begun.plan.as_ref().map(|plan| &plan.summary),
        Err(BeginError::Bad(summary) | BeginError::Empty(summary)) => Some(summary),
        Err(_) => None,
    };
    if let Some(summary) = found {
        let count = summary.bad + summary.repeated;
        let path = keep_rejects(rejects.as_deref(), &name, count, &mut bad)?;
        for bad in summary.first.iter().take(BAD_SHOWN) {
            told::hint(&bad.to_string());
        }
        if let Some(path) = path {
            told::hint(&format!(
                "bad or repeated: {}, listed in {}",
                so_many(count),
                path.display()
            ));
        }
    }
    begun.map_err(|error| match error {
        BeginError::Held(_)
        | BeginError::Bad(_)
        | BeginError::Empty(_)
        | BeginError::Open(_)
        | BeginError::Journal(_)
        | BeginError::Plan(PlanError::Flows(_) | PlanError::Source(SourceError::Rejects(_))) => {
            Failed::Work(error.into())
        }
        BeginError::Lock { .. }
        | BeginError::Plan(_)
        | BeginError::Changed { .. }
        | BeginError::Otherwise { .. }
        | BeginError::Over { .. } => usage(error),
    })
}

/// What begins here.
fn said(begun: &Begun, args: &Args) {
    let (run, counts) = (begun.desk.run(), begun.desk.counts());
    let goes = if begun.plan.is_some() {
        so_many(counts.total())
    } else {
        format!(
            "goes on: {} of {} rows have come to their end",
            counts.ended(),
            counts.total()
        )
    };
    told::hint(&format!("campaign {}, run {}: {goes}", run.name, run.number));
    if let Some(late) = begun.plan.as_ref().and_then(|plan| plan.late) {
        told::hint(&format!("its start, {late}, is past: it begins now"));
    }
    if let (RunState::Paused, Some(reason)) = (run.state, &run.reason) {
        told::hint(&format!("it was paused: {reason}; `{}` goes on with it", remedy(run)));
    }
    if let Some(first) = args.first.filter(|_| begun.plan.is_some()) {
        told::hint(&format!("the first {first} rows go, and are followed to their end"));
    }
}

async fn go(campaign: &mut Campaign, args: &Args, stop: &CancellationToken) -> anyhow::Result<Ended> {
    loop {
        let ended = watch(campaign, stop).await?;
        if ended != Ended::FirstDone {
            return Ok(ended);
        }
        let (rows, left) = campaign.look(|desk| -> Result<_, JournalError> {
            let rows = desk.journal().first_published(desk.run().id, SHOWN)?;
            Ok((rows, desk.counts().of(RowState::Planned)))
        })?;
        out::print(first(&rows))?;
        let question = format!("{left} more rows wait.");
        let go_on = args.yes
            || ask::can_ask()
                && stop
                    .run_until_cancelled(ask::ask(&question))
                    .await
                    .unwrap_or(Ok(false))?;
        if stop.is_cancelled() {
            return Ok(Ended::Stopped);
        }
        if !go_on {
            return Ok(Ended::FirstDone);
        }
        campaign.all();
    }
}

/// Runs it, and shows how far it is.
async fn watch(campaign: &mut Campaign, stop: &CancellationToken) -> anyhow::Result<Ended> {
    let (mut screen, progress) = (Screen::new(), campaign.progress());
    let mut look = interval(LOOK);
    let ended = {
        let mut running = std::pin::pin!(campaign.run(stop));
        loop {
            tokio::select! {
                ended = &mut running => break ended,
                _ = look.tick() => {
                    let progress = progress.borrow().clone();
                    screen.show(&progress, Timestamp::now());
                }
            }
        }
    };
    screen.clear();
    ended
}

/// The first rows, for a person who decides about the rest.
fn first(rows: &[Row]) -> String {
    let mut text = "line      state      execution or reason\n".to_owned();
    for row in rows {
        let what = row
            .execution_id
            .as_deref()
            .filter(|_| row.error.is_none())
            .or(row.error.as_deref())
            .or(row.reason.as_deref())
            .unwrap_or_default();
        let what: String = what.chars().take(58).collect();
        text += &format!("{:<9} {:<10} {what}\n", row.planned.line, row.state.as_str());
    }
    text
}

/// How it ended.
fn tell(run: &Run, counts: Counts, ended: Ended, as_json: bool) -> anyhow::Result<()> {
    let states = RowState::ALL.map(|state| (state.as_str(), counts.of(state)));
    if as_json {
        let rows: serde_json::Map<_, _> = states
            .into_iter()
            .map(|(state, rows)| (state.to_owned(), json!(rows)))
            .collect();
        return out::json(&json!({
            "campaign": run.name,
            "run": run.number,
            "ended": match ended {
                Ended::Finished => "finished",
                Ended::Cancelled => "cancelled",
                Ended::FirstDone => "firstDone",
                Ended::Stopped => "stopped",
            },
            "rows": counts.total(),
            "byState": rows,
        }));
    }
    let name = &run.name;
    let mut text = match ended {
        Ended::Finished => format!(
            "campaign {name}, run {}: each of {} rows is accounted for\n",
            run.number,
            counts.total()
        ),
        Ended::Cancelled => format!(
            "campaign {name}, run {}: cancelled; each of {} rows is accounted for\n",
            run.number,
            counts.total()
        ),
        Ended::FirstDone => format!("campaign {name}, run {}: its first rows are done\n", run.number),
        Ended::Stopped => format!(
            "campaign {name}, run {}: stopped here; the same command goes on. Workers that\nrun elsewhere launch what is published all the same:\n`flowlaunch campaign pause {name}` holds it\n",
            run.number
        ),
    };
    for (state, rows) in states.into_iter().filter(|(_, rows)| *rows > 0) {
        text += &format!("  {state:<12} {rows:>9}\n");
    }
    out::print(text)
}
