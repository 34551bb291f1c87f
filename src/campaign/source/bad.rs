//! What can be wrong: with a row, and with the file as a whole.

use std::fmt;
use std::io;

use crate::job::clip;

/// A row that cannot be launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The line of the file in which it begins, from 1.
    pub line: u64,
    /// The column that is wrong, when it is one.
    pub column: Option<String>,
    /// What is wrong with it, and what would be right. Never the value of an input.
    pub message: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The file cannot be used at all, or not as was asked.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be read.
    #[error("cannot read {name}")]
    Unreadable {
        /// The file, as it was named.
        name: String,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It is not what it has to be.
    #[error("{name}: {reason}")]
    Unfit {
        /// The file, as it was named.
        name: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// What was asked for does not fit its columns: a mistake of usage.
    #[error("{0}")]
    Mapping(String),
    /// The rejects cannot be written.
    #[error("cannot write the rejects")]
    Rejects(#[source] io::Error),
}

/// The same, before anybody says which file it is.
#[derive(Debug)]
pub(super) enum Trouble {
    Io(io::Error),
    Unfit(String),
}

impl Trouble {
    pub(super) fn unfit<T>(reason: impl Into<String>) -> Result<T, Self> {
        Err(Self::Unfit(reason.into()))
    }

    pub(super) fn of(self, name: &str) -> SourceError {
        let name = name.to_owned();
        match self {
            Self::Io(error) => SourceError::Unreadable { name, error },
            Self::Unfit(reason) => SourceError::Unfit { name, reason },
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A fault of a record, before anybody says in which line it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) column: Option<String>,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            column: None,
            message: message.into(),
        }
    }

    pub(super) fn in_column(column: &str, message: impl Into<String>) -> Self {
        Self {
            column: Some(clip(column)),
            message: message.into(),
        }
    }

    pub(super) fn at(self, line: u64) -> BadRow {
        BadRow {
            line,
            column: self.column,
            message: self.message,
        }
    }
}
