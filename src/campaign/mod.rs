//! Campaigns: launches from a list, spread over time, accounted for row by row.

pub mod journal;
pub mod schedule;
