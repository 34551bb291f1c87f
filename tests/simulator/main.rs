//! The simulator, judged by a plain client: what it promises to the tests of everything else.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests too: a panic is how they fail"
)]

mod control;
mod dialects;
mod faults;
mod limits;
mod record;
mod rig;
mod tokens;
mod wire;
