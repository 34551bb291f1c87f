//! `flowlaunch campaign`: many launches from a list.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{IsTerminal as _, stdin};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::inputs::{self, Input};
use super::{Failed, out, told};
use crate::api::LaunchRequest;
use crate::campaign::file::CampaignFile;
use crate::campaign::plan::{Plan, PlanError, plan};
use crate::campaign::schedule::Bin;
use crate::campaign::source::{Format, Row, Source, SourceError};
use crate::config::Config;
use crate::job;

/// Zones that have a column of their own in the table; the others share one.
const ZONES: usize = 3;
/// Bins that are shown.
const BINS: usize = 24;
/// The longest bar.
const BAR: usize = 20;
/// `<campaign>:<run>:<key>` has to fit a job's id: 200 bytes, 120 of them for the key.
const NAME_BYTES: usize = 64;

/// Arguments of `flowlaunch campaign`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Read every row and say what a campaign would do. Launches nothing.
    Plan(Box<PlanArgs>),
}

/// Arguments of `flowlaunch campaign plan`.
#[derive(clap::Args, Debug)]
#[command(after_help = "  \
    flowlaunch campaign plan customers.csv --name spring --pace 120/min \\\n      \
    --flow-id 5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b --key customer_id \\\n      \
    --windows \"Mon-Fri 09:00-18:00\" --timezone-column zone --write spring.toml\n  \
    flowlaunch campaign plan --file spring.toml\n\n\
    Every column is an input of its own name, a string, unless --map or --skip say\n\
    something else. Bad rows are named by line, all of them in the rejects file.\n\
    Exit codes: 0 every row is good; 1 some are not; 2 usage, nothing was planned.")]
struct PlanArgs {
    /// The rows: CSV with a header or JSON Lines, gzip too; - for standard input.
    #[arg(value_name = "ROWS")]
    rows: Option<PathBuf>,

    /// What the campaign is called.
    #[arg(long, value_parser = name)]
    name: Option<String>,

    /// A campaign file with these settings; flags go before it.
    #[arg(long, value_name = "CAMPAIGN.toml")]
    file: Option<PathBuf>,

    /// Write all settings as a campaign file.
    #[arg(long, value_name = "CAMPAIGN.toml")]
    write: Option<PathBuf>,

    /// Where bad rows are listed; else NAME-rejects.csv, when there are any.
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,

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

    /// Stands before the name of every input, such as Flow.
    #[arg(long, value_name = "TEXT")]
    input_prefix: Option<String>,

    /// A column that becomes no input.
    #[arg(long, value_name = "COLUMN")]
    skip: Vec<String>,

    /// The flow to launch.
    #[arg(long, value_name = "ID", value_parser = super::launch::flow_id)]
    flow_id: Option<String>,

    /// Or the column with each row's flow.
    #[arg(long, value_name = "COLUMN", conflicts_with = "flow_id")]
    flow_column: Option<String>,

    /// The column that tells rows apart; without one the line does.
    #[arg(long, value_name = "COLUMN")]
    key: Option<String>,

    /// Bad rows do not count as a failure.
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

    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
}

fn name(text: &str) -> Result<String, String> {
    if job::is_campaign(text) && text.len() <= NAME_BYTES {
        return Ok(text.to_owned());
    }
    Err(format!(
        "must be a letter or digit, then letters, digits, - and _, {NAME_BYTES} at most"
    ))
}

/// Checked here, kept as it was written: it may go into a campaign file.
fn checked_input(text: &str) -> Result<String, String> {
    inputs::parse(text).map(|_| text.to_owned())
}

impl PlanArgs {
    fn settings(&self) -> Result<CampaignFile, Failed> {
        let flags = CampaignFile {
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
            ..CampaignFile::default()
        };
        match &self.file {
            Some(path) => Ok(CampaignFile::load(path).map_err(usage)?.with(flags)),
            None => Ok(flags),
        }
    }
}

fn usage(error: impl Into<anyhow::Error>) -> Failed {
    Failed::Usage(error.into())
}

pub(super) async fn run(config: Config, args: Args, stop: CancellationToken) -> Result<(), Failed> {
    match args.action {
        Action::Plan(args) => {
            // On a thread of its own: a read of the standard input, or of a file of millions, must not keep a signal waiting.
            let reading = tokio::task::spawn_blocking(move || make(&config, &args));
            match stop.run_until_cancelled(reading).await {
                Some(planned) => planned.context("the plan died")?,
                None => Err(Failed::Work(anyhow!("interrupted: nothing was planned"))),
            }
        }
    }
}

fn make(config: &Config, args: &PlanArgs) -> Result<(), Failed> {
    let settings = args.settings()?;
    let campaign = settings
        .name
        .as_deref()
        .ok_or_else(|| usage(anyhow!("say what it is called: --name")))?;
    name(campaign).map_err(|said| usage(anyhow!("name: {said}")))?;
    let rows = settings
        .file
        .as_deref()
        .ok_or_else(|| usage(anyhow!("say which rows: a file, or - for standard input")))?;
    if rows == Path::new("-") && stdin().is_terminal() {
        told::hint("reading rows from the terminal; Ctrl-D ends them, Ctrl-C stops");
    }
    let constants = settings
        .input
        .iter()
        .map(|text| inputs::parse(text).map(Input::into_pair));
    let constants = constants
        .collect::<Result<Vec<_>, _>>()
        .map_err(|said| usage(anyhow!("input: {said}")))?;
    let source = Source::open(rows).map_err(usage)?;
    let mut rejects = tempfile::tempfile().context("cannot make a temporary file for the rejects")?;
    let limit = config.limits.rate.per_window(Duration::from_secs(1));
    let plan = plan(&settings, &source, constants, &rejects, limit, Timestamp::now()).map_err(|error| match error {
        PlanError::Setting(_) | PlanError::Zone(_) => usage(error),
        PlanError::Source(SourceError::Rejects(_)) => Failed::Work(error.into()),
        PlanError::Source(_) => usage(error),
    })?;
    let kept = keep(args, campaign, &plan, &mut rejects)?;
    if let Some(path) = &args.write {
        settings
            .write(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let body = plan.first.as_ref().map(|row| body(row, config));
    if args.json {
        out::json(&as_json(campaign, &plan, body.as_deref(), kept.as_deref()))?;
    } else {
        out::print(as_text(campaign, &plan, body.as_deref(), kept.as_deref(), config))?;
    }
    if let Some(path) = &args.write {
        told::hint(&format!("all settings are in {}", path.display()));
    }
    match plan.summary.bad {
        0 => Ok(()),
        _ if settings.skip_bad == Some(true) => Ok(()),
        bad => Err(Failed::Work(anyhow!(
            "{bad} rows cannot be launched: mend them, or leave them out with --skip-bad"
        ))),
    }
}

/// Writes the rejects, if there are any; where.
fn keep(args: &PlanArgs, campaign: &str, plan: &Plan, rejects: &mut File) -> anyhow::Result<Option<PathBuf>> {
    use std::io::{Seek as _, copy};

    if plan.summary.bad + plan.summary.repeated == 0 {
        return Ok(None);
    }
    let path = args
        .rejects
        .clone()
        .unwrap_or_else(|| format!("{campaign}-rejects.csv").into());
    let write = || {
        rejects.rewind()?;
        copy(rejects, &mut File::create(&path)?)
    };
    let mut write = write;
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Some(path))
}

/// The body of the first request, to the byte.
fn body(row: &Row, config: &Config) -> String {
    let request = LaunchRequest {
        flow_id: &row.flow_id,
        inputs: Some(&row.inputs),
        flow_version: None,
        name: None,
    };
    String::from_utf8_lossy(&request.encode(config.inputs_field())).into_owned()
}

fn zone_name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}

fn as_json(campaign: &str, plan: &Plan, body: Option<&str>, rejects: Option<&Path>) -> Value {
    let forecast = &plan.forecast;
    let bins = forecast.bins.iter().map(|bin| {
        let launches = plan.zones.iter().map(zone_name).map(str::to_owned);
        let launches = launches.zip(bin.launches.iter().map(|count| json!(count)));
        json!({ "begins": bin.begins, "launches": launches.collect::<serde_json::Map<_, _>>() })
    });
    json!({
        "campaign": campaign,
        "digest": plan.digest,
        "rows": plan.summary.rows,
        "bad": plan.summary.bad,
        "repeated": plan.summary.repeated,
        "rejects": rejects,
        "firstRequest": body,
        "firstLaunch": forecast.first,
        "lastLaunch": forecast.last,
        "launched": forecast.launched,
        "expired": forecast.expired,
        "never": forecast.never,
        "binSeconds": forecast.bin.as_secs(),
        "bins": bins.collect::<Vec<_>>(),
    })
}

/// For a terminal of 80 columns.
fn as_text(campaign: &str, plan: &Plan, body: Option<&str>, rejects: Option<&Path>, config: &Config) -> String {
    let (summary, forecast) = (&plan.summary, &plan.forecast);
    let mut text = format!("campaign {campaign}: nothing is launched by this\n\n");
    let _ = writeln!(text, "rows      {:>9}  that can be launched", summary.rows);
    let _ = writeln!(text, "bad       {:>9}", summary.bad);
    let _ = writeln!(text, "repeated  {:>9}  whose key an earlier row has", summary.repeated);
    for bad in &summary.first {
        let _ = writeln!(text, "  {bad}");
    }
    if let Some(path) = rejects {
        let _ = writeln!(text, "all of those are in {}", path.display());
    }
    if let Some(body) = body {
        let _ = writeln!(text, "\nthe first request:\n{body}");
    }
    text.push('\n');
    if let Some(late) = plan.late {
        let _ = writeln!(text, "its start, {late}, is past: it begins now");
    }
    let zone = plan.zones.first().cloned().unwrap_or(TimeZone::UTC);
    let shown = |at: Timestamp| {
        at.to_zoned_datetime(zone.clone())
            .strftime("%Y-%m-%d %H:%M:%S %Z")
            .to_string()
    };
    if let (Some(first), Some(last)) = (forecast.first, forecast.last) {
        let _ = writeln!(text, "first launch  {}\nlast launch   {}", shown(first), shown(last));
    }
    pace(&mut text, plan, config);
    for (count, what) in [
        (forecast.expired, "expire before the limit lets them through"),
        (forecast.never, "are never launched: their windows do not open"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "{count} rows {what}");
        }
    }
    histogram(&mut text, plan, &zone);
    text
}

/// What the pace takes of the quota.
fn pace(text: &mut String, plan: &Plan, config: &Config) {
    let rate = config.limits.rate;
    let (Some(pace), Some(limit)) = (
        plan.schedule.stagger.per_second(),
        rate.per_window(Duration::from_secs(1)),
    ) else {
        return;
    };
    let share = pace * 100.0 / limit;
    let _ = writeln!(text, "that is {share:.0} % of what limits.rate ({rate}) allows");
    if share > 100.0 {
        let _ = writeln!(text, "WARNING: the pace is above the limit, so the limit is what holds");
    }
}

fn histogram(text: &mut String, plan: &Plan, zone: &TimeZone) {
    let forecast = &plan.forecast;
    let most = forecast
        .bins
        .iter()
        .map(|bin| bin.launches.iter().sum::<u64>())
        .max()
        .unwrap_or(0);
    if most == 0 {
        return;
    }
    let own = plan.zones.len().min(ZONES);
    let _ = write!(text, "\n{:<16}", "launches from");
    for zone in &plan.zones[..own] {
        let name: String = zone_name(zone).chars().take(14).collect();
        let _ = write!(text, " {name:>14}");
    }
    text.push_str(if plan.zones.len() > own { " others\n" } else { "\n" });
    let busy = |bin: &&Bin| bin.launches.iter().any(|count| *count > 0);
    let mut last: Option<Timestamp> = None;
    for bin in forecast.bins.iter().filter(busy).take(BINS) {
        // What is left out between: nights, weekends.
        if last.is_some_and(|last| bin.begins > last + forecast.bin) {
            text.push_str("  ...\n");
        }
        last = Some(bin.begins);
        let begins = bin
            .begins
            .to_zoned_datetime(zone.clone())
            .strftime("%Y-%m-%d %H:%M")
            .to_string();
        let _ = write!(text, "{begins:<16}");
        for count in bin.launches.iter().take(own) {
            let _ = write!(text, " {count:>14}");
        }
        let (all, others): (u64, u64) = (bin.launches.iter().sum(), bin.launches.iter().skip(own).sum());
        if plan.zones.len() > own {
            let _ = write!(text, " {others:>6}");
        } else {
            let bar = usize::try_from(all.saturating_mul(BAR as u64) / most).unwrap_or(BAR);
            let room = BAR.min(80_usize.saturating_sub(18 + 15 * own));
            let _ = write!(text, " {}", "#".repeat(bar.clamp(1, room)));
        }
        text.push('\n');
    }
    let more = forecast.bins.iter().filter(busy).count().saturating_sub(BINS);
    if more > 0 {
        let _ = writeln!(text, "and {more} more; --json has them all");
    }
}
