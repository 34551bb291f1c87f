//! Admission: may a job be launched now?
//!
//! In this order: a slot, an open gate, a valid token, a token of the bucket, the head of a lane; then, right before the
//! request is written, the last look. The parts are here; the order is the dispatcher's (`worker::dispatch`).

pub mod bucket;
pub mod flows;
pub mod gate;
pub mod lanes;
pub mod settings;
