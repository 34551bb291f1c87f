//! The records of a file as they are written, so that some of them can be copied, byte for byte, and launched again.
//!
//! Byte for byte in UTF-8, that is: gzip is undone, and another encoding, or a byte-order mark, is gone.

use std::io::{self, BufRead, BufReader, Read};
use std::mem;

use encoding_rs::{Encoding, UTF_8};

use super::bad::{SourceError, Trouble};
use super::detect::Format;
use super::rows::{Opened, Reader};
use super::split::{MAX_RECORD_BYTES, Record, Splitter};

/// Of a record so much is kept: one that can be launched is shorter, even with each of its quotes written twice.
const MOST_KEPT: usize = 2 * MAX_RECORD_BYTES + 1024;

/// One pass over the records of a file.
pub struct RawRecords {
    name: String,
    head: Vec<u8>,
    encoding: &'static Encoding,
    records: Records,
}

enum Records {
    Csv(Splitter<Kept<BufReader<Reader>>>, Record),
    /// With the number of lines that were read.
    Jsonl(BufReader<Reader>, u64, Vec<u8>),
}

impl RawRecords {
    pub(super) fn of(name: &str, opened: Opened) -> Result<Self, SourceError> {
        let Opened {
            reader,
            encoding,
            format,
            delimiter,
            skip_first,
        } = opened;
        let input = BufReader::with_capacity(1 << 16, reader);
        let mut head = Vec::new();
        let records = match format {
            Format::Jsonl => Records::Jsonl(input, 0, Vec::new()),
            Format::Csv => {
                let mut records = Splitter::new(Kept::of(input), delimiter);
                let mut record = Record::default();
                for _ in 0..=usize::from(skip_first) {
                    next(&mut records, &mut record).map_err(|error| Trouble::Io(error).of(name))?;
                    head.append(&mut records.input.bytes);
                }
                Records::Csv(records, record)
            }
        };
        Ok(Self {
            name: name.to_owned(),
            head,
            encoding,
            records,
        })
    }

    /// What stands before the rows: the header of a CSV file.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The encoding of the file, when what comes of it here is in another one: in UTF-8.
    pub fn transcoded(&self) -> Option<&'static str> {
        (self.encoding != UTF_8).then(|| self.encoding.name())
    }

    /// The record that begins in this line, with its line's end, if one does. Lines are asked for in their order.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn at(&mut self, line: u64) -> Result<Option<&[u8]>, SourceError> {
        let found = match &mut self.records {
            Records::Csv(records, record) => {
                seek(records, record, line).map(|found| found.then_some(&records.input.bytes))
            }
            Records::Jsonl(input, read, bytes) => {
                read_line(input, read, bytes, line).map(|found| found.then_some(&*bytes))
            }
        };
        let found = found.map_err(|error| Trouble::Io(error).of(&self.name))?;
        Ok(found.map(Vec::as_slice))
    }

    /// Reads to the end, where it is known whether the file was changed meanwhile.
    ///
    /// # Errors
    /// When it was, or cannot be read.
    pub fn finish(self) -> Result<(), SourceError> {
        let rest = match self.records {
            Records::Csv(records, _) => io::copy(&mut records.input.inner.into_inner(), &mut io::sink()),
            Records::Jsonl(input, ..) => io::copy(&mut input.into_inner(), &mut io::sink()),
        };
        rest.map(drop).map_err(|error| Trouble::Io(error).of(&self.name))
    }
}

fn seek(records: &mut Splitter<Kept<BufReader<Reader>>>, record: &mut Record, line: u64) -> io::Result<bool> {
    while record.line < line {
        if !next(records, record)? {
            return Ok(false);
        }
    }
    Ok(record.line == line)
}

/// The next record, and its bytes with those of its line's end.
fn next(records: &mut Splitter<Kept<BufReader<Reader>>>, record: &mut Record) -> io::Result<bool> {
    records.input.bytes.clear();
    let any = records.next(record)?;
    let kept = &mut records.input;
    // Read with the next record, and part of this one's end.
    if kept.bytes.ends_with(b"\r") && kept.inner.fill_buf()?.first() == Some(&b'\n') {
        kept.bytes.push(b'\n');
    }
    Ok(any)
}

fn read_line(input: &mut impl BufRead, read: &mut u64, bytes: &mut Vec<u8>, line: u64) -> io::Result<bool> {
    while *read + 1 < line {
        if input.skip_until(b'\n')? == 0 {
            return Ok(false);
        }
        *read += 1;
    }
    bytes.clear();
    if *read + 1 == line {
        *read += 1;
        input.take(MOST_KEPT as u64).read_until(b'\n', bytes)?;
    }
    Ok(!bytes.is_empty())
}

/// Keeps what is consumed, from the first byte that is no line's end: no record begins with one.
pub(super) struct Kept<R> {
    inner: R,
    bytes: Vec<u8>,
}

impl<R> Kept<R> {
    fn of(inner: R) -> Self {
        Self {
            inner,
            bytes: Vec::new(),
        }
    }
}

impl<R: BufRead> Read for Kept<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Kept<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        let mut bytes = mem::take(&mut self.bytes);
        // What is consumed lies in the buffer: this reads nothing.
        if let Ok(buffer) = self.inner.fill_buf() {
            let mut part = &buffer[..amount.min(buffer.len())];
            if bytes.is_empty() {
                let breaks = part.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
                part = &part[breaks..];
            }
            let room = MOST_KEPT.saturating_sub(bytes.len());
            bytes.extend_from_slice(&part[..part.len().min(room)]);
        }
        self.bytes = bytes;
        self.inner.consume(amount);
    }
}
