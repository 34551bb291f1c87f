//! When the rows of a campaign go: pure, with time as an argument.

mod not_on;
mod pacer;
mod stagger;
mod start;
mod windows;
mod zone;

pub use not_on::NotOn;
pub use pacer::Pacer;
pub use stagger::{Pace, Ramp, Stagger, Waves};
pub use start::{Beginning, Start};
pub use windows::{Opening, Windows};
pub use zone::{UnknownZone, zone};

/// Text to value and back, for serde: `#[serde(try_from = "String", into = "String")]`.
macro_rules! as_text {
    ($of:ty) => {
        impl TryFrom<String> for $of {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$of> for String {
            fn from(value: $of) -> Self {
                value.to_string()
            }
        }
    };
}
use as_text;
