//! How the worker behaves.

use std::time::Duration;

use serde::Deserialize;

/// The worker's settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Settings {
    /// How long a stopping worker may finish what is under way.
    #[serde(with = "crate::units::duration")]
    pub drain_timeout: Duration,
}
