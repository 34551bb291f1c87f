//! Files of every kind, good and hostile, read as a whole.

use std::io::Write as _;
use std::sync::Arc;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;
use crate::job::{Job, MAX_BYTES, OnUnknown};

mod any;
mod json_lines;
mod mapping;
mod passes;
mod table;
mod text;

const FLOW: &str = "5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b";

fn zones(zone: &str) -> Result<(), String> {
    zone.contains('/')
        .then_some(())
        .ok_or_else(|| format!("{zone} is no zone"))
}

fn mapping(change: impl FnOnce(&mut Mapping)) -> Mapping {
    let mut mapping = Mapping::new(Flow::Id(FLOW.to_owned()));
    change(&mut mapping);
    mapping
}

fn read_as(bytes: &[u8], layout: &Layout, mapping: Mapping) -> Result<Vec<Entry>, String> {
    let source = Source::spool("list", bytes).map_err(|error| error.to_string())?;
    let rows = source.rows(layout, &Arc::new(mapping), zones);
    let entries = rows.and_then(|rows| rows.collect::<Result<_, _>>());
    entries.map_err(|error| format!("{:#}", anyhow::Error::from(error)))
}

fn read_with(bytes: impl AsRef<[u8]>, change: impl FnOnce(&mut Mapping)) -> Result<Vec<Entry>, String> {
    read_as(bytes.as_ref(), &Layout::default(), mapping(change))
}

/// Each row as a line to compare: `2: {"a":"1"}`; a bad one as it is told.
fn told(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(one).collect()
}

fn one(entry: &Entry) -> String {
    match entry {
        Entry::Row(row) => format!("{}: {}", row.line, row.inputs.get()),
        Entry::Bad(bad) => bad.to_string(),
        Entry::Repeated { line, key } => format!("{line}: {key} again"),
    }
}

#[track_caller]
fn reads(bytes: impl AsRef<[u8]>, change: impl FnOnce(&mut Mapping), wanted: &[&str]) {
    assert_eq!(told(&read_with(bytes, change).unwrap()), wanted);
}

/// No row at all, because of the file or of what was asked for.
#[track_caller]
fn fails(bytes: impl AsRef<[u8]>, change: impl FnOnce(&mut Mapping), wanted: &str) {
    let said = read_with(bytes, change).unwrap_err();
    assert!(said.contains(wanted), "{said}");
}

fn row(entry: &Entry) -> &Row {
    match entry {
        Entry::Row(row) => row,
        Entry::Bad(_) | Entry::Repeated { .. } => panic!("{}", one(entry)),
    }
}

fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

fn utf_16(text: &str, little: bool) -> Vec<u8> {
    let unit = |unit: u16| if little { unit.to_le_bytes() } else { unit.to_be_bytes() };
    text.encode_utf16().flat_map(unit).collect()
}
