//! Reading a campaign file: everything that is wrong with it at once, each with its key and line.

use std::fmt;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::Dict;
use serde::{Deserialize, Deserializer};

use super::CampaignFile;
use super::write::SETTINGS;
use crate::campaign::source::{Mapped, parse_delimiter, parse_encoding};
use crate::job::{MAX_ATTEMPTS, clip, is_campaign, is_flow_id};
use crate::units::parse_duration;

/// One thing that is wrong with a campaign file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The setting, when it is one.
    pub key: Option<String>,
    /// Where it stands, as far as that can be told.
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// A campaign file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong: one thing at least.
    pub faults: Vec<Fault>,
}

impl CampaignFileError {
    /// A setting that only somebody else could find wrong.
    pub fn of_key(path: &Path, key: &str, message: impl Into<String>) -> Self {
        let line = std::fs::read_to_string(path).ok().and_then(|text| line_of(&text, key));
        Self::one(path, Some(key), line, message)
    }

    fn one(path: &Path, key: Option<&str>, line: Option<usize>, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            faults: vec![Fault {
                key: key.map(str::to_owned),
                line,
                message: message.into(),
            }],
        }
    }
}

impl fmt::Display for CampaignFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        let several = self.faults.len() > 1;
        self.faults.iter().try_for_each(|fault| {
            f.write_str(if several { "\n  " } else { ": " })?;
            if let Some(line) = fault.line {
                write!(f, "line {line}: ")?;
            }
            if let Some(key) = &fault.key {
                write!(f, "{key}: ")?;
            }
            f.write_str(&fault.message)
        })
    }
}

impl std::error::Error for CampaignFileError {}

impl CampaignFile {
    /// Reads a campaign file; its paths become relative to where it lies.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, CampaignFileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| CampaignFileError::one(path, None, None, format!("cannot be read: {error}")))?;
        let mut read = parse(&text).map_err(|faults| CampaignFileError {
            path: path.to_owned(),
            faults,
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for path in [&mut read.file, &mut read.not_on].into_iter().flatten() {
            if path.as_os_str() != "-" {
                *path = folder.join(&*path);
            }
        }
        Ok(read)
    }

    /// What is wrong with single settings.
    fn wrong(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        let mut check = |key, result: Result<(), String>| wrong.extend(result.err().map(|message| (key, message)));
        if let Some(name) = &self.name {
            let said = "must be a letter or digit and then up to 127 letters, digits, \"_\" or \"-\"";
            check("name", is_campaign(name).then_some(()).ok_or_else(|| said.to_owned()));
        }
        if let Some(delimiter) = &self.delimiter {
            check("delimiter", parse_delimiter(delimiter).map(drop));
        }
        if let Some(encoding) = &self.encoding {
            check("encoding", parse_encoding(encoding).map(drop));
        }
        for map in &self.map {
            check(
                "map",
                map.parse::<Mapped>()
                    .map(drop)
                    .map_err(|said| format!("{:?}: {said}", clip(map))),
            );
        }
        if let Some(id) = &self.flow_id {
            let said = "must be the UUID of a flow, with its hyphens: `flowlaunch flows` lists them";
            check("flow_id", is_flow_id(id).then_some(()).ok_or_else(|| said.to_owned()));
        }
        if self.flow_id.is_some() && self.flow_column.is_some() {
            check("flow_column", self.flow().map(drop));
        }
        if let Some(text) = &self.expires_after {
            check("expires_after", parse_duration(text).map(drop));
        }
        if let Some(attempts) = self.max_attempts {
            let said = format!("must be 1 to {MAX_ATTEMPTS}, not {attempts}");
            check(
                "max_attempts",
                (1..=MAX_ATTEMPTS).contains(&attempts).then_some(()).ok_or(said),
            );
        }
        wrong
    }
}

pub(super) fn parse(text: &str) -> Result<CampaignFile, Vec<Fault>> {
    let dict: Dict = Toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        // Its second line says what was expected.
        let message = format!("is not valid TOML: {}", error.message().replace('\n', ", "));
        vec![Fault {
            key: None,
            line,
            message,
        }]
    })?;
    let fault = |key: &str, message: String| Fault {
        key: Some(clip(key)),
        line: line_of(text, key),
        message,
    };
    let unknown = dict
        .keys()
        .filter(|key| !SETTINGS.iter().any(|setting| setting.key == *key));
    let faults: Vec<Fault> = unknown.map(|key| fault(key, stranger(key))).collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let read: Result<CampaignFile, _> = Figment::from(Serialized::defaults(dict)).extract();
    let read = read.map_err(|errors| {
        let told = |error: figment::Error| fault(&error.path.join("."), told(&error));
        errors.into_iter().map(told).collect::<Vec<_>>()
    })?;
    let wrong: Vec<Fault> = read
        .wrong()
        .into_iter()
        .map(|(key, message)| fault(key, message))
        .collect();
    if wrong.is_empty() { Ok(read) } else { Err(wrong) }
}

fn stranger(key: &str) -> String {
    let close = |known: &str| strsim::jaro_winkler(key, known);
    let nearest = SETTINGS
        .iter()
        .map(|setting| setting.key)
        .max_by(|a, b| close(a).total_cmp(&close(b)));
    match nearest.filter(|known| close(known) > 0.8) {
        Some(known) => format!("is not a setting of a campaign; did you mean {known}?"),
        None => {
            let known: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
            format!("is not a setting of a campaign; there are {}", known.join(", "))
        }
    }
}

fn told(error: &figment::Error) -> String {
    if let Kind::UnknownVariant(_, known) = &error.kind {
        let known: Vec<_> = known.iter().map(|word| format!("{word:?}")).collect();
        return format!("must be {}", known.join(" or "));
    }
    error.kind.to_string()
}

/// The line that sets a key, as far as a look at the text can tell.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let sets = |line: &str| {
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        name.trim().trim_matches(['"', '\'', '[', ']']) == key
    };
    text.lines().position(sets).map(|at| at + 1)
}

/// One text, or a list of them.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be a text, or a list of texts")]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    })
}
