//! Why a message is not a job, for the person who has to mend its producer.

use std::fmt;

/// A place in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Bytes before it.
    pub offset: usize,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The place `offset` bytes into `body`; beyond its end, its end.
    pub(super) fn of(body: &[u8], offset: usize) -> Self {
        let offset = offset.min(body.len());
        let before = &body[..offset];
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        Self {
            offset,
            line: 1 + before.iter().filter(|b| **b == b'\n').count(),
            column: 1 + String::from_utf8_lossy(&before[line_start..]).chars().count(),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}, line {}, column {}", self.offset, self.line, self.column)
    }
}

/// What could be read of a message that is not a job: enough for its result to find its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partial {
    /// The job's id, or the message's.
    pub id: Option<String>,
    /// `flowId`, whatever it says, when it is a string of bearable length.
    pub flow_id: Option<String>,
    /// `campaign`, when it can be one.
    pub campaign: Option<String>,
}

/// A message that is not a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The field that is wrong, when it is one.
    pub field: Option<String>,
    /// Where in the body; absent when something is missing, or wrong outside the body.
    pub position: Option<Position>,
    /// What is wrong with it, and what would be right. Never an input value.
    pub message: String,
    /// What could be read all the same. Boxed, to keep the good path's result small.
    pub partial: Box<Partial>,
}

impl Malformed {
    /// How many bytes into the body it went wrong.
    pub fn offset(&self) -> Option<usize> {
        self.position.map(|position| position.offset)
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(position) = self.position {
            write!(f, " ({position})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Malformed {}

/// A fault as it is found: cheap to hold on to while the rest of the message is read.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) field: Option<String>,
    pub(super) offset: Option<usize>,
    pub(super) message: String,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            field: None,
            offset: None,
            message: message.into(),
        }
    }

    pub(super) fn at(self, offset: usize) -> Self {
        Self {
            offset: Some(offset),
            ..self
        }
    }

    pub(super) fn field(self, name: &str) -> Self {
        Self {
            field: Some(clip(name)),
            ..self
        }
    }

    pub(super) fn into_malformed(self, body: &[u8], partial: Partial) -> Malformed {
        Malformed {
            field: self.field,
            position: self.offset.map(|offset| Position::of(body, offset)),
            message: self.message,
            partial: Box::new(partial),
        }
    }
}

/// A producer's text, fit to stand in a header and on a terminal: short, and without control characters.
pub fn clip(text: &str) -> String {
    const MOST: usize = 80;
    let mut out: String = text.chars().take(MOST).flat_map(visible).collect();
    if text.chars().nth(MOST).is_some() {
        out.push('…');
    }
    out
}

fn visible(c: char) -> impl Iterator<Item = char> {
    let (plain, escaped) = if c.is_control() {
        (None, Some(c.escape_default()))
    } else {
        (Some(c), None)
    };
    plain.into_iter().chain(escaped.into_iter().flatten())
}
