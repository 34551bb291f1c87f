//! The rig: real processes of a test's own, and what a test asks of them.
//!
//! `rabbit` is the broker, `sim` the API, `worker` the program under test; `amqp` and `python` play the strangers on the
//! other side of the queue; `wait` holds a test until something is true.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it looks for; all else is not that"
)]
#![allow(dead_code, reason = "each test file uses its own part of the rig")]
#![allow(
    unreachable_pub,
    reason = "a module of every test file: `pub` says what a test may use"
)]
#![allow(unused_imports, reason = "each test file uses its own part of the rig")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on stops here and says why"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the rig is told by tests/run, through the environment, what there is"
)]

pub mod account;
pub mod amqp;
pub mod http;
pub mod jobs;
pub mod paused;
pub mod ports;
pub mod process;
pub mod python;
pub mod rabbit;
pub mod scripted;
pub mod sim;
pub mod story;
pub mod wait;
pub mod worker;

pub use amqp::{Amqp, Message, Published};
pub use rabbit::{Kind, Node, Prefix, Rabbit, shared, with_ctl};
pub use sim::Sim;
pub use wait::{LONG, SOON, eventually};
pub use worker::{Worker, flowlaunch};
