//! What is wrong with the configuration: everything that was found, each with its key and where it was set.

use std::fmt;
use std::path::PathBuf;

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The defaults.
    Default,
    /// A file, with the line when it could be found.
    File(PathBuf, Option<usize>),
    /// An environment variable.
    Env(String),
    /// A flag of the command.
    Flag(String),
}

impl Source {
    /// The place alone, for lists: `the environment`, a file, `the flags`.
    pub fn place(&self) -> String {
        match self {
            Self::Default => "the defaults".to_owned(),
            Self::File(path, _) => path.display().to_string(),
            Self::Env(_) => "the environment".to_owned(),
            Self::Flag(_) => "the flags".to_owned(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the defaults"),
            Self::File(path, None) => write!(f, "{}", path.display()),
            Self::File(path, Some(line)) => write!(f, "{}, line {line}", path.display()),
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::Flag(name) => write!(f, "the flag {name}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The setting, as `section.key`.
    pub key: Option<String>,
    /// Where it was set.
    pub source: Option<Source>,
    /// What is wrong with it and what would be right; never a secret.
    pub message: String,
}

impl Fault {
    pub(super) fn new(key: impl Into<String>, source: Source, message: impl Into<String>) -> Self {
        Self {
            key: Some(key.into()),
            source: Some(source),
            message: message.into(),
        }
    }

    pub(super) fn of_source(source: Source, message: impl Into<String>) -> Self {
        Self {
            key: None,
            source: Some(source),
            message: message.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.key, &self.source) {
            (Some(key), Some(Source::Default)) => write!(f, "{key}: {}", self.message),
            (Some(key), Some(source)) => write!(f, "{key} (from {source}): {}", self.message),
            (Some(key), None) => write!(f, "{key}: {}", self.message),
            (None, Some(source)) => write!(f, "{source}: {}", self.message),
            (None, None) => f.write_str(&self.message),
        }
    }
}

/// The configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// What is wrong: one thing at least.
    pub faults: Vec<Fault>,
}

impl From<Fault> for ConfigError {
    fn from(fault: Fault) -> Self {
        Self { faults: vec![fault] }
    }
}

impl ConfigError {
    /// What is wrong, without saying first that it is the configuration.
    pub fn reason(&self) -> String {
        let faults: Vec<_> = self.faults.iter().map(ToString::to_string).collect();
        faults.join("; ")
    }

    /// An error when anything was found.
    pub(super) fn unless_empty(faults: Vec<Fault>) -> Result<(), Self> {
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Self { faults })
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used")?;
        match self.faults.as_slice() {
            [fault] => write!(f, ": {fault}"),
            faults => faults.iter().try_for_each(|fault| write!(f, "\n  {fault}")),
        }
    }
}

impl std::error::Error for ConfigError {}
