//! What a person runs by hand, without a broker's server: `launch`, `flows`, `check`, the completions and the manual.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here and says why")]

#[path = "../common/mod.rs"]
mod common;

mod check;
mod errors;
mod flows;
mod launch;
mod rig;
mod shell;
mod stop;
mod wait;
