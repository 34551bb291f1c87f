//! What a campaign would do, before anything is launched: every row read once, and the whole of it in fast motion.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::value::RawValue;

use super::file::CampaignFile;
use super::inputs::{FlowInputs, ReadFlows};
use super::schedule::{self, Beginning, Forecast, NoZone, NotOn, Schedule, Stagger, Windows, forecast};
use super::source::{BadRow, Entry, Flow, Layout, Mapping, Rejects, Row, Source, SourceError, Summary};
use crate::units::parse_duration;

/// What would come of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// SHA-256 of the file of rows.
    pub digest: String,
    /// What the pass over the rows found.
    pub summary: Summary,
    /// Lines of rows that the file is not to blame for, and that cannot be launched all the same; in their order.
    pub refused: Vec<u64>,
    /// The first row that would be launched.
    pub first: Option<Row>,
    /// When rows go.
    pub schedule: Schedule,
    /// The zones of the rows, in the order of [`Bin::launches`](schedule::Bin).
    pub zones: Vec<TimeZone>,
    /// The whole of it in fast motion.
    pub forecast: Forecast,
    /// The start was this long ago, in some zone: there it begins now.
    pub late: Option<Timestamp>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A setting is none, with its name.
    #[error("{0}")]
    Setting(String),
    /// The rows cannot be read, or not as was asked.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Local times, and no zone.
    #[error(transparent)]
    Zone(#[from] NoZone),
    /// What the flows ask for cannot be read.
    #[error("{0}")]
    Flows(String),
}

/// The settings that say when rows go.
///
/// # Errors
/// When one of them is none, with its name.
pub fn schedule(file: &CampaignFile) -> Result<Schedule, PlanError> {
    let of = |key: &str, said: String| PlanError::Setting(format!("{key}: {said}"));
    let stagger = Stagger::one_of(
        read(file.pace.as_deref(), "pace")?,
        read(file.waves.as_deref(), "waves")?,
        read(file.ramp.as_deref(), "ramp")?,
    );
    let windows = (!file.windows.is_empty()).then(|| file.windows.join("; "));
    let windows: Option<Windows> = read(windows.as_deref(), "windows")?;
    let not_on = match &file.not_on {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| of("not_on", format!("cannot read {}: {error}", path.display())))?;
            Some(
                text.parse::<NotOn>()
                    .map_err(|said| of("not_on", format!("{}: {said}", path.display())))?,
            )
        }
        None => None,
    };
    let windows = match not_on {
        Some(dates) => Some(windows.unwrap_or_else(Windows::always).but_not_on(dates)),
        None => windows,
    };
    let expires_after = file.expires_after.as_deref().map(parse_duration).transpose();
    Ok(Schedule {
        start: read(file.start.as_deref(), "start")?,
        stagger: stagger.map_err(PlanError::Setting)?,
        windows,
        expires_after: expires_after.map_err(|said| of("expires_after", said))?,
    })
}

/// The check of a row's own zone.
pub(super) fn known_zone(name: &str) -> Result<(), String> {
    schedule::zone(name).map(drop).map_err(|said| said.to_string())
}

fn read<T: std::str::FromStr<Err = String>>(text: Option<&str>, key: &str) -> Result<Option<T>, PlanError> {
    let read = text.map(str::parse).transpose();
    read.map_err(|said: String| PlanError::Setting(format!("{key}: {said}")))
}

/// Reads every row, and says what would come of them. Bad ones go to `rejects`. `limit` is how many launches a second the
/// API allows; `flows` is asked when the campaign wants its inputs checked.
///
/// # Errors
/// When a setting is none, or the rows or flows cannot be read.
pub fn plan(
    file: &CampaignFile,
    source: &Source,
    constants: Vec<(String, Box<RawValue>)>,
    rejects: impl Write,
    limit: Option<f64>,
    flows: ReadFlows<'_>,
    now: Timestamp,
) -> Result<Plan, PlanError> {
    let schedule = schedule(file)?;
    let zone = match &file.timezone {
        Some(name) => Some(schedule::zone(name).map_err(|said| PlanError::Setting(format!("timezone: {said}")))?),
        None => None,
    };
    schedule.check_zone(zone.is_some() || file.timezone_column.is_some())?;
    let local = schedule.check_zone(false).is_err();
    let mapping = Arc::new(file.mapping(constants).map_err(PlanError::Setting)?);
    let layout = file.layout().map_err(PlanError::Setting)?;
    let asked = match file.check_inputs {
        Some(true) => flows(&flow_ids(source, &layout, &mapping)?).map_err(PlanError::Flows)?,
        Some(false) | None => FlowInputs::default(),
    };
    let mut rows = schedule::Rows::default();
    let (mut first, mut refused) = (None, Vec::new());
    let mut look = |row: &Row| {
        asked.check(row)?;
        let named = row.timezone.as_deref().and_then(|name| schedule::zone(name).ok());
        match named.or_else(|| zone.clone()) {
            Some(zone) => rows.add(&zone),
            None if local => {
                return Err(BadRow {
                    line: row.line,
                    column: file.timezone_column.clone(),
                    message: "it has no time zone, and there is none for all rows: give it one, or --timezone"
                        .to_owned(),
                });
            }
            None => rows.add(&TimeZone::UTC),
        }
        if first.is_none() {
            first = Some(row.clone());
        }
        Ok(())
    };
    let summary = Summary::of(
        source.rows(&layout, &mapping, known_zone)?,
        &mut Rejects::new(rejects),
        |row| look(row).inspect_err(|_| refused.push(row.line)),
    )?;
    let late = schedule.start.and_then(|start| {
        let begins = rows.zones().iter().map(|zone| start.beginning(zone, now));
        begins.into_iter().find_map(|begins| match begins {
            Beginning::Late(at) => Some(at),
            Beginning::At(_) => None,
        })
    });
    Ok(Plan {
        digest: source.digest(),
        forecast: forecast(&rows, &schedule, limit, now),
        zones: rows.zones().to_vec(),
        summary,
        refused,
        first,
        schedule,
        late,
    })
}

/// Every flow that a row launches. A column of them has to be read for that.
fn flow_ids(source: &Source, layout: &Layout, mapping: &Arc<Mapping>) -> Result<BTreeSet<String>, SourceError> {
    if let Flow::Id(id) = &mapping.flow {
        return Ok(BTreeSet::from([id.to_lowercase()]));
    }
    let mut ids = BTreeSet::new();
    for entry in source.rows(layout, mapping, known_zone)? {
        if let Entry::Row(row) = entry? {
            ids.insert(row.flow_id.to_lowercase());
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(more: impl FnOnce(&mut CampaignFile)) -> CampaignFile {
        let mut file = CampaignFile {
            flow_id: Some("5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b".to_owned()),
            pace: Some("60/min".to_owned()),
            ..CampaignFile::default()
        };
        more(&mut file);
        file
    }

    fn planned(file: &CampaignFile, rows: &str) -> (Result<Plan, PlanError>, String) {
        let source = Source::spool("list.csv", rows.as_bytes()).unwrap();
        let mut rejects = Vec::new();
        let now = "2026-12-01T08:00:00Z".parse().unwrap();
        let flows: ReadFlows<'_> = &|ids| {
            let mut known = FlowInputs::default();
            for id in ids {
                known.missing(id);
            }
            Ok(known)
        };
        let plan = plan(file, &source, Vec::new(), &mut rejects, Some(5.0), flows, now);
        (plan, String::from_utf8(rejects).unwrap())
    }

    #[test]
    fn every_row_is_read_and_the_bad_ones_are_among_the_rejects() {
        let file = file(|file| {
            file.windows = vec!["Mon-Sun 09:00-18:00".to_owned()];
            file.timezone_column = Some("zone".to_owned());
            file.key = Some("id".to_owned());
        });
        let rows = "id,zone\na,Europe/Berlin\nb,Mars/Base\nc,\na,Europe/Berlin\nd,America/New_York\n";
        let (plan, rejects) = planned(&file, rows);
        let plan = plan.unwrap();
        assert_eq!((plan.summary.rows, plan.summary.bad, plan.summary.repeated), (2, 2, 1));
        assert_eq!(plan.first.unwrap().key, "a");
        for line in ["3,zone,", "4,zone,", "5,,"] {
            assert!(rejects.contains(line), "{line}: {rejects}");
        }
        // Berlin is open, New York opens at 14:00 Z.
        assert_eq!(plan.zones.len(), 2);
        assert_eq!(plan.forecast.first, Some("2026-12-01T08:00:00Z".parse().unwrap()));
        assert_eq!(plan.forecast.last, Some("2026-12-01T14:00:00Z".parse().unwrap()));
    }

    #[test]
    fn a_row_is_held_against_its_own_flow_when_that_is_wanted() {
        let mut file = file(|file| {
            file.flow_id = None;
            file.flow_column = Some("flow".to_owned());
        });
        let rows = "flow\n5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b\n5F4E9A4E-3C0A-4C63-9A0F-0F7F8F1D2C3B\nnone\n";
        assert_eq!(planned(&file, rows).0.unwrap().summary.rows, 2, "nobody looks unasked");
        file.check_inputs = Some(true);
        let (plan, rejects) = planned(&file, rows);
        let plan = plan.unwrap();
        assert_eq!((plan.summary.rows, plan.summary.bad), (0, 3));
        assert_eq!(plan.refused, [2, 3]);
        assert_eq!(rejects.matches("no flow has the id 5f4e9a4e").count(), 2, "{rejects}");
    }

    #[test]
    fn local_times_want_a_zone_and_a_start_that_is_past_says_so() {
        let (plan, _) = planned(
            &file(|file| file.start = Some("2026-12-02T09:00".to_owned())),
            "id\na\n",
        );
        assert!(matches!(plan, Err(PlanError::Zone(_))), "{plan:?}");
        let late = file(|file| file.start = Some("2026-11-30T09:00Z".to_owned()));
        let (plan, _) = planned(&late, "id\na\n");
        assert_eq!(plan.unwrap().late, Some("2026-11-30T09:00:00Z".parse().unwrap()));
    }

    #[test]
    fn a_setting_that_is_none_is_named() {
        type Set = fn(&mut CampaignFile);
        let cases: [(Set, &str); 8] = [
            (|file| file.pace = Some("fast".to_owned()), "pace: "),
            (|file| file.waves = Some("5/10m".to_owned()), "waves"),
            (|file| file.windows = vec!["always".to_owned()], "windows: "),
            (|file| file.timezone = Some("Berlin".to_owned()), "timezone: "),
            (
                |file| file.not_on = Some("/none/dates".into()),
                "not_on: cannot read /none/dates",
            ),
            (|file| file.expires_after = Some("soon".to_owned()), "expires_after: "),
            (|file| file.flow_id = None, "--flow-id"),
            (
                |file| file.key = Some("idd".to_owned()),
                "--key: there is no column idd",
            ),
        ];
        for (set, wanted) in cases {
            let (plan, _) = planned(&file(set), "id\na\n");
            let said = plan.unwrap_err().to_string();
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
        let one = file(|_| ()).flow().unwrap();
        assert!(matches!(one, Flow::Id(_)));
    }
}
