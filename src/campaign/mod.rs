//! Campaigns: staggered launches from a file, accounted for row by row.

pub mod file;
pub mod source;
