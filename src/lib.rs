//! Launches Genesys Cloud Architect flows in bulk, and accounts for every job.
//!
//! # The promise
//!
//! No job is lost in silence, no customer is called twice outside the windows that the README names, no quota is wasted
//! or overrun; then speed.
//!
//! # The path of a job
//!
//! ```text
//! producer ─▶ exchange ─▶ lane ─▶ intake ─▶ decode ─▶ admit ─▶ launch ─▶ decide ─▶ settle ─▶ report
//! ```
//!
//! The modules stand in the order in which a job meets them.

// What a job is, and what can become of it.
pub mod job;
pub mod lane;
pub mod outcome;
pub mod result;
pub mod units;

// Where jobs come from and go to: bytes and headers, never a job.
pub mod broker;

// May it be launched now?
pub mod admit;

// The API: token, request, answer, and what the answer means.
pub mod api;

// What to do about an outcome: pure policy.
pub mod retry;

// What is paused or cancelled, for the whole fleet.
pub mod control;

// The path itself.
pub mod worker;

// A person's own calls, without a queue.
pub mod direct;

// Many launches from a file, spread over time.
pub mod campaign;

// What people see and set.
pub mod admin;
pub mod check;
pub mod cli;
pub mod config;
pub mod metrics;
pub mod shutdown;
pub mod telemetry;

// Puts the parts together.
pub mod app;

// A stand-in for the API; imports nothing of ours.
pub mod simulator;
