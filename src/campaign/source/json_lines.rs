//! The rows of a JSON Lines file: an object a line, whose values are passed on as they are written.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;

use encoding_rs::Encoding;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::bad::Fault;
use super::cell::{Cell, Cells};
use super::mapping::{Mapping, advice};
use super::plan::Plan;
use super::rows::Reader;
use super::split::MAX_RECORD_BYTES;
use super::text::checked;
use crate::job::clip;

/// Names of fields that are kept, to say which one was meant.
const MOST_NAMES: usize = 1000;

pub(super) struct JsonLines {
    input: BufReader<Reader>,
    encoding: &'static Encoding,
    mapping: Arc<Mapping>,
    line: u64,
    bytes: Vec<u8>,
    /// For the fields of the last row: most often those of the next one.
    plan: Option<Plan>,
    names: BTreeSet<String>,
    /// Fields that were asked for and not yet seen.
    unseen: BTreeSet<String>,
}

impl JsonLines {
    pub(super) fn of(reader: Reader, encoding: &'static Encoding, mapping: &Arc<Mapping>) -> Self {
        Self {
            input: BufReader::with_capacity(1 << 16, reader),
            encoding,
            mapping: Arc::clone(mapping),
            line: 0,
            bytes: Vec::new(),
            plan: None,
            names: BTreeSet::new(),
            unseen: mapping.columns().map(|(_, column)| column.to_owned()).collect(),
        }
    }

    pub(super) fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// The next row: its line, and its fields' values or what is wrong with them.
    pub(super) fn next(&mut self) -> io::Result<Option<Cells>> {
        while self.read_line()? {
            if !self.bytes.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some((self.line, self.cells())));
            }
        }
        Ok(None)
    }

    /// At the end: what was asked for and never there.
    pub(super) fn check_names(&self) -> Result<(), String> {
        let names: Vec<String> = self.names.iter().cloned().collect();
        let unseen = self.mapping.columns().find(|(_, column)| self.unseen.contains(*column));
        match unseen {
            Some((flag, column)) => Err(format!(
                "{flag}: no row has a field {}{}",
                clip(column),
                advice(column, &names)
            )),
            None => Ok(()),
        }
    }

    /// Reads a line, or as much of it as is kept; `false` at the end.
    fn read_line(&mut self) -> io::Result<bool> {
        self.bytes.clear();
        self.line += 1;
        let mut any = false;
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(any);
            }
            any = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            // One byte more than may be, to know that it was too long.
            let room = MAX_RECORD_BYTES + 1 - self.bytes.len();
            self.bytes.extend_from_slice(&part[..part.len().min(room)]);
            let read = part.len() + usize::from(end.is_some());
            self.input.consume(read);
            if end.is_some() {
                return Ok(true);
            }
        }
    }

    fn cells(&mut self) -> Result<Vec<Cell>, Fault> {
        if self.bytes.len() > MAX_RECORD_BYTES {
            return Err(Fault::new("is longer than 2 MiB"));
        }
        let text = checked(&self.bytes, self.encoding).map_err(Fault::new)?;
        let fields = fields(text)?;
        let (names, cells): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
        if self.plan.as_ref().is_none_or(|plan| plan.columns() != names) {
            self.plan = None;
            self.learn(&names);
            self.plan = Some(plan(&self.mapping, names)?);
        }
        Ok(cells)
    }

    fn learn(&mut self, names: &[String]) {
        for name in names {
            self.unseen.remove(name);
            if self.names.len() < MOST_NAMES && !self.names.contains(name) {
                self.names.insert(clip(name));
            }
        }
    }
}

fn plan(mapping: &Mapping, names: Vec<String>) -> Result<Plan, Fault> {
    let mut known = BTreeSet::new();
    for name in &names {
        if name.is_empty() {
            return Err(Fault::new("has a field without a name"));
        }
        if !known.insert(name) {
            return Err(Fault::in_column(name, "is given twice"));
        }
    }
    Plan::of(mapping, names)
}

fn fields(text: &str) -> Result<Vec<(String, Cell)>, Fault> {
    if !text.trim_start().starts_with('{') {
        return Err(Fault::new("is not a JSON object, {\"name\": value, …}"));
    }
    let read = serde_json::from_str(text).map(|Fields(fields)| fields);
    read.map_err(|error| {
        let said = error.to_string();
        let said = said.split(" at line ").next().unwrap_or_default();
        Fault::new(format!("is not valid JSON at its byte {}: {said}", error.column()))
    })
}

/// The fields of an object in their order, repeated ones too.
struct Fields(Vec<(String, Cell)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    fields.push((name, Cell::Json(value)));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Each)
    }
}
