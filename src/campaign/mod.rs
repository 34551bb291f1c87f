//! Campaigns: staggered bulk launches from a file, accounted for row by row.

pub mod journal;
