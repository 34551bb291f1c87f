//! `flowlaunch campaign pause`, `resume` and `cancel`: from any host that reaches the broker.

use anyhow::anyhow;
use jiff::Timestamp;

use super::{checked_name, journal, usage};
use crate::campaign::journal::{Journal, OpenError, Run, RunState};
use crate::cli::{Failed, ask, out, pause, told};
use crate::config::Config;
use crate::control::{Entry, Scope};

/// Arguments of `flowlaunch campaign pause`.
#[derive(clap::Args, Debug)]
#[command(after_help = "  \
    flowlaunch campaign pause spring --reason \"wrong announcement\"\n\n\
    Whoever runs it publishes nothing more; what waits or is delayed already is held\n\
    back too, and spends no attempt. What a worker has sent is not called back. The\n\
    pause outlives restarts, until somebody resumes it. `flowlaunch pause --campaign`\n\
    does the same.")]
pub(super) struct PauseArgs {
    /// What it is called.
    #[arg(value_parser = checked_name)]
    name: String,

    /// Why, for those who wonder.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Arguments of `flowlaunch campaign resume`.
#[derive(clap::Args, Debug)]
#[command(after_help = "  \
    flowlaunch campaign resume spring\n\n\
    One that paused itself after many failures goes on as well: mend them before.")]
pub(super) struct ResumeArgs {
    /// What it is called.
    #[arg(value_parser = checked_name)]
    name: String,
}

/// Arguments of `flowlaunch campaign cancel`.
#[derive(clap::Args, Debug)]
#[command(after_help = "  \
    flowlaunch campaign cancel spring\n  \
    flowlaunch campaign cancel spring --run 2 --yes\n\n\
    Nothing of that run is launched any more: not what is still planned, nor what\n\
    waits or is delayed. What a worker has sent is not called back. It cannot be\n\
    undone; `flowlaunch campaign pause` can.")]
pub(super) struct CancelArgs {
    /// What it is called.
    #[arg(value_parser = checked_name)]
    name: String,

    /// Which run; else the latest in the journal of this host.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    run: Option<u32>,

    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

fn scope(name: &str) -> Scope {
    Scope::Campaign {
        name: name.to_owned(),
        run: None,
    }
}

pub(super) async fn pause(config: Config, args: PauseArgs) -> Result<(), Failed> {
    let name = &args.name;
    // Before the broker is asked: a slip in the name must not pass for a pause.
    if let Ok(journal) = journal::open(&config)
        && journal.latest(name).is_ok_and(|run| run.is_none())
    {
        told::hint(&format!(
            "no campaign {name} is in {}; it is paused wherever it runs",
            config.campaign.journal.display()
        ));
    }
    let why = args.reason.clone().unwrap_or_else(|| "by a person".to_owned());
    pause::begin(&config, &scope(name), args.reason).await?;
    note(&config, name, None, RunState::Paused, Some(&why));
    if latest(&config, name).is_some_and(|run| run.state == RunState::Finished) {
        told::hint("its latest run is finished: the pause holds the next one");
    }
    out::print(format!(
        "paused: campaign {name}. Nothing more of it is published, and what waits already is\n\
         held back; what a worker has sent is not called back.\n\
         `flowlaunch campaign resume {name}` ends it\n"
    ))?;
    Ok(())
}

pub(super) async fn resume(config: Config, args: ResumeArgs) -> Result<(), Failed> {
    pause::end(&config, &scope(&args.name)).await?;
    note(&config, &args.name, None, RunState::Running, None);
    Ok(())
}

fn latest(config: &Config, name: &str) -> Option<Run> {
    journal::open(config).ok()?.latest(name).ok()?
}

/// Where nobody runs it, nobody would note it in this host's journal, if it is there.
fn note(config: &Config, name: &str, number: Option<u32>, state: RunState, reason: Option<&str>) {
    let Some(run) = latest(config, name) else { return };
    let goes = matches!(run.state, RunState::Running | RunState::Paused);
    if !goes || number.is_some_and(|number| number != run.number) {
        return;
    }
    let noted = Journal::open_existing(&config.campaign.journal)
        .map_err(anyhow::Error::from)
        .and_then(|journal| {
            if !journal.is_run_now(&run) {
                journal.set_state(run.id, state, reason)?;
            }
            Ok(())
        });
    if let Err(error) = noted {
        told::hint(&format!("it holds; the journal here does not say so yet: {error:#}"));
    }
}

pub(super) async fn cancel(config: Config, args: CancelArgs) -> Result<(), Failed> {
    let CancelArgs { name, run, yes } = args;
    let (run, what) = meant(&config, &name, run)?;
    if !yes {
        if !ask::can_ask() {
            return Err(usage(anyhow!(
                "this would cancel {what}, and nobody can be asked here: say --yes"
            )));
        }
        if !ask::ask(&format!("This cancels {what}. It cannot be undone.")).await? {
            return Err(Failed::Work(anyhow!("nothing was cancelled")));
        }
    }
    let entry = Entry::Cancel {
        campaign: name.clone(),
        run,
        at: Timestamp::now(),
    };
    let runs_now = journal::open(&config)
        .ok()
        .zip(latest(&config, &name))
        .is_some_and(|(journal, latest)| journal.is_run_now(&latest));
    pause::write(&config, &entry).await?;
    note(&config, &name, Some(run), RunState::Cancelled, Some("by a person"));
    out::print(format!(
        "cancelled: campaign {name}, run {run}. What waits or is delayed is not launched\n\
         any more; what a worker has sent is not called back.\n"
    ))?;
    if !runs_now {
        told::hint("nobody runs it here now: the same `campaign run` makes up its account, and launches nothing");
    }
    Ok(())
}

/// The number of the run, and what would be cancelled, as far as that is known here.
fn meant(config: &Config, name: &str, number: Option<u32>) -> Result<(u32, String), Failed> {
    let unseen = |number| (number, format!("run {number} of campaign {name}"));
    let journal = match (journal::open(config), number) {
        (Ok(journal), _) => journal,
        // It is noted on the host where it runs.
        (Err(_), Some(number)) => return Ok(unseen(number)),
        (Err(error @ OpenError::Missing { .. }), None) => {
            return Err(usage(anyhow!(
                "say which run: --run N. {error}; `flowlaunch campaign list` says it on the host that runs it, and so do \
                 the ids of its jobs, {name}:N:KEY"
            )));
        }
        (Err(error), None) => return Err(error.into()),
    };
    match number {
        Some(number) if journal.numbered(name, number)?.is_none() => Ok(unseen(number)),
        _ => known(&journal, config, name, number),
    }
}

fn known(journal: &Journal, config: &Config, name: &str, number: Option<u32>) -> Result<(u32, String), Failed> {
    let run = journal::run(journal, config, name, number)?;
    if run.state == RunState::Finished {
        return Err(Failed::Work(anyhow!(
            "run {} of campaign {name} is finished: there is nothing left to cancel",
            run.number
        )));
    }
    let counts = journal.counts(run.id)?;
    let (all, left) = (counts.total(), counts.total() - counts.ended());
    let what = format!(
        "run {} of campaign {name}: {left} of {all} rows have not come to their end",
        run.number
    );
    Ok((run.number, what))
}
