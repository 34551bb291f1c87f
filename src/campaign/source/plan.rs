//! What becomes of each column of one set of columns, worked out once for all rows that have them.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::bad::Fault;
use super::cell::{Cell, Kind};
use super::mapping::{Flow, Mapping, advice};
use super::rows::{Row, ZoneCheck};
use crate::job::{MAX_BYTES, clip, is_flow_id};

/// The longest key: with the campaign and its run before it, it is a job id.
pub const MAX_KEY_BYTES: usize = 120;

/// What a job takes beside its inputs, at most: its flow, id, campaign, times and the rest.
pub const FRAME_BYTES: usize = 1024;

/// Where in a row everything stands.
#[derive(Debug)]
pub(super) struct Plan {
    columns: Vec<String>,
    /// In the order of the columns.
    inputs: Vec<Input>,
    /// The constants as they stand in the object, with commas between.
    constants: String,
    flow: FlowOf,
    key: Option<usize>,
    timezone: Option<usize>,
}

#[derive(Debug)]
struct Input {
    column: usize,
    /// With its quotes.
    name: String,
    kind: Option<Kind>,
}

#[derive(Debug)]
enum FlowOf {
    All(String),
    Column(usize),
}

impl Plan {
    pub(super) fn of(mapping: &Mapping, columns: Vec<String>) -> Result<Self, Fault> {
        let find = |wanted: &str| columns.iter().position(|column| column == wanted);
        let need = |wanted: &str| {
            let missing = || Fault::new(format!("there is no {}{}", clip(wanted), advice(wanted, &columns)));
            find(wanted).ok_or_else(missing)
        };
        let mut inputs = Vec::new();
        for mapped in &mapping.map {
            let name = format!("{}{}", mapping.prefix, mapped.input);
            inputs.push((need(&mapped.column)?, name, mapped.kind));
        }
        for (at, column) in columns.iter().enumerate() {
            let mapped = mapping.map.iter().any(|mapped| mapped.column == *column);
            if !mapped && !mapping.skip.contains(column) {
                inputs.push((at, format!("{}{column}", mapping.prefix), None));
            }
        }
        // Stable: two inputs of one column stay in the order in which they were given.
        inputs.sort_by_key(|(column, ..)| *column);
        let constants = || {
            mapping
                .constants
                .iter()
                .map(|(name, _)| format!("{}{name}", mapping.prefix))
        };
        let mut names = BTreeSet::new();
        for name in inputs.iter().map(|(_, name, _)| name.clone()).chain(constants()) {
            if let Some(twice) = names.replace(name) {
                return Err(Fault::new(format!(
                    "the input {0} is given twice: a column becomes one under its own name unless it is mapped to another \
                     (--map) or left out (--skip {0})",
                    clip(&twice)
                )));
            }
        }
        let values = mapping.constants.iter().map(|(_, value)| value.get());
        let constants = constants()
            .zip(values)
            .map(|(name, value)| format!("{}:{value}", quoted(&name)));
        Ok(Self {
            constants: constants.collect::<Vec<_>>().join(","),
            flow: match &mapping.flow {
                Flow::Id(id) => FlowOf::All(id.clone()),
                Flow::Column(column) => FlowOf::Column(need(column)?),
            },
            key: mapping.key.as_deref().map(need).transpose()?,
            timezone: mapping.timezone.as_deref().and_then(find),
            inputs: inputs
                .into_iter()
                .map(|(column, name, kind)| Input {
                    column,
                    name: quoted(&name),
                    kind,
                })
                .collect(),
            columns,
        })
    }

    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The row of these cells, one for each column.
    pub(super) fn row(&self, line: u64, cells: &[Cell], zones: ZoneCheck) -> Result<Row, Fault> {
        if cells.iter().all(Cell::is_empty) {
            return Err(Fault::new("has nothing in it"));
        }
        Ok(Row {
            line,
            key: self.key(line, cells)?,
            flow_id: self.flow_id(cells)?,
            timezone: self.timezone(cells, zones)?,
            inputs: self.inputs(cells)?,
        })
    }

    fn fault(&self, column: usize, message: impl Into<String>) -> Fault {
        Fault::in_column(&self.columns[column], message)
    }

    fn text(&self, cells: &[Cell], column: usize) -> Result<String, Fault> {
        let text = cells[column].to_text().map_err(|message| self.fault(column, message))?;
        Ok(text.into_owned())
    }

    fn key(&self, line: u64, cells: &[Cell]) -> Result<String, Fault> {
        let Some(column) = self.key else {
            return Ok(line.to_string());
        };
        let key = self.text(cells, column)?;
        if key.trim().is_empty() {
            return Err(self.fault(column, "is empty, and is the key of the row"));
        }
        if key.len() > MAX_KEY_BYTES {
            let message = format!("has {} bytes; a key has at most {MAX_KEY_BYTES}", key.len());
            return Err(self.fault(column, message));
        }
        if key.chars().any(char::is_control) {
            return Err(self.fault(
                column,
                "has a control character in it (a line break or tab), and is the key of the row",
            ));
        }
        Ok(key)
    }

    fn flow_id(&self, cells: &[Cell]) -> Result<String, Fault> {
        let column = match &self.flow {
            FlowOf::All(id) => return Ok(id.clone()),
            FlowOf::Column(column) => *column,
        };
        let id = self.text(cells, column)?;
        let id = id.trim();
        if is_flow_id(id) {
            return Ok(id.to_owned());
        }
        let message = format!("must be the UUID of a flow, with its hyphens; this is `{}`", clip(id));
        Err(self.fault(column, message))
    }

    fn timezone(&self, cells: &[Cell], zones: ZoneCheck) -> Result<Option<String>, Fault> {
        let Some(column) = self.timezone else {
            return Ok(None);
        };
        let zone = self.text(cells, column)?;
        let zone = zone.trim();
        if zone.is_empty() {
            return Ok(None);
        }
        zones(zone).map_err(|message| self.fault(column, message))?;
        Ok(Some(zone.to_owned()))
    }

    fn inputs(&self, cells: &[Cell]) -> Result<Box<RawValue>, Fault> {
        let mut object = String::from("{");
        let mut longest = (0, None);
        for input in &self.inputs {
            let json = cells[input.column]
                .to_json(input.kind)
                .map_err(|message| self.fault(input.column, message))?;
            longest = longest.max((json.len(), Some(input.column)));
            for part in [&input.name, ":", &json, ","] {
                object.push_str(part);
            }
        }
        if self.constants.is_empty() {
            object.truncate(object.strip_suffix(',').unwrap_or(&object).len());
        }
        object.push_str(&self.constants);
        object.push('}');
        if object.len() + FRAME_BYTES > MAX_BYTES {
            let message = format!(
                "would make a job of about {} bytes; at most {MAX_BYTES} can be launched",
                object.len() + FRAME_BYTES
            );
            return Err(match longest {
                (_, Some(column)) => self.fault(column, message),
                (_, None) => Fault::new(message),
            });
        }
        RawValue::from_string(object).map_err(|error| Fault::new(format!("cannot be written as JSON: {error}")))
    }
}

fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}
