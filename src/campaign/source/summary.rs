//! A whole pass over the rows, before anything is launched: how many can be, and what is wrong with the rest.

use std::io::Write;

use super::bad::{BadRow, SourceError};
use super::rows::{Entry, Row, Rows};
use crate::job::clip;

/// What a pass found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows that can be launched.
    pub rows: u64,
    /// Rows that cannot.
    pub bad: u64,
    /// Rows whose key an earlier row has; that one is launched.
    pub repeated: u64,
    /// The first of those that are bad or repeated, to be shown. All are among the rejects.
    pub first: Vec<BadRow>,
}

impl Summary {
    const SHOWN: usize = 20;

    /// Reads all rows. `look` sees every good one, and may refuse it.
    pub fn of<W: Write>(
        rows: Rows,
        rejects: &mut Rejects<W>,
        mut look: impl FnMut(&Row) -> Result<(), BadRow>,
    ) -> Result<Self, SourceError> {
        let mut summary = Self::default();
        for entry in rows {
            let (count, reject) = match entry? {
                Entry::Row(row) => match look(&row) {
                    Ok(()) => (&mut summary.rows, None),
                    Err(bad) => (&mut summary.bad, Some(bad)),
                },
                Entry::Bad(bad) => (&mut summary.bad, Some(bad)),
                Entry::Repeated { line, key } => {
                    let message = format!("an earlier row has the key {} too; that one counts", clip(&key));
                    let reject = BadRow {
                        line,
                        column: None,
                        message,
                    };
                    (&mut summary.repeated, Some(reject))
                }
            };
            *count += 1;
            if let Some(reject) = reject {
                rejects.write(&reject).map_err(SourceError::Rejects)?;
                if summary.first.len() < Self::SHOWN {
                    summary.first.push(reject);
                }
            }
        }
        rejects.flush().map_err(SourceError::Rejects)?;
        Ok(summary)
    }
}

/// Where rows go that are not launched: CSV with line, column and what is wrong, written as they come.
pub struct Rejects<W: Write> {
    writer: csv::Writer<W>,
    any: bool,
}

impl<W: Write> Rejects<W> {
    /// Nothing is written before there is a row to write.
    pub fn new(into: W) -> Self {
        Self {
            writer: csv::Writer::from_writer(into),
            any: false,
        }
    }

    fn write(&mut self, bad: &BadRow) -> std::io::Result<()> {
        if !self.any {
            self.any = true;
            self.writer.write_record(["line", "column", "message"])?;
        }
        let line = bad.line.to_string();
        let column = bad.column.as_deref().unwrap_or_default();
        self.writer.write_record([&line, column, &bad.message])?;
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}
