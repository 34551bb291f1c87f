//! What became of every row, in the order of the input: all of them to be accounted for, or those to be launched again.

use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::journal::{Journal, JournalError, Row, RowState, Run};
use super::source::{Format, Layout, Source, SourceError, parse_delimiter, parse_encoding};

/// What a row that comes from the journal calls its key, flow and zone: no input is called so.
pub const KEY: &str = "flowlaunch_key";
/// See [`KEY`].
pub const FLOW: &str = "flowlaunch_flow";
/// See [`KEY`].
pub const ZONE: &str = "flowlaunch_zone";

/// Why a report cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The report cannot be written.
    #[error("cannot write the report")]
    Write(#[from] io::Error),
    /// The file of rows cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is nothing to copy the rows from.
    #[error("{0}; --format jsonl makes the rows of what the journal knows instead")]
    NoInput(String),
    /// Nobody wants the rest.
    #[error("interrupted: the report is not whole")]
    Stopped,
}

/// How many rows were written, by how they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; RowState::ALL.len()]);

impl Tally {
    fn add(&mut self, state: RowState) {
        self.0[state as usize] += 1;
    }

    /// How many in this state.
    pub const fn of(&self, state: RowState) -> u64 {
        self.0[state as usize]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Of a report on one run: what is read, and who may end it.
#[derive(Clone, Copy)]
pub struct Report<'a> {
    /// The journal.
    pub journal: &'a Journal,
    /// The run.
    pub run: &'a Run,
    /// Among those that were missed also the ones that may have been launched.
    pub uncertain: bool,
    /// Asked at every row.
    pub stopped: &'a dyn Fn() -> bool,
}

/// A row, as it is reported.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    line: u64,
    key: &'a str,
    flow_id: &'a str,
    state: &'static str,
    execution_id: Option<&'a str>,
    attempts: u32,
    reason: Option<&'a str>,
    error: Option<&'a str>,
    published_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

const COLUMNS: [&str; 10] = [
    "line",
    "key",
    "flowId",
    "state",
    "executionId",
    "attempts",
    "reason",
    "error",
    "publishedAt",
    "finishedAt",
];

impl<'a> Line<'a> {
    fn of(row: &'a Row) -> Self {
        Self {
            line: row.planned.line,
            key: &row.planned.key,
            flow_id: &row.planned.flow_id,
            state: row.state.as_str(),
            execution_id: row.execution_id.as_deref(),
            attempts: row.attempts,
            reason: row.reason.as_deref(),
            error: row.error.as_deref(),
            published_at: row.published,
            finished_at: row.finished,
        }
    }
}

impl Report<'_> {
    /// Every row, a line each.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn all(&self, format: Format, mut into: impl Write) -> Result<Tally, ReportError> {
        match format {
            Format::Jsonl => self.each(false, |_| true, |row| json(&mut into, &Line::of(row))),
            Format::Csv => {
                let mut table = csv::WriterBuilder::new().has_headers(false).from_writer(into);
                table.write_record(COLUMNS).map_err(unwritten)?;
                let tally = self.each(
                    false,
                    |_| true,
                    |row| Ok(table.serialize(Line::of(row)).map_err(unwritten)?),
                )?;
                table.flush()?;
                Ok(tally)
            }
        }
    }

    /// The rows that ended and not as was wanted, as they stand in the input, under its header. The encoding of the input,
    /// where what is written has another one.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn missed_as_given(&self, mut into: impl Write) -> Result<(Tally, Option<&'static str>), ReportError> {
        let source = self.input()?;
        let layout = layout(&self.run.settings).map_err(ReportError::NoInput)?;
        let mut records = source.raw(&layout)?;
        into.write_all(records.head())?;
        let tally = self.each(
            true,
            |row| self.is_missed(row),
            |row| {
                let line = row.planned.line;
                match records.at(line)? {
                    Some(record) => Ok(into.write_all(record)?),
                    None => Err(ReportError::NoInput(format!(
                        "no row begins in line {line} of {}",
                        source.name()
                    ))),
                }
            },
        )?;
        let encoding = records.transcoded();
        records.finish()?;
        Ok((tally, encoding))
    }

    /// The same rows as JSON Lines of what the journal knows: inputs, key, flow and zone. Whether any has a zone of its own.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn missed_as_known(&self, mut into: impl Write) -> Result<(Tally, bool), ReportError> {
        let mut zoned = false;
        // One that was never fit to be launched has no inputs here: the file of rows has it, and so have the rejects.
        let is_known = |row: &Row| self.is_missed(row) && !row.planned.inputs.is_empty();
        let tally = self.each(true, is_known, |row| {
            let row = &row.planned;
            let named = |name: &str, value: &str| format!("\"{name}\":{}", serde_json::Value::from(value));
            let mut fields = vec![named(KEY, &row.key), named(FLOW, &row.flow_id)];
            zoned |= row.zone.is_some();
            fields.extend(row.zone.as_deref().map(|zone| named(ZONE, zone)));
            // As it was written: numbers keep their digits.
            let inputs = row.inputs.trim().trim_start_matches('{').trim_end();
            let inputs = inputs.strip_suffix('}').unwrap_or(inputs).trim();
            fields.extend((!inputs.is_empty()).then(|| inputs.to_owned()));
            Ok(writeln!(into, "{{{}}}", fields.join(","))?)
        })?;
        Ok((tally, zoned))
    }

    /// Whether the rows came from a file that can be read again.
    pub fn has_file(&self) -> bool {
        !matches!(self.run.source.as_str(), "-" | "standard input")
    }

    fn input(&self) -> Result<Source, ReportError> {
        let name = &self.run.source;
        let source = Source::open(Path::new(name)).map_err(|error| {
            let why = std::error::Error::source(&error).map_or_else(String::new, |why| format!(": {why}"));
            ReportError::NoInput(format!("{error}{why}"))
        })?;
        if source.digest() != self.run.digest {
            let said = format!(
                "{name} is not the file any more that run {} was made of",
                self.run.number
            );
            return Err(ReportError::NoInput(said));
        }
        Ok(source)
    }

    fn is_missed(&self, row: &Row) -> bool {
        self.uncertain || !matches!(row.state, RowState::Unknown | RowState::Unaccounted)
    }

    fn each(
        &self,
        missed: bool,
        wanted: impl Fn(&Row) -> bool,
        mut write: impl FnMut(&Row) -> Result<(), ReportError>,
    ) -> Result<Tally, ReportError> {
        let mut tally = Tally::default();
        self.journal.each_in_pages(self.run.id, missed, |row| {
            if (self.stopped)() {
                return Err(ReportError::Stopped);
            }
            if !wanted(&row) {
                return Ok(());
            }
            tally.add(row.state);
            write(&row)
        })?;
        Ok(tally)
    }
}

fn json(into: &mut impl Write, line: &Line<'_>) -> Result<(), ReportError> {
    serde_json::to_writer(&mut *into, line).map_err(io::Error::from)?;
    Ok(into.write_all(b"\n")?)
}

/// The error beneath: whoever writes to a pipe has to know that nobody reads it any more.
fn unwritten(error: csv::Error) -> io::Error {
    let said = error.to_string();
    if let csv::ErrorKind::Io(error) = error.into_kind() {
        return error;
    }
    io::Error::other(said)
}

/// What a run's settings say about its file of rows.
fn layout(settings: &str) -> Result<Layout, String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Said {
        format: Option<Format>,
        delimiter: Option<String>,
        encoding: Option<String>,
    }
    let said: Said =
        serde_json::from_str(settings).map_err(|error| format!("the run's settings cannot be read: {error}"))?;
    Ok(Layout {
        format: said.format,
        delimiter: said.delimiter.as_deref().map(parse_delimiter).transpose()?,
        encoding: said.encoding.as_deref().map(parse_encoding).transpose()?,
    })
}

#[cfg(test)]
mod tests;
