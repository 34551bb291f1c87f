//! A message as the program sees it: a body, the properties that we carry, and headers.
//!
//! What a copy of ours carries is a closed list, and this type *is* the list: a property that it has no field for
//! (`user_id`, which closes the channel when it is another user's; `expiration`, with which a copy would leave its
//! delay queue early) cannot be passed on by mistake. Headers are filtered by [`Headers::carried`].

use std::borrow::Cow;

use bytes::Bytes;

/// Headers of ours begin with this.
pub const OURS: &str = "x-flowlaunch-";

/// Headers that are not ours are carried up to this many bytes in all.
pub const STRANGERS_LIMIT: usize = 32 * 1024;

/// A message: bytes, and what is written on the envelope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// The payload, never looked into by the broker.
    pub body: Bytes,
    /// The envelope.
    pub properties: Properties,
}

impl Message {
    /// A document of ours: a body of JSON, and nothing else on the envelope.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            properties: Properties {
                content_type: Some("application/json".to_owned()),
                ..Properties::default()
            },
        }
    }
}

/// The properties that we read and carry.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the names are AMQP's own")]
pub struct Properties {
    pub message_id: Option<String>,
    pub correlation_id: Option<String>,
    pub reply_to: Option<String>,
    pub priority: Option<u8>,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub timestamp: Option<u64>,
    pub kind: Option<String>,
    pub app_id: Option<String>,
    pub headers: Headers,
}

/// A header's value; the types that AMQP's field tables and a SQL row can both hold.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Text or bytes: AMQP's long string is both.
    Text(Bytes),
    Timestamp(u64),
    List(Vec<Value>),
    Table(Vec<(String, Value)>),
    Void,
}

impl Value {
    /// The integer in it, when it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            Self::Bool(_)
            | Self::Float(_)
            | Self::Text(_)
            | Self::Timestamp(_)
            | Self::List(_)
            | Self::Table(_)
            | Self::Void => None,
        }
    }

    /// The text in it, when it is UTF-8 text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Timestamp(_)
            | Self::List(_)
            | Self::Table(_)
            | Self::Void => None,
        }
    }

    /// About how many bytes it takes on the wire.
    fn weight(&self) -> usize {
        1 + match self {
            Self::Bool(_) => 1,
            Self::Int(_) | Self::Float(_) | Self::Timestamp(_) => 8,
            Self::Text(bytes) => 4 + bytes.len(),
            Self::List(items) => 4 + items.iter().map(Value::weight).sum::<usize>(),
            Self::Table(entries) => 4 + entries.iter().map(|(k, v)| 1 + k.len() + v.weight()).sum::<usize>(),
            Self::Void => 0,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Bytes::from(text))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

/// Headers, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers(pub Vec<(String, Value)>);

impl Headers {
    /// The value under `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The value of the header of ours called `x-flowlaunch-<name>`.
    pub fn ours(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(key, _)| key.strip_prefix(OURS) == Some(name))
            .map(|(_, value)| value)
    }

    /// Adds the header of ours called `x-flowlaunch-<name>`.
    pub fn push_ours(&mut self, name: &str, value: impl Into<Value>) {
        self.0.push((format!("{OURS}{name}"), value.into()));
    }

    /// The strangers' headers that a copy of ours takes along: none of ours (the caller writes those anew), none that
    /// the broker gives a meaning to, and 32 KiB at most, the trace context first.
    pub fn carried(&self) -> Cow<'_, [(String, Value)]> {
        if self.0.is_empty() {
            return Cow::Borrowed(&[]);
        }
        let (mut first, rest): (Vec<_>, Vec<_>) = self
            .0
            .iter()
            .filter(|(key, _)| !is_reserved(key))
            .partition(|(key, _)| key == "traceparent" || key == "tracestate");
        first.extend(rest);
        let mut room = STRANGERS_LIMIT;
        Cow::Owned(
            first
                .into_iter()
                .filter(|(key, value)| {
                    let weight = 1 + key.len() + value.weight();
                    let fits = weight <= room;
                    room -= if fits { weight } else { 0 };
                    fits
                })
                .cloned()
                .collect(),
        )
    }
}

/// Headers that must not be copied: ours, and those that make a broker do something. `CC` and `BCC` route a copy into
/// further queues (two calls); a copy with `x-death` can be dropped in silence by brokers before 4.0.1 as a cycle.
fn is_reserved(key: &str) -> bool {
    key.starts_with(OURS)
        || matches!(
            key,
            "CC" | "BCC" | "x-death" | "x-delivery-count" | "x-acquired-count" | "x-delay"
        )
        || key.starts_with("x-first-death-")
        || key.starts_with("x-last-death-")
        || key.starts_with("x-opt-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, Value)]) -> Headers {
        Headers(pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect())
    }

    #[test]
    fn a_copy_carries_strangers_headers_and_nothing_that_routes() {
        let all = headers(&[
            ("x-flowlaunch-attempts", Value::Int(3)),
            ("CC", Value::List(vec!["bulk".into()])),
            ("BCC", Value::List(vec!["bulk".into()])),
            ("x-death", Value::List(vec![])),
            ("x-first-death-queue", "q".into()),
            ("x-delivery-count", Value::Int(2)),
            ("tenant", "a".into()),
            ("traceparent", "00-1".into()),
        ]);
        let kept: Vec<_> = all.carried().iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(kept, ["traceparent", "tenant"]);
    }

    #[test]
    fn strangers_headers_are_carried_up_to_their_limit_with_the_trace_first() {
        let big = Value::Text(Bytes::from(vec![b'x'; 20_000]));
        let all = headers(&[
            ("a", big.clone()),
            ("b", big),
            ("c", "small".into()),
            ("traceparent", "00-1".into()),
        ]);
        let kept: Vec<_> = all.carried().iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(kept, ["traceparent", "a", "c"]);
    }

    #[test]
    fn a_header_of_a_wrong_type_is_no_number_and_no_text() {
        assert_eq!(Value::from("7").as_int(), None);
        assert_eq!(Value::Int(7).as_text(), None);
        assert_eq!(Value::Text(Bytes::from_static(&[0xff])).as_text(), None);
    }
}
