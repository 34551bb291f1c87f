//! Campaigns: launches from a list, spread over time, accounted for row by row.

pub mod begin;
pub mod file;
pub mod inputs;
pub mod journal;
pub mod plan;
pub mod report;
pub mod run;
pub mod schedule;
pub mod source;
