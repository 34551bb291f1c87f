//! What `run` does before anything is published: a new run with all of its rows in the journal, or one that goes on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::value::RawValue;

use super::file::CampaignFile;
use super::inputs::ReadFlows;
use super::journal::{Hold, Journal, JournalError, Loaded, NewRow, NewRun, OpenError, RowState, Run, RunState};
use super::plan::{self, Plan, PlanError};
use super::run::{Desk, Terms};
use super::schedule;
use super::source::{Entry, Source, SourceError, Summary};
use crate::job::OnUnknown;
use crate::lane::Lane;

/// Failures in a row that pause a campaign, unless it says something else.
const PAUSE_ON_FAILURES: u32 = 20;

/// What is asked for.
#[derive(Debug)]
pub struct Order<'a> {
    /// The settings.
    pub file: &'a CampaignFile,
    /// The campaign's name.
    pub name: &'a str,
    /// Inputs that are the same for all rows.
    pub constants: Vec<(String, Box<RawValue>)>,
    /// The journal.
    pub journal: &'a Path,
    /// Begin anew, although it ran before.
    pub again: bool,
    /// These first, to be looked at.
    pub first: Option<u64>,
    /// What a worker does with an unknown outcome when a job does not say.
    pub on_unknown: OnUnknown,
    /// Launches a second that the limit allows.
    pub limit: Option<f64>,
}

/// A run that can go.
#[derive(Debug)]
pub struct Begun {
    /// For the runner.
    pub desk: Desk,
    /// Nobody else runs it meanwhile.
    pub hold: Hold,
    /// What the pass over the rows found, for a new run.
    pub plan: Option<Plan>,
}

/// Why it cannot go. Nothing is published.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The journal cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Or not be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There can be no lock beside it.
    #[error(
        "there can be no lock beside the journal {} (campaign.journal): is its folder there, and may it be written? {why}",
        journal.display()
    )]
    Lock {
        /// The journal.
        journal: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// Somebody else runs it.
    #[error("campaign {0} is being run by another process: `flowlaunch campaign status {0}` shows it")]
    Held(String),
    /// The settings or the rows are no good.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Some rows are bad.
    #[error(
        "{} cannot be launched: mend what is wrong, or go without with --skip-bad; nothing was published",
        so_many(.0.bad)
    )]
    Bad(Summary),
    /// There is not one row to launch.
    #[error("there is no row to launch")]
    Empty(Summary),
    /// Another file.
    #[error(
        "campaign {name} was begun with other rows ({source_name}, run {run}): a row that was launched must not be taken for \
         another. Run it with that file as it was; for the new rows take another --name, or --again for a new run"
    )]
    Changed {
        /// The campaign.
        name: String,
        /// Its input.
        source_name: String,
        /// The run.
        run: u32,
    },
    /// The same file, read otherwise.
    #[error(
        "campaign {name} was begun with another --{} (run {run}), and its rows were read so: run it with the same one; \
         --again makes a new run",
        key.replace('_', "-")
    )]
    Otherwise {
        /// The campaign.
        name: String,
        /// The setting.
        key: &'static str,
        /// The run.
        run: u32,
    },
    /// It is over.
    #[error("campaign {name} is {how} (run {run}): --again launches all of it once more, as run {}", run + 1)]
    Over {
        /// The campaign.
        name: String,
        /// How it ended.
        how: &'static str,
        /// The run.
        run: u32,
    },
}

/// Opens the journal; a run that goes on is found in it, a new one read into it: as a whole, or not at all. Bad rows go to
/// `rejects`. `flows` is asked when the inputs are to be checked.
///
/// # Errors
/// See [`BeginError`].
pub fn begin(
    order: Order<'_>,
    open: impl FnOnce() -> Result<Source, SourceError>,
    flows: ReadFlows<'_>,
    rejects: impl Write,
) -> Result<Begun, BeginError> {
    // Before anything is made: settings that are none.
    let schedule = plan::schedule(order.file)?;
    let hold = Hold::take(order.journal, order.name)
        .map_err(|why| BeginError::Lock {
            journal: order.journal.to_owned(),
            why,
        })?
        .ok_or_else(|| BeginError::Held(order.name.to_owned()))?;
    let mut journal = Journal::open(order.journal)?;
    let latest = journal.latest(order.name)?;
    let going_on = match latest {
        Some(run) if goes_on(&journal, &run)? => Some(run),
        Some(run) if !order.again => {
            return Err(BeginError::Over {
                name: run.name,
                how: run.state.as_str(),
                run: run.number,
            });
        }
        Some(_) | None => None,
    };
    // What came over the standard input is in the journal: nobody can be asked for it again.
    let spooled = order.file.file.as_deref() == Some(Path::new("-"));
    let (run, plan) = match going_on {
        Some(run) if spooled => (same(run, &order)?, None),
        Some(run) => {
            let digest = open().map_err(PlanError::from)?.digest();
            if digest != run.digest {
                return Err(BeginError::Changed {
                    name: run.name,
                    source_name: run.source,
                    run: run.number,
                });
            }
            (same(run, &order)?, None)
        }
        None => {
            let source = open().map_err(PlanError::from)?;
            let (run, plan) = read(&mut journal, &order, &source, flows, rejects)?;
            (run, Some(plan))
        }
    };
    journal.set_settings(run.id, &order.file.to_json())?;
    let terms = Terms {
        schedule,
        zone: zone(order.file)?.unwrap_or(TimeZone::UTC),
        lane: order.file.lane.unwrap_or(Lane::Bulk),
        flow: order.file.flow_id.clone(),
        track: order.file.track.unwrap_or(false),
        on_unknown: order.file.on_unknown,
        on_unknown_else: order.on_unknown,
        max_attempts: order.file.max_attempts,
        pause_on_failures: order.file.pause_on_failures.unwrap_or(PAUSE_ON_FAILURES),
    };
    let desk = Desk::new(journal, run, terms, order.first)?;
    Ok(Begun { desk, hold, plan })
}

/// What the rows are called, wherever the report is asked for.
fn found_again(name: &str) -> String {
    let path = Path::new(name);
    match std::path::absolute(path) {
        Ok(absolute) if path.exists() => absolute.display().to_string(),
        Ok(_) | Err(_) => name.to_owned(),
    }
}

/// Whether there is something left to do in this run. One that was cancelled has its account to be made up.
fn goes_on(journal: &Journal, run: &Run) -> Result<bool, JournalError> {
    Ok(match run.state {
        RunState::Loading | RunState::Finished => false,
        RunState::Running | RunState::Paused => true,
        RunState::Cancelled => {
            let counts = journal.counts(run.id)?;
            counts.of(RowState::Planned) + counts.of(RowState::Sending) + counts.of(RowState::Published) > 0
        }
    })
}

/// The run, when its rows were read as they would be now.
fn same(run: Run, order: &Order<'_>) -> Result<Run, BeginError> {
    let before = CampaignFile::from_json(&run.settings);
    match before.and_then(|before| before.reads_otherwise(order.file)) {
        Some(key) => Err(BeginError::Otherwise {
            name: run.name,
            key,
            run: run.number,
        }),
        None => Ok(run),
    }
}

fn zone(file: &CampaignFile) -> Result<Option<TimeZone>, PlanError> {
    let zone = file.timezone.as_deref().map(schedule::zone).transpose();
    zone.map_err(|said| PlanError::Setting(format!("timezone: {said}")))
}

/// Reads the rows twice: once to find out whether all of them are sound, and again into the journal.
fn read(
    journal: &mut Journal,
    order: &Order<'_>,
    source: &Source,
    flows: ReadFlows<'_>,
    rejects: impl Write,
) -> Result<(Run, Plan), BeginError> {
    let constants = || order.constants.clone();
    let now = Timestamp::now();
    let plan = plan::plan(order.file, source, constants(), rejects, order.limit, flows, now)?;
    if plan.summary.bad > 0 && order.file.skip_bad != Some(true) {
        return Err(BeginError::Bad(plan.summary));
    }
    if plan.summary.rows == 0 {
        return Err(BeginError::Empty(plan.summary));
    }
    let mapping = Arc::new(order.file.mapping(constants()).map_err(PlanError::Setting)?);
    let layout = order.file.layout().map_err(PlanError::Setting)?;
    let rows = source
        .rows(&layout, &mapping, plan::known_zone)
        .map_err(PlanError::from)?;
    let loaded = rows.map(|entry| match entry {
        Ok(Entry::Row(row)) if plan.refused.binary_search(&row.line).is_err() => Ok(Loaded::Row(NewRow {
            line: row.line,
            key: row.key,
            flow_id: row.flow_id,
            inputs: row.inputs.get().to_owned(),
            zone: row.timezone,
        })),
        Ok(Entry::Row(row)) => Ok(unfit(
            row.line,
            "bad",
            "it cannot be launched: see the rejects".to_owned(),
        )),
        Ok(Entry::Bad(bad)) => Ok(unfit(bad.line, "bad", bad.to_string())),
        Ok(Entry::Repeated { line, .. }) => {
            let why = "an earlier row has its key; that one counts";
            Ok(unfit(line, "repeated", why.to_owned()))
        }
        Err(error) => Err(BeginError::from(PlanError::from(error))),
    });
    let new = NewRun {
        name: order.name.to_owned(),
        digest: plan.digest.clone(),
        source: found_again(source.name()),
        settings: order.file.to_json(),
    };
    let id = journal.begin(&new, loaded)?;
    let run = journal.latest(order.name)?.filter(|run| run.id == id);
    Ok((run.ok_or_else(|| BeginError::Empty(plan.summary.clone()))?, plan))
}

/// So many, in words.
pub fn so_many(count: u64) -> String {
    format!("{count} {}", if count == 1 { "row" } else { "rows" })
}

fn unfit(line: u64, reason: &'static str, error: String) -> Loaded {
    Loaded::Unfit { line, reason, error }
}
