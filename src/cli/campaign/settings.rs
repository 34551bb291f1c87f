//! The settings of a campaign, as flags and as a campaign file: what `plan` shows and `run` does.

use std::io::{IsTerminal as _, stdin};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::value::RawValue;

use super::{checked_name, usage};
use crate::campaign::file::CampaignFile;
use crate::campaign::source::Format;
use crate::cli::inputs::{self, Input};
use crate::cli::{Failed, told};
use crate::job::OnUnknown;
use crate::lane::Lane;

/// The flags.
#[derive(clap::Args, Debug)]
pub(super) struct Flags {
    /// The rows: CSV with a header or JSON Lines, gzip too; - for standard input.
    #[arg(value_name = "ROWS")]
    rows: Option<PathBuf>,

    /// What the campaign is called.
    #[arg(long, value_parser = checked_name)]
    name: Option<String>,

    /// A campaign file with these settings; flags go before it.
    #[arg(long, value_name = "CAMPAIGN.toml")]
    file: Option<PathBuf>,

    /// How the rows are written; else the file's name and first byte tell.
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// What stands between cells; else the header and the first rows tell.
    #[arg(long, value_name = "CHAR")]
    delimiter: Option<String>,

    /// Their encoding; else UTF-8, or what a byte-order mark says.
    #[arg(long, value_name = "NAME")]
    encoding: Option<String>,

    /// INPUT[:TYPE]=COLUMN: another name for a column, or a type (string, integer, number, boolean, json).
    #[arg(long, value_name = "INPUT=COLUMN")]
    map: Vec<String>,

    /// An input that is the same for all rows: KEY=TEXT, or KEY:=JSON.
    #[arg(long = "input", value_name = "KEY=TEXT", value_parser = checked_input)]
    input: Vec<String>,

    /// Stands before the name of every input, such as `Flow.` for Flow.email
    #[arg(long, value_name = "TEXT")]
    input_prefix: Option<String>,

    /// A column that becomes no input.
    #[arg(long, value_name = "COLUMN")]
    skip: Vec<String>,

    /// The flow to launch.
    #[arg(long, value_name = "ID", value_parser = crate::cli::launch::flow_id)]
    flow_id: Option<String>,

    /// Or the column with each row's flow.
    #[arg(long, value_name = "COLUMN", conflicts_with = "flow_id")]
    flow_column: Option<String>,

    /// The column that tells rows apart; without one the line does.
    #[arg(long, value_name = "COLUMN")]
    key: Option<String>,

    /// Hold each row's inputs against what its flow asks for, where the API says it; needs architect:flow:view.
    #[arg(long)]
    check_inputs: bool,

    /// Go without the rows that are bad, if there are any.
    #[arg(long)]
    skip_bad: bool,

    /// Evenly, such as 120/min.
    #[arg(long, conflicts_with_all = ["waves", "ramp"])]
    pace: Option<String>,

    /// In waves, such as 500/10m.
    #[arg(long, conflicts_with = "ramp")]
    waves: Option<String>,

    /// From one pace to another, such as 10/min..300/min:30m.
    #[arg(long)]
    ramp: Option<String>,

    /// Not before: 2026-12-01T09:00 by each row's clock, or with an offset.
    #[arg(long, value_name = "TIME")]
    start: Option<String>,

    /// When launches may be, by each row's clock: \"Mon-Fri 09:00-18:00\".
    #[arg(long, value_name = "WINDOWS")]
    windows: Vec<String>,

    /// The time zone of all rows, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,

    /// The column with each row's own.
    #[arg(long, value_name = "COLUMN")]
    timezone_column: Option<String>,

    /// A file of dates on which nothing is launched, one a line.
    #[arg(long, value_name = "FILE")]
    not_on: Option<PathBuf>,

    /// How long after it was due a row may be launched, such as 2h.
    #[arg(long, value_name = "TIME")]
    expires_after: Option<String>,

    /// Follow each execution to its end, and report that too.
    #[arg(long)]
    track: bool,

    /// A launch whose answer was lost: relaunch, or park.
    #[arg(long, value_enum)]
    on_unknown: Option<OnUnknown>,

    /// Attempts for each row, instead of retry.max_attempts.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    max_attempts: Option<u32>,

    /// Rows in a row that are not launched, after which the campaign pauses itself; 0: never [default: 20].
    #[arg(long, value_name = "N")]
    pause_on_failures: Option<u32>,

    /// The lane [default: bulk].
    #[arg(long, value_enum)]
    lane: Option<Lane>,
}

/// What flags and file say together.
#[derive(Debug)]
pub(super) struct Settings {
    /// All of it.
    pub(super) file: CampaignFile,
    /// The campaign's name.
    pub(super) name: String,
    /// The rows.
    pub(super) rows: PathBuf,
    /// Inputs that are the same for all rows.
    pub(super) constants: Vec<(String, Box<RawValue>)>,
}

/// Checked here, kept as it was written: it may go into a campaign file.
fn checked_input(text: &str) -> Result<String, String> {
    inputs::parse(text).map(|_| text.to_owned())
}

impl Flags {
    /// Reads the campaign file, if there is one; opens no rows.
    pub(super) fn settings(&self) -> Result<Settings, Failed> {
        let file = match &self.file {
            Some(path) => CampaignFile::load(path).map_err(usage)?.with(self.alone()),
            None => self.alone(),
        };
        let name = file.name.clone();
        let name = name.ok_or_else(|| usage(anyhow!("say what it is called: --name")))?;
        checked_name(&name).map_err(|said| usage(anyhow!("name: {said}")))?;
        let rows = file.file.clone();
        let rows = rows.ok_or_else(|| usage(anyhow!("say which rows: a file, or - for standard input")))?;
        if rows == Path::new("-") && stdin().is_terminal() {
            told::hint("reading rows from the terminal; Ctrl-D ends them, Ctrl-C stops");
        }
        let constants = file.input.iter().map(|text| inputs::parse(text).map(Input::into_pair));
        let constants = constants
            .collect::<Result<Vec<_>, _>>()
            .map_err(|said| usage(anyhow!("input: {said}")))?;
        Ok(Settings {
            file,
            name,
            rows,
            constants,
        })
    }

    fn alone(&self) -> CampaignFile {
        CampaignFile {
            name: self.name.clone(),
            file: self.rows.clone(),
            format: self.format,
            delimiter: self.delimiter.clone(),
            encoding: self.encoding.clone(),
            map: self.map.clone(),
            input: self.input.clone(),
            input_prefix: self.input_prefix.clone(),
            skip: self.skip.clone(),
            flow_id: self.flow_id.clone(),
            flow_column: self.flow_column.clone(),
            key: self.key.clone(),
            check_inputs: self.check_inputs.then_some(true),
            skip_bad: self.skip_bad.then_some(true),
            pace: self.pace.clone(),
            waves: self.waves.clone(),
            ramp: self.ramp.clone(),
            start: self.start.clone(),
            windows: self.windows.clone(),
            timezone: self.timezone.clone(),
            timezone_column: self.timezone_column.clone(),
            not_on: self.not_on.clone(),
            expires_after: self.expires_after.clone(),
            track: self.track.then_some(true),
            on_unknown: self.on_unknown,
            max_attempts: self.max_attempts,
            pause_on_failures: self.pause_on_failures,
            lane: self.lane,
        }
    }
}
