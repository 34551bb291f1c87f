//! The API of Genesys Cloud: token, request, answer, and what the answer means.
//!
//! The client never sends a request twice. Nothing here decides what to do about a failure: it says what is known, in the
//! vocabulary of [`crate::outcome`].

mod settings;
pub use settings::{InputsField, Settings};
mod region;
pub use region::{Region, UnknownRegion, is_genesys_domain};

// How bytes get there: connections of its own for the launch, one client for the reads and the login.
mod connect;
mod transport;
mod wire;
pub use transport::{BuildError, wrong_address};

// The token.
mod login;
mod token;
pub use token::{AccessToken, MintResult, Tokens};

// The request, and whether it was written.
mod last_look;
mod request;
pub use request::LaunchRequest;
mod client;
pub use client::{Attempted, Client, Reply};
mod read;
pub use read::{Flow, FlowQuery, RateHeaders, Version};
mod execution;
pub use execution::{Execution, Stage};

// The answer, and what it means.
mod answer;
mod classify;
pub use classify::{classify, failure};
pub mod retry_after;

#[cfg(test)]
mod testing;
