//! What kind of file it is, as far as its name and its first rows tell, where nobody said.

use encoding_rs::{Encoding, REPLACEMENT};

use super::bad::Trouble;
use super::split::{Record, Splitter};

/// How much is looked at, and how many records of it.
pub(super) const SAMPLE_BYTES: u64 = 1 << 16;
const SAMPLE_RECORDS: usize = 20;

const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A header, and a row a line.
    Csv,
    /// A JSON object a line.
    Jsonl,
}

/// What was said about the file; what was not is found out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout {
    /// How rows are written.
    pub format: Option<Format>,
    /// What stands between cells.
    pub delimiter: Option<u8>,
    /// The encoding.
    pub encoding: Option<&'static Encoding>,
}

/// Reads a delimiter: `,`, `;`, `|`, `tab` or another sign.
pub fn parse_delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        &[sign] if sign == b'\t' || (sign.is_ascii_punctuation() && sign != b'"') => Ok(sign),
        _ => Err(format!(
            "must be one sign such as \",\", \";\", \"|\" or \"tab\", not {text:?}"
        )),
    }
}

/// Reads the name of an encoding, as browsers know them: `utf-8`, `windows-1252`, `latin1`, `utf-16le`, `shift_jis`.
pub fn parse_encoding(name: &str) -> Result<&'static Encoding, String> {
    Encoding::for_label(name.as_bytes())
        .filter(|encoding| *encoding != REPLACEMENT)
        .ok_or_else(|| {
            format!("{name:?} is not the name of an encoding such as \"utf-8\", \"windows-1252\" or \"utf-16le\"")
        })
}

/// How rows are written, by the name of the file and its first byte.
pub(super) fn format(name: &str, sample: &[u8]) -> Result<Format, Trouble> {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let first = sample.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        Some(b'[') => Trouble::unfit(
            "begins like a JSON array: write JSON Lines instead, one object a line (jq -c '.[]' does it); for a CSV file \
             say --format csv",
        ),
        Some(b'{') => Ok(Format::Jsonl),
        _ if name.ends_with(".jsonl") || name.ends_with(".ndjson") => Ok(Format::Jsonl),
        _ => Ok(Format::Csv),
    }
}

/// Refuses what cannot be text.
pub(super) fn refuse_binary(sample: &[u8]) -> Result<(), Trouble> {
    if sample.iter().all(u8::is_ascii_whitespace) {
        return Trouble::unfit("is empty");
    }
    match sample.iter().position(|byte| *byte == 0) {
        Some(at) => Trouble::unfit(format!(
            "is not text (line {} has a zero byte in it); a file in UTF-16 without a byte-order mark is read with \
             --encoding utf-16le or utf-16be",
            1 + sample[..at].iter().filter(|byte| **byte == b'\n').count()
        )),
        None => Ok(()),
    }
}

/// The delimiter that a first line such as `sep=;` names, as spreadsheets write it.
pub(super) fn named(sample: &[u8]) -> Option<u8> {
    let line = sample.split(|byte| *byte == b'\n').next()?;
    match line.strip_suffix(b"\r").unwrap_or(line) {
        [b's', b'e', b'p', b'=', sign] => Some(*sign),
        _ => None,
    }
}

/// The delimiter that splits the header and the first rows into the same number of cells.
pub(super) fn delimiter(sample: &[u8]) -> Result<u8, Trouble> {
    let whole = (sample.len() as u64) < SAMPLE_BYTES;
    let splitting: Vec<Fit> = DELIMITERS
        .iter()
        .map(|delimiter| Fit::of(*delimiter, sample, whole))
        .filter(|fit| fit.columns > 1)
        .collect();
    let even: Vec<&Fit> = splitting.iter().filter(|fit| fit.even).collect();
    match (splitting.as_slice(), even.as_slice()) {
        ([], _) => Ok(b','),
        ([only], _) => Ok(only.delimiter),
        (_, [only]) => Ok(only.delimiter),
        (all, _) => {
            let told: Vec<String> = all.iter().map(Fit::told).collect();
            Trouble::unfit(format!(
                "cannot tell what stands between its cells ({}): say it with --delimiter",
                told.join(", ")
            ))
        }
    }
}

struct Fit {
    delimiter: u8,
    /// In the header.
    columns: usize,
    /// Whether all records of the sample have as many.
    even: bool,
}

impl Fit {
    fn of(delimiter: u8, sample: &[u8], whole: bool) -> Self {
        let mut rest = sample;
        let mut splitter = Splitter::new(&mut rest, delimiter);
        let mut record = Record::default();
        let mut counts = Vec::new();
        while counts.len() < SAMPLE_RECORDS && splitter.next(&mut record).unwrap_or(false) {
            counts.push((record.len(), record.fault.is_none()));
        }
        // The last one is likely to be cut off by the sample's end.
        if !whole && counts.len() > 1 {
            counts.pop();
        }
        let columns = counts.first().map_or(0, |(columns, _)| *columns);
        Self {
            delimiter,
            columns,
            even: counts.iter().all(|count| *count == (columns, true)),
        }
    }

    fn told(&self) -> String {
        let sign = match self.delimiter {
            b'\t' => "a tab".to_owned(),
            sign => format!("\"{}\"", sign as char),
        };
        format!("{sign} makes {} columns", self.columns)
    }
}
