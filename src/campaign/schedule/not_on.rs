//! `--not-on`: dates on which nothing opens.

use std::collections::BTreeSet;
use std::str::FromStr;

use jiff::civil::Date;

/// Dates on which nothing opens, by the clock of each row. A window belongs to the date on which it opens: the night from
/// Friday to Saturday is Friday's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotOn(BTreeSet<Date>);

impl NotOn {
    /// Is this one of them?
    pub fn contains(&self, date: Date) -> bool {
        self.0.contains(&date)
    }

    /// The last of them.
    pub fn last(&self) -> Option<Date> {
        self.0.last().copied()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Date> for NotOn {
    fn from_iter<I: IntoIterator<Item = Date>>(dates: I) -> Self {
        Self(dates.into_iter().collect())
    }
}

impl FromStr for NotOn {
    type Err = String;

    /// One date on each line, as `2026-12-25`; what follows a `#` is a remark.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let dates = text.lines().enumerate().filter_map(|(number, line)| {
            let line = line.split('#').next().unwrap_or_default().trim();
            (!line.is_empty()).then(|| date(line).ok_or_else(|| wrong(number + 1, line)))
        });
        dates.collect()
    }
}

/// `2026-12-25` and nothing else of what ISO 8601 allows.
fn date(text: &str) -> Option<Date> {
    let shaped = text.len() == 10
        && text.bytes().enumerate().all(|(at, b)| match at {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        });
    text.parse().ok().filter(|_| shaped)
}

fn wrong(number: usize, line: &str) -> String {
    let given: String = line.chars().take(40).collect();
    format!("line {number}: must be a date that exists, such as \"2026-12-25\", not {given:?}")
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_date_on_each_line_with_remarks() {
        let text = "\u{feff}# Holidays\r\n2026-12-25  # Christmas\r\n\r\n 2026-12-26\n2026-12-25";
        let dates: NotOn = text.parse().unwrap();
        assert_eq!(dates, [date(2026, 12, 25), date(2026, 12, 26)].into_iter().collect());
        assert!(dates.contains(date(2026, 12, 26)) && !dates.contains(date(2026, 12, 27)));
        assert_eq!(dates.last(), Some(date(2026, 12, 26)));
        assert!("".parse::<NotOn>().unwrap().is_empty());
    }

    #[test]
    fn the_line_that_holds_no_date_is_named() {
        for line in [
            "25.12.2026",
            "2026-02-29",
            "20261225",
            "2026-W52",
            "2026-12-25T00:00",
            "2026-12-25, 2026-12-26",
            "ü",
        ] {
            let error = format!("2026-12-24\n{line}\n").parse::<NotOn>().unwrap_err();
            assert!(error.starts_with("line 2: must be a date"), "{error}");
        }
    }
}
