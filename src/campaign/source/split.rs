//! From text to the records of CSV, with the line in which each begins.
//!
//! The reader of the csv crate takes what follows a closing quote as part of the cell, and reads all that follows an
//! opening quote that is never closed into memory. Here both are faults, and a record has a longest length.

use std::io::{self, BufRead};
use std::mem;

/// The longest record that is kept, with 8 bytes for each cell: four times what a job may have. The rest is read over.
pub(super) const MAX_RECORD_BYTES: usize = 2 << 20;

/// One record: its cells in a row, each up to its end.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The line in which it begins, from 1.
    pub(super) line: u64,
    /// Why its cells are not to be trusted.
    pub(super) fault: Option<&'static str>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Record {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    fn begin(&mut self, line: u64) {
        self.line = line;
        self.fault = None;
        self.bytes.clear();
        self.ends.clear();
    }

    fn push(&mut self, byte: u8) {
        if self.has_room() {
            self.bytes.push(byte);
        }
    }

    fn end_cell(&mut self) {
        if self.has_room() {
            self.ends.push(self.bytes.len());
        }
    }

    fn has_room(&mut self) -> bool {
        let has = self.bytes.len() + 8 * self.ends.len() < MAX_RECORD_BYTES;
        if !has {
            self.fault = Some("is longer than 2 MiB: is a quote opened in it that is never closed?");
        }
        has
    }
}

/// Where in a cell the next byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Bare,
    Quoted,
    /// Behind a quote that closes the cell, or is the first of two.
    Closed,
}

/// Splits text into records.
pub(super) struct Splitter<R> {
    pub(super) input: R,
    delimiter: u8,
    /// The line of the next byte.
    line: u64,
    /// The last byte was a carriage return that ended a record: a line feed right behind it belongs to it.
    returned: bool,
}

impl<R: BufRead> Splitter<R> {
    pub(super) fn new(input: R, delimiter: u8) -> Self {
        Self {
            input,
            delimiter,
            line: 1,
            returned: false,
        }
    }

    /// Reads the next record; `false` at the end. Lines with nothing in them are passed over.
    pub(super) fn next(&mut self, record: &mut Record) -> io::Result<bool> {
        record.begin(self.line);
        let mut at = At::Start;
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(close(record, at));
            }
            let mut read = 0;
            let mut ended = false;
            for &byte in buffer {
                read += 1;
                if mem::take(&mut self.returned) && byte == b'\n' {
                    continue;
                }
                let breaks = at != At::Quoted && matches!(byte, b'\n' | b'\r');
                self.line += u64::from(breaks || byte == b'\n');
                self.returned = breaks && byte == b'\r';
                if !breaks {
                    at = step(record, at, byte, self.delimiter);
                } else if at == At::Start && record.len() == 0 {
                    record.line = self.line;
                } else {
                    record.end_cell();
                    ended = true;
                    break;
                }
            }
            self.input.consume(read);
            if ended {
                return Ok(true);
            }
        }
    }
}

/// One byte that does not end the record.
fn step(record: &mut Record, at: At, byte: u8, delimiter: u8) -> At {
    match (at, byte) {
        (At::Start, b'"') => At::Quoted,
        (At::Quoted, b'"') => At::Closed,
        (At::Closed, b'"') => {
            record.push(byte);
            At::Quoted
        }
        (At::Start | At::Bare | At::Closed, _) if byte == delimiter => {
            record.end_cell();
            At::Start
        }
        (At::Closed, _) => {
            record.fault =
                Some("has text behind a closing quote: a quote within a quoted cell is written twice (\"\")");
            record.push(byte);
            At::Bare
        }
        (At::Quoted, _) => {
            record.push(byte);
            At::Quoted
        }
        (At::Start | At::Bare, _) => {
            record.push(byte);
            At::Bare
        }
    }
}

/// The end of the text; whether it ends a record.
fn close(record: &mut Record, at: At) -> bool {
    if at == At::Start && record.len() == 0 {
        return false;
    }
    if at == At::Quoted {
        record.fault = Some("opens a quote that is never closed: all that follows was read as part of it");
    }
    record.end_cell();
    true
}
