//! What became of each line, and how to go on.

use crate::broker::PublishError;
use crate::lane::Lane;

/// What became of a line that was sent, or was to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Confirmed,
    /// Certainly not in the lane.
    Absent,
    /// Nobody can tell.
    Doubt,
}

/// What was published.
#[derive(Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Account {
    pub(super) lane: &'static str,
    pub(super) published: usize,
    pub(super) jobs: usize,
    /// Present when not all of them are: the first line behind everything that may be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) go_on_from_line: Option<usize>,
    /// Lines before that one which may be there or not, as first and last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    in_doubt: Vec<(usize, usize)>,
    /// Lines before that one which are not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    absent: Vec<(usize, usize)>,
}

/// Whether a message that was not confirmed may be there all the same.
pub(super) const fn fate(error: &PublishError) -> Fate {
    match error {
        PublishError::Unconfirmed(_) => Fate::Doubt,
        PublishError::Refused
        | PublishError::Unroutable(_)
        | PublishError::Disconnected(_)
        | PublishError::Invalid(_) => Fate::Absent,
    }
}

/// Goes on behind the last line that is there or may be: so nothing is published twice.
pub(super) fn account(lane: Lane, published: usize, jobs: usize, last: usize, fates: &[(usize, Fate)]) -> Account {
    let behind = match fates {
        [] => last,
        [(first, _), ..] => {
            let there = fates.iter().rev().find(|(_, fate)| *fate != Fate::Absent);
            there.map_or(first - 1, |(number, _)| *number)
        }
    };
    let of = |wanted: Fate| {
        let numbers = fates
            .iter()
            .filter(|(number, fate)| *fate == wanted && *number <= behind);
        ranges(numbers.map(|(number, _)| *number))
    };
    Account {
        lane: lane.as_str(),
        published,
        jobs,
        go_on_from_line: (published < jobs).then_some(behind + 1),
        in_doubt: of(Fate::Doubt),
        absent: of(Fate::Absent),
    }
}

/// `1, 2, 3, 7` as 1 to 3 and 7 to 7.
fn ranges(numbers: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == number => *end = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

fn listed(ranges: &[(usize, usize)]) -> String {
    let texts: Vec<_> = ranges
        .iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    texts.join(", ")
}

impl Account {
    /// How to go on, in a sentence or three.
    pub(super) fn advice(&self) -> String {
        let mut text = match self.go_on_from_line {
            Some(line) => format!("Go on with --from-line {line}"),
            None => "All jobs are published".to_owned(),
        };
        if !self.absent.is_empty() {
            text.push_str(&format!(
                "; lines {} before it are not in the lane: publish them by themselves",
                listed(&self.absent)
            ));
        }
        if !self.in_doubt.is_empty() {
            text.push_str(&format!(
                "; lines {} were sent and not confirmed: each may be in the lane or not, so look for its id among the \
                 results before you publish it again",
                listed(&self.in_doubt)
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_on_sends_nothing_twice_and_names_what_it_passes_over() {
        use Fate::{Absent, Confirmed, Doubt};
        let told = |fates: &[(usize, Fate)]| {
            let account = account(Lane::Bulk, 3, 10, fates.last().map_or(3, |(number, _)| *number), fates);
            (account.go_on_from_line.unwrap(), account.in_doubt, account.absent)
        };
        assert_eq!(told(&[]), (4, vec![], vec![]));
        assert_eq!(told(&[(4, Absent), (5, Absent)]), (4, vec![], vec![]));
        assert_eq!(told(&[(4, Doubt), (5, Doubt), (6, Absent)]), (6, vec![(4, 5)], vec![]));
        assert_eq!(
            told(&[(4, Absent), (5, Absent), (6, Confirmed), (8, Doubt), (9, Absent)]),
            (9, vec![(8, 8)], vec![(4, 5)])
        );
    }
}
