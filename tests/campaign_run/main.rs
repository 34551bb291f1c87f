//! Campaigns as people run them: the program as a process, killed and started again, on both brokers.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what it did not expect, and shows what it measured"
)]

mod begin;
#[path = "../common/mod.rs"]
mod common;
mod control;
mod follow;
mod hostile;
mod kills;
mod lane;
mod million;
mod pace;
mod stage;
mod windows;
