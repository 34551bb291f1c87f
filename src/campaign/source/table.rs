//! The rows of a CSV file: a header, and cells under it.

use std::collections::BTreeMap;
use std::io::{self, BufReader};

use encoding_rs::Encoding;

use super::bad::{Fault, SourceError, Trouble};
use super::cell::{Cell, Cells};
use super::mapping::Mapping;
use super::plan::Plan;
use super::rows::Reader;
use super::split::{Record, Splitter};
use super::text::checked;
use crate::job::{clip, is_flow_id};

pub(super) struct Table {
    splitter: Splitter<BufReader<Reader>>,
    record: Record,
    plan: Plan,
    encoding: &'static Encoding,
}

impl Table {
    /// Reads the header. `skip_first` passes over a first line such as `sep=;`.
    pub(super) fn of(
        name: &str,
        reader: Reader,
        encoding: &'static Encoding,
        (delimiter, skip_first): (u8, bool),
        mapping: &Mapping,
    ) -> Result<Self, SourceError> {
        let mut splitter = Splitter::new(BufReader::with_capacity(1 << 16, reader), delimiter);
        let mut record = Record::default();
        let mut read = || {
            if skip_first {
                splitter.next(&mut record)?;
            }
            if splitter.next(&mut record)? {
                header(&record, encoding)
            } else {
                Trouble::unfit("is empty")
            }
        };
        let columns = read().map_err(|trouble| trouble.of(name))?;
        mapping.check(&columns).map_err(SourceError::Mapping)?;
        let plan = Plan::of(mapping, columns).map_err(|fault| SourceError::Mapping(fault.message))?;
        Ok(Self {
            splitter,
            record,
            plan,
            encoding,
        })
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The next row: its line, and its cells or what is wrong with them.
    pub(super) fn next(&mut self) -> io::Result<Option<Cells>> {
        if !self.splitter.next(&mut self.record)? {
            return Ok(None);
        }
        Ok(Some((self.record.line, self.cells())))
    }

    fn cells(&self) -> Result<Vec<Cell>, Fault> {
        if let Some(fault) = self.record.fault {
            return Err(Fault::new(fault));
        }
        let columns = self.plan.columns();
        if self.record.len() != columns.len() {
            return Err(Fault::new(format!(
                "has {} {}, and the header has {}",
                self.record.len(),
                if self.record.len() == 1 { "cell" } else { "cells" },
                columns.len()
            )));
        }
        let cell = |(column, bytes): (&String, &[u8])| match checked(bytes, self.encoding) {
            Ok(text) => Ok(Cell::Text(text.to_owned())),
            Err(message) => Err(Fault::in_column(column, message)),
        };
        columns.iter().zip(self.record.cells()).map(cell).collect()
    }
}

/// The names of the columns; an error when they are none.
fn header(record: &Record, encoding: &'static Encoding) -> Result<Vec<String>, Trouble> {
    let wrong = |what: String| Trouble::unfit(format!("line {}, the header: {what}", record.line));
    if let Some(fault) = record.fault {
        return wrong(fault.to_owned());
    }
    let mut names: Vec<String> = Vec::new();
    let mut places = BTreeMap::new();
    for (at, bytes) in record.cells().enumerate() {
        let name = match checked(bytes, encoding) {
            Ok(text) => text.trim().to_owned(),
            Err(what) => return wrong(format!("column {} {what}", at + 1)),
        };
        if name.is_empty() {
            return wrong(format!(
                "column {} has no name; the first line has to name every column",
                at + 1
            ));
        }
        if let Some(first) = places.insert(name.clone(), at + 1) {
            return wrong(format!("columns {first} and {} are both named {}", at + 1, clip(&name)));
        }
        if is_data(&name) {
            return wrong(format!(
                "{} looks like data and not like the name of a column; the first line has to name every column",
                clip(&name)
            ));
        }
        names.push(name);
    }
    Ok(names)
}

/// A number, a telephone number, a UUID or an e-mail address: what stands in lists, and names no column.
fn is_data(name: &str) -> bool {
    let telephone = name.len() > 3
        && name
            .bytes()
            .all(|sign| sign.is_ascii_digit() || b"+-/(). ".contains(&sign));
    let email = name
        .split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
    let number = name.replace(',', ".").parse::<f64>().is_ok() && name.bytes().any(|sign| sign.is_ascii_digit());
    telephone || email || number || is_flow_id(name)
}
