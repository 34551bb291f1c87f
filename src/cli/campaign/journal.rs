//! The journal, for commands that only look.

use anyhow::anyhow;

use crate::campaign::journal::{Journal, JournalError, OpenError, Run};
use crate::cli::Failed;
use crate::config::Config;

/// Opens it; it is not made.
pub(super) fn open(config: &Config) -> Result<Journal, OpenError> {
    Journal::open_to_look(&config.campaign.journal)
}

/// The run that is meant: the one of this number, else the latest.
pub(super) fn run(journal: &Journal, config: &Config, name: &str, number: Option<u32>) -> Result<Run, Failed> {
    if let Some(run) = find(journal, name, number)? {
        return Ok(run);
    }
    let file = config.campaign.journal.display();
    if let (Some(number), Some(latest)) = (number, find(journal, name, None)?) {
        let known = latest.number;
        return Err(Failed::Work(anyhow!(
            "campaign {name} has no run {number} in {file}: its latest is {known}"
        )));
    }
    let mut names: Vec<_> = journal.runs()?.into_iter().map(|run| run.name).collect();
    names.sort();
    names.dedup();
    names.truncate(10);
    let there = match names.as_slice() {
        [] => "there is none yet".to_owned(),
        names => format!("there is {}", names.join(", ")),
    };
    Err(Failed::Work(anyhow!("no campaign {name} is in {file}: {there}")))
}

fn find(journal: &Journal, name: &str, number: Option<u32>) -> Result<Option<Run>, JournalError> {
    match number {
        Some(number) => journal.numbered(name, number),
        None => journal.latest(name),
    }
}
