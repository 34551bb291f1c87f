//! How much may be launched.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// The limits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Settings {
    /// What the API allows.
    pub rate: Rate,
    /// Launches at once after a pause.
    pub burst: u32,
    /// Requests under way at once.
    pub concurrency: u32,
}

/// What the API allows in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Rate {
    /// So many calls in each second, minute or hour.
    Per(u32, Unit),
    /// Whatever the machine can do.
    Unlimited,
}

/// The time in which a rate is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `/s`
    Second,
    /// `/min`
    Minute,
    /// `/h`
    Hour,
}

impl Unit {
    /// How long it is.
    pub const fn duration(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_secs(60),
            Self::Hour => Duration::from_secs(3600),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "h",
        }
    }
}

impl Rate {
    /// How many calls it comes to in a window of this length; none without a limit.
    pub fn per_window(self, window: Duration) -> Option<f64> {
        match self {
            Self::Per(calls, unit) => Some(f64::from(calls) * window.as_secs_f64() / unit.duration().as_secs_f64()),
            Self::Unlimited => None,
        }
    }

    /// The allowance and the window in which the API counts it: a minute for rates by the second or the minute, an hour
    /// for those by the hour; none without a limit.
    pub fn allowance(self) -> Option<(f64, Duration)> {
        let window = match self {
            Self::Per(_, Unit::Second | Unit::Minute) => Unit::Minute.duration(),
            Self::Per(_, Unit::Hour) => Unit::Hour.duration(),
            Self::Unlimited => return None,
        };
        self.per_window(window).map(|calls| (calls, window))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("must be a rate such as \"300/min\", \"5/s\", \"1000/h\" or \"unlimited\", not {text:?}");
        if text.trim() == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let (calls, unit) = text.split_once('/').ok_or_else(wrong)?;
        let unit = match unit.trim() {
            "s" | "sec" | "second" => Unit::Second,
            "min" | "m" | "minute" => Unit::Minute,
            "h" | "hour" => Unit::Hour,
            _ => return Err(wrong()),
        };
        match calls.trim().parse() {
            Ok(0) => Err("must be 1 at least; to launch nothing, pause the worker".to_owned()),
            Ok(calls) => Ok(Self::Per(calls, unit)),
            Err(_) => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Per(calls, unit) => write!(f, "{calls}/{}", unit.as_str()),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_as_people_write_them() {
        for (text, shown, allowance) in [
            ("300/min", "300/min", Some((300.0, 60))),
            ("5/s", "5/s", Some((300.0, 60))),
            ("1000/h", "1000/h", Some((1000.0, 3600))),
            (" 60 / minute ", "60/min", Some((60.0, 60))),
            ("unlimited", "unlimited", None),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.to_string(), shown);
            assert_eq!(
                rate.allowance().map(|(calls, window)| (calls, window.as_secs())),
                allowance
            );
        }
        for text in ["", "300", "300/day", "-1/s", "1.5/s", "/min", "min", "99999999999/s"] {
            assert!(text.parse::<Rate>().unwrap_err().contains("\"300/min\""), "{text}");
        }
        assert!("0/min".parse::<Rate>().unwrap_err().contains("1 at least"));
    }

    #[test]
    fn a_rate_scales_to_any_window() {
        let rate = Rate::Per(300, Unit::Minute);
        assert_eq!(rate.per_window(Duration::from_secs(1)), Some(5.0));
        assert_eq!(Rate::Unlimited.per_window(Duration::from_secs(1)), None);
    }
}
