//! What a campaign launches: the rows of a file, read once to check them all and again to launch them.
//!
//! ```text
//! bytes ─▶ open ─▶ text ─▶ table or JSON lines ─▶ plan ─▶ rows ─▶ summary
//!    digest, spool  gzip, encoding  records       mapping
//! ```
//!
//! Nothing is guessed in silence: bytes that are not of the encoding, a cell that is not of its type, a row that is longer
//! or shorter than the header are bad rows, named by line and column. However long the file, a pass holds one record in
//! memory (2 MiB at most), and with a key column 16 to 20 bytes for each key.
//!
//! # What is decided here
//!
//! - Every column is an input of its own name, a string; one that is mapped is not taken under its own name too. Key, flow
//!   and time-zone columns are inputs like others, unless they are skipped.
//! - A name in the header is taken without the blanks around it; a cell of a string is taken as it is, one of another type
//!   without the blanks around it.
//! - An empty cell is the empty string; for another type it is a bad row.
//! - A row without anything in it (`;;;;`, as spreadsheets leave them) is a bad row: it would launch a flow with nothing.
//!   A line without anything in it is no row.
//! - In JSON Lines a mapped field, key or flow that a row does not have makes it a bad row; a time zone may be absent or
//!   null. A field that is mapped without a type, or not at all, keeps its value byte for byte; a given type is checked and
//!   never converts.
//! - The first good row with a key counts: a bad row does not use it up.

mod bad;
mod cell;
mod detect;
mod json_lines;
mod keys;
mod mapping;
mod open;
mod plan;
mod raw;
mod rows;
mod split;
mod summary;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use bad::{BadRow, SourceError};
pub use cell::Kind;
pub use detect::{Format, Layout, parse_delimiter, parse_encoding};
pub(in crate::campaign) use mapping::advice;
pub use mapping::{Flow, Mapped, Mapping};
pub use open::Source;
pub use plan::{FRAME_BYTES, MAX_KEY_BYTES};
pub use raw::RawRecords;
pub use rows::{Entry, Row, Rows, ZoneCheck};
pub use summary::{Rejects, Summary};
