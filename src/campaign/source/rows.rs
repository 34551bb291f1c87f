//! The rows, one after another: pulled by whoever wants the next.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use encoding_rs::Encoding;
use serde_json::value::RawValue;

use super::bad::{BadRow, Fault, SourceError, Trouble};
use super::cell::Cells;
use super::detect::{self, Format, Layout};
use super::json_lines::JsonLines;
use super::keys::Keys;
use super::mapping::Mapping;
use super::plan::Plan;
use super::table::Table;
use super::text::{Text, peek};

/// Says what is wrong with the name of a time zone.
pub type ZoneCheck = fn(&str) -> Result<(), String>;

/// Text in UTF-8.
pub(super) type Reader = Box<dyn Read + Send>;

/// A file whose layout is known: what was said of it, and what was found out.
pub(super) struct Opened {
    pub(super) reader: Reader,
    pub(super) encoding: &'static Encoding,
    pub(super) format: Format,
    pub(super) delimiter: u8,
    /// The first line is none of the table, but says what stands between cells.
    pub(super) skip_first: bool,
}

impl Opened {
    pub(super) fn of(name: &str, raw: impl Read + Send + 'static, layout: &Layout) -> Result<Self, SourceError> {
        let open = || {
            let Text { reader, encoding } = Text::of(raw, layout.encoding)?;
            let (sample, reader) = peek(reader, detect::SAMPLE_BYTES)?;
            detect::refuse_binary(&sample)?;
            let format = layout.format.map_or_else(|| detect::format(name, &sample), Ok)?;
            let named = detect::named(&sample);
            let delimiter = match (format, layout.delimiter.or(named)) {
                (Format::Csv, None) => detect::delimiter(&sample)?,
                (_, delimiter) => delimiter.unwrap_or(b','),
            };
            Ok(Self {
                reader: Box::new(reader),
                encoding,
                format,
                delimiter,
                skip_first: named.is_some(),
            })
        };
        open().map_err(|trouble: Trouble| trouble.of(name))
    }
}

/// A row that can be launched.
#[derive(Clone)]
pub struct Row {
    /// The line of the file in which it begins, from 1.
    pub line: u64,
    /// What tells it from others: its key, else its line.
    pub key: String,
    /// The flow to launch, a UUID.
    pub flow_id: String,
    /// The inputs, a JSON object: in the order of the columns, and then those that are the same for all rows.
    pub inputs: Box<RawValue>,
    /// Its time zone, when it names one: it was found right by the check that was handed in.
    pub timezone: Option<String>,
}

/// Never shows an input value: those are the customer's.
impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("line", &self.line)
            .field("key", &self.key)
            .field("flow_id", &self.flow_id)
            .field("inputs_bytes", &self.inputs.get().len())
            .field("timezone", &self.timezone)
            .finish()
    }
}

/// What a row of the file turned out to be.
#[derive(Clone, Debug)]
pub enum Entry {
    /// It can be launched.
    Row(Row),
    /// It cannot.
    Bad(BadRow),
    /// An earlier row has its key: that one is launched.
    Repeated {
        /// The line of the file in which it begins.
        line: u64,
        /// The key.
        key: String,
    },
}

/// One pass over the rows of a file. An error ends it.
pub struct Rows {
    name: String,
    records: Records,
    zones: ZoneCheck,
    /// With a key column alone: lines are told apart by their numbers.
    keys: Option<Keys>,
    any: bool,
    done: bool,
}

enum Records {
    Table(Table),
    JsonLines(JsonLines),
}

impl Records {
    fn next(&mut self) -> io::Result<Option<Cells>> {
        match self {
            Self::Table(table) => table.next(),
            Self::JsonLines(lines) => lines.next(),
        }
    }

    fn plan(&self) -> Option<&Plan> {
        match self {
            Self::Table(table) => Some(table.plan()),
            Self::JsonLines(lines) => lines.plan(),
        }
    }
}

impl Rows {
    pub(super) fn of(
        name: &str,
        raw: impl Read + Send + 'static,
        layout: &Layout,
        mapping: &Arc<Mapping>,
        zones: ZoneCheck,
    ) -> Result<Self, SourceError> {
        let opened = Opened::of(name, raw, layout)?;
        let (reader, encoding) = (opened.reader, opened.encoding);
        let records = match opened.format {
            Format::Csv => {
                let cells = (opened.delimiter, opened.skip_first);
                Records::Table(Table::of(name, reader, encoding, cells, mapping)?)
            }
            Format::Jsonl => Records::JsonLines(JsonLines::of(reader, encoding, mapping)),
        };
        Ok(Self {
            name: name.to_owned(),
            records,
            zones,
            keys: mapping.key.is_some().then(Keys::new),
            any: false,
            done: false,
        })
    }

    fn entry(&mut self, (line, cells): Cells) -> Entry {
        let row = cells.and_then(|cells| match self.records.plan() {
            Some(plan) => plan.row(line, &cells, self.zones),
            None => Err(Fault::new("has no columns")),
        });
        match row {
            Err(fault) => Entry::Bad(fault.at(line)),
            Ok(row) if self.keys.as_mut().is_some_and(|keys| !keys.insert(&row.key)) => {
                Entry::Repeated { line, key: row.key }
            }
            Ok(row) => Entry::Row(row),
        }
    }

    /// What is wrong when there are no more rows.
    fn end(&self) -> Option<SourceError> {
        if !self.any {
            return Some(Trouble::Unfit("has a header and no row".to_owned()).of(&self.name));
        }
        match &self.records {
            Records::Table(_) => None,
            Records::JsonLines(lines) => lines.check_names().err().map(SourceError::Mapping),
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Entry, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        match self.records.next() {
            Ok(Some(cells)) => {
                self.any = true;
                Some(Ok(self.entry(cells)))
            }
            Ok(None) => {
                self.done = true;
                self.end().map(Err)
            }
            Err(error) => {
                self.done = true;
                Some(Err(Trouble::Io(error).of(&self.name)))
            }
        }
    }
}
