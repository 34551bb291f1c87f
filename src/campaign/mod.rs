//! Campaigns: launches from a list, spread over time, accounted for row by row.

pub mod file;
pub mod journal;
pub mod plan;
pub mod report;
pub mod schedule;
pub mod source;
