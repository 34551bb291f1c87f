//! The campaign file: all of a campaign in one place, so that it can be reviewed, kept and run again.
//!
//! Every setting has the name of its flag. What a flag says goes before what the file says, as a whole: one `--map` stands
//! instead of all of the file's. Paths in it are relative to the file itself.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::source::{Flow, Format, Layout, Mapping, parse_delimiter, parse_encoding};
use crate::job::OnUnknown;
use crate::lane::Lane;

pub use read::{CampaignFileError, Fault};

/// The settings of a campaign, as a file or flags give them: what is not set is `None`, or empty.
///
/// Those of the schedule are text here; the schedule reads them, and [`CampaignFileError::of_key`] names the key when it
/// cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CampaignFile {
    /// What the campaign is called.
    pub name: Option<String>,
    /// The rows.
    pub file: Option<PathBuf>,
    /// How they are written.
    pub format: Option<Format>,
    /// What stands between cells.
    pub delimiter: Option<String>,
    /// In which encoding.
    pub encoding: Option<String>,
    /// Columns that get another name, or a type.
    #[serde(deserialize_with = "read::one_or_many")]
    pub map: Vec<String>,
    /// Inputs that are the same for all rows.
    #[serde(deserialize_with = "read::one_or_many")]
    pub input: Vec<String>,
    /// Stands before the name of every input.
    pub input_prefix: Option<String>,
    /// Columns that become no input.
    #[serde(deserialize_with = "read::one_or_many")]
    pub skip: Vec<String>,
    /// The flow.
    pub flow_id: Option<String>,
    /// The column with each row's flow.
    pub flow_column: Option<String>,
    /// The column that tells rows apart.
    pub key: Option<String>,
    /// Hold each row's inputs against what its flow asks for.
    pub check_inputs: Option<bool>,
    /// Bad rows do not keep the good ones from being launched.
    pub skip_bad: Option<bool>,
    /// Launches in a time, evenly.
    pub pace: Option<String>,
    /// Launches in waves.
    pub waves: Option<String>,
    /// From one pace to another.
    pub ramp: Option<String>,
    /// When it begins.
    pub start: Option<String>,
    /// When launches may be.
    #[serde(deserialize_with = "read::one_or_many")]
    pub windows: Vec<String>,
    /// The time zone of all times.
    pub timezone: Option<String>,
    /// The column with each row's time zone.
    pub timezone_column: Option<String>,
    /// A file of dates on which nothing is launched.
    pub not_on: Option<PathBuf>,
    /// How long after it was due a row may be launched.
    pub expires_after: Option<String>,
    /// Follow every execution to its end.
    pub track: Option<bool>,
    /// What to do with a launch of which nobody can say whether it was one.
    pub on_unknown: Option<OnUnknown>,
    /// Attempts for each row.
    pub max_attempts: Option<u32>,
    /// Failures in a row that pause the campaign.
    pub pause_on_failures: Option<u32>,
    /// The lane.
    pub lane: Option<Lane>,
}

impl CampaignFile {
    /// These settings with the flags before them. Of what excludes each other a flag puts the file's aside: a flow and a
    /// flow column; pace, waves and ramp.
    #[must_use]
    pub fn with(self, flags: Self) -> Self {
        let flow = flags.flow_id.is_some() || flags.flow_column.is_some();
        let stagger = flags.pace.is_some() || flags.waves.is_some() || flags.ramp.is_some();
        Self {
            name: flags.name.or(self.name),
            file: flags.file.or(self.file),
            format: flags.format.or(self.format),
            delimiter: flags.delimiter.or(self.delimiter),
            encoding: flags.encoding.or(self.encoding),
            map: either(flags.map, self.map),
            input: either(flags.input, self.input),
            input_prefix: flags.input_prefix.or(self.input_prefix),
            skip: either(flags.skip, self.skip),
            flow_id: flags.flow_id.or(self.flow_id.filter(|_| !flow)),
            flow_column: flags.flow_column.or(self.flow_column.filter(|_| !flow)),
            key: flags.key.or(self.key),
            check_inputs: flags.check_inputs.or(self.check_inputs),
            skip_bad: flags.skip_bad.or(self.skip_bad),
            pace: flags.pace.or(self.pace.filter(|_| !stagger)),
            waves: flags.waves.or(self.waves.filter(|_| !stagger)),
            ramp: flags.ramp.or(self.ramp.filter(|_| !stagger)),
            start: flags.start.or(self.start),
            windows: either(flags.windows, self.windows),
            timezone: flags.timezone.or(self.timezone),
            timezone_column: flags.timezone_column.or(self.timezone_column),
            not_on: flags.not_on.or(self.not_on),
            expires_after: flags.expires_after.or(self.expires_after),
            track: flags.track.or(self.track),
            on_unknown: flags.on_unknown.or(self.on_unknown),
            max_attempts: flags.max_attempts.or(self.max_attempts),
            pause_on_failures: flags.pause_on_failures.or(self.pause_on_failures),
            lane: flags.lane.or(self.lane),
        }
    }

    /// The flow that was given, when exactly one was.
    ///
    /// # Errors
    /// When none was, or two.
    pub fn flow(&self) -> Result<Flow, String> {
        match (&self.flow_id, &self.flow_column) {
            (Some(id), None) => Ok(Flow::Id(id.clone())),
            (None, Some(column)) => Ok(Flow::Column(column.clone())),
            (None, None) => Err("say which flow to launch: --flow-id, or --flow-column for each row's own".to_owned()),
            (Some(_), Some(_)) => Err("flow_id and flow_column exclude each other: give one of them".to_owned()),
        }
    }
}

impl CampaignFile {
    /// What is said about the file of rows.
    ///
    /// # Errors
    /// When a setting is none, with its name.
    pub fn layout(&self) -> Result<Layout, String> {
        let delimiter = self.delimiter.as_deref().map(parse_delimiter).transpose();
        let encoding = self.encoding.as_deref().map(parse_encoding).transpose();
        Ok(Layout {
            format: self.format,
            delimiter: delimiter.map_err(|said| format!("delimiter: {said}"))?,
            encoding: encoding.map_err(|said| format!("encoding: {said}"))?,
        })
    }

    /// How a row becomes a launch; `constants` are what the settings of `input` say.
    ///
    /// # Errors
    /// When a setting is none, with its name.
    pub fn mapping(&self, constants: Vec<(String, Box<RawValue>)>) -> Result<Mapping, String> {
        let map = self
            .map
            .iter()
            .map(|map| map.parse().map_err(|said| format!("map {map}: {said}")));
        Ok(Mapping {
            map: map.collect::<Result<_, _>>()?,
            constants,
            prefix: self.input_prefix.clone().unwrap_or_default(),
            skip: self.skip.clone(),
            flow: self.flow()?,
            key: self.key.clone(),
            timezone: self.timezone_column.clone(),
        })
    }
}

impl CampaignFile {
    /// All of it in one line, for the journal.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers can be written")
    }

    /// What [`Self::to_json`] wrote.
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The first setting with which the same file would give other rows.
    pub fn reads_otherwise(&self, other: &Self) -> Option<&'static str> {
        let same = [
            ("format", self.format == other.format),
            ("delimiter", self.delimiter == other.delimiter),
            ("encoding", self.encoding == other.encoding),
            ("map", self.map == other.map),
            ("input", self.input == other.input),
            ("input_prefix", self.input_prefix == other.input_prefix),
            ("skip", self.skip == other.skip),
            ("flow_id", self.flow_id == other.flow_id),
            ("flow_column", self.flow_column == other.flow_column),
            ("key", self.key == other.key),
            ("timezone_column", self.timezone_column == other.timezone_column),
            ("lane", self.lane == other.lane),
        ];
        same.into_iter().find(|(_, same)| !same).map(|(key, _)| key)
    }
}

fn either(flags: Vec<String>, file: Vec<String>) -> Vec<String> {
    if flags.is_empty() { file } else { flags }
}
