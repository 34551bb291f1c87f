//! `flowlaunch campaign plan`: what would come of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::inputs::Reader;
use super::rejects::keep_rejects;
use super::settings::{Flags, Settings};
use super::usage;
use crate::api::LaunchRequest;
use crate::campaign::plan::{Plan, PlanError, plan};
use crate::campaign::schedule::Bin;
use crate::campaign::source::{Row, Source, SourceError};
use crate::cli::{Failed, out, told};
use crate::config::Config;

/// Zones that have a column of their own in the table; the others share one.
const ZONES: usize = 3;
/// Bins that are shown.
const BINS: usize = 24;
/// The longest bar.
const BAR: usize = 20;

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
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,

    /// Write all settings as a campaign file.
    #[arg(long, value_name = "CAMPAIGN.toml")]
    write: Option<PathBuf>,

    /// Where bad rows are listed; else NAME-rejects.csv, when there are any.
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,

    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: Config, args: Args, stop: CancellationToken) -> Result<(), Failed> {
    // On a thread of its own: a read of the standard input, or of a file of millions, must not keep a signal waiting.
    let until = stop.clone();
    let reading = tokio::task::spawn_blocking(move || make(&config, &args, &until));
    match stop.run_until_cancelled(reading).await {
        Some(planned) => planned.context("the plan died")?,
        None => Err(Failed::Work(anyhow!("interrupted: nothing was planned"))),
    }
}

fn make(config: &Config, args: &Args, stop: &CancellationToken) -> Result<(), Failed> {
    let Settings {
        file,
        name: campaign,
        rows,
        constants,
    } = args.flags.settings()?;
    let reader = Reader::new(config, &file, stop)?;
    let source = Source::open(&rows).map_err(usage)?;
    let mut rejects = tempfile::tempfile().context("cannot make a temporary file for the rejects")?;
    let limit = config.limits.rate.per_window(Duration::from_secs(1));
    let now = Timestamp::now();
    let flows = &|ids: &_| reader.read(ids);
    let plan = plan(&file, &source, constants, &rejects, limit, flows, now).map_err(|error| match error {
        PlanError::Setting(_) | PlanError::Zone(_) => usage(error),
        PlanError::Flows(_) | PlanError::Source(SourceError::Rejects(_)) => Failed::Work(error.into()),
        PlanError::Source(_) => usage(error),
    })?;
    let found = plan.summary.bad + plan.summary.repeated;
    let kept = keep_rejects(args.rejects.as_deref(), &campaign, found, &mut rejects)?;
    if let Some(path) = &args.write {
        file.write(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let body = plan.first.as_ref().map(|row| body(row, config));
    if args.json {
        out::json(&as_json(&campaign, &plan, body.as_deref(), kept.as_deref()))?;
    } else {
        out::print(as_text(&campaign, &plan, body.as_deref(), kept.as_deref(), config))?;
    }
    if let Some(path) = &args.write {
        told::hint(&format!("all settings are in {}", path.display()));
    }
    match plan.summary.bad {
        0 => Ok(()),
        _ if file.skip_bad == Some(true) => Ok(()),
        bad => Err(Failed::Work(anyhow!(
            "{bad} rows cannot be launched: mend them, or leave them out with --skip-bad"
        ))),
    }
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
    let hours = forecast.bin.as_hours();
    let long = if hours == 1 {
        "an hour".to_owned()
    } else {
        format!("{hours} hours")
    };
    let _ = writeln!(text, "\n{long} a line, by the clock of {}:", zone_name(zone));
    let _ = write!(text, "{:<16}", "launches from");
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
