//! What our own headers say of a message: what it has been through.

use jiff::Timestamp;

use crate::broker::{Headers, Message, Properties};
use crate::retry::Spent;

/// Read from the headers of a delivery, written on every copy of ours. A header of a wrong type counts as absent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stamp {
    /// Attempts, unknowns, throttlings.
    pub(crate) spent: Spent,
    /// When a worker first saw it.
    pub(crate) first_seen: Timestamp,
    /// Not to be launched before: set on every delayed copy, since a long delay takes several legs.
    pub(crate) due: Option<Timestamp>,
    /// How often it was replayed from the dead letters.
    pub(crate) replays: u32,
}

impl Stamp {
    /// What `headers` say; `now` stands in for a job that nobody saw before.
    pub(crate) fn read(headers: &Headers, now: Timestamp) -> Self {
        if headers.0.is_empty() {
            return Self {
                spent: Spent::default(),
                first_seen: now,
                due: None,
                replays: 0,
            };
        }
        let count = |name| {
            headers
                .ours(name)
                .and_then(|v| v.as_int())
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(0)
        };
        let time = |name| {
            let millis = headers.ours(name)?.as_int()?;
            Timestamp::from_millisecond(millis).ok()
        };
        Self {
            spent: Spent {
                attempts: count("attempts"),
                unknowns: count("unknowns"),
                throttled: count("throttled"),
            },
            first_seen: time("first-seen").unwrap_or(now),
            due: time("due"),
            replays: count("replays"),
        }
    }

    /// A copy of `original` that carries this: the closed list of properties and strangers' headers, then ours.
    pub(crate) fn copy(&self, original: &Message, id: Option<&str>, campaign: Option<&str>) -> Message {
        let mut headers = Headers(original.properties.headers.carried().into_owned());
        headers.push_ours("attempts", self.spent.attempts);
        headers.push_ours("unknowns", self.spent.unknowns);
        headers.push_ours("throttled", self.spent.throttled);
        headers.push_ours(
            "first-seen",
            crate::broker::Value::Int(self.first_seen.as_millisecond()),
        );
        if let Some(due) = self.due {
            headers.push_ours("due", crate::broker::Value::Int(due.as_millisecond()));
        }
        if self.replays > 0 {
            headers.push_ours("replays", self.replays);
        }
        if let Some(campaign) = campaign {
            headers.push_ours("campaign", campaign);
        }
        // A job without an id of its own gets one that is stable from here on.
        let message_id = original.properties.message_id.clone().or_else(|| id.map(str::to_owned));
        Message {
            body: original.body.clone(),
            properties: Properties {
                message_id,
                headers,
                ..original.properties.clone()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::broker::Value;

    #[test]
    fn what_is_written_is_read_again() {
        let now = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let stamp = Stamp {
            spent: Spent {
                attempts: 3,
                unknowns: 1,
                throttled: 2,
            },
            first_seen: now,
            due: Some(now),
            replays: 1,
        };
        let copy = stamp.copy(&Message::default(), Some("job-1"), Some("spring"));
        assert_eq!(Stamp::read(&copy.properties.headers, Timestamp::now()), stamp);
        assert_eq!(copy.properties.message_id.as_deref(), Some("job-1"));
        assert_eq!(
            copy.properties.headers.ours("campaign").unwrap().as_text(),
            Some("spring")
        );
    }

    #[test]
    fn a_header_of_a_wrong_type_counts_as_absent() {
        let now = Timestamp::now();
        let headers = Headers(vec![
            ("x-flowlaunch-attempts".into(), "three".into()),
            ("x-flowlaunch-unknowns".into(), Value::Int(-1)),
            (
                "x-flowlaunch-throttled".into(),
                Value::Text(Bytes::from_static(&[0xff])),
            ),
            ("x-flowlaunch-first-seen".into(), Value::Bool(true)),
            ("x-flowlaunch-due".into(), Value::Int(i64::MAX)),
        ]);
        let stamp = Stamp::read(&headers, now);
        assert_eq!(
            stamp,
            Stamp {
                spent: Spent::default(),
                first_seen: now,
                due: None,
                replays: 0
            }
        );
    }
}
