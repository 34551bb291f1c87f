//! What is written on the envelope, as it stands in the file: JSON, so that a person with `sqlite3` can read it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::message::{Headers, Properties, Value};

/// The properties that are there, by short names.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Envelope {
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, Cell)>,
}

/// A header's value. A float goes as its bits, for JSON has no infinity.
#[derive(Serialize, Deserialize)]
enum Cell {
    #[serde(rename = "bool")]
    Bool(bool),
    #[serde(rename = "int")]
    Int(i64),
    #[serde(rename = "float")]
    Float(u64),
    #[serde(rename = "text")]
    Text(String),
    /// Text that is not UTF-8.
    #[serde(rename = "bytes")]
    Bytes(Vec<u8>),
    #[serde(rename = "time")]
    Timestamp(u64),
    #[serde(rename = "list")]
    List(Vec<Cell>),
    #[serde(rename = "table")]
    Table(Vec<(String, Cell)>),
    #[serde(rename = "void")]
    Void,
}

impl From<&Value> for Cell {
    fn from(value: &Value) -> Self {
        match value {
            Value::Bool(b) => Self::Bool(*b),
            Value::Int(n) => Self::Int(*n),
            Value::Float(x) => Self::Float(x.to_bits()),
            Value::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Self::Text(text.to_owned()),
                Err(_) => Self::Bytes(bytes.to_vec()),
            },
            Value::Timestamp(t) => Self::Timestamp(*t),
            Value::List(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Table(entries) => Self::Table(entries.iter().map(|(k, v)| (k.clone(), v.into())).collect()),
            Value::Void => Self::Void,
        }
    }
}

impl From<Cell> for Value {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Bool(b) => Self::Bool(b),
            Cell::Int(n) => Self::Int(n),
            Cell::Float(bits) => Self::Float(f64::from_bits(bits)),
            Cell::Text(text) => Self::Text(Bytes::from(text)),
            Cell::Bytes(bytes) => Self::Text(Bytes::from(bytes)),
            Cell::Timestamp(t) => Self::Timestamp(t),
            Cell::List(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Cell::Table(entries) => Self::Table(entries.into_iter().map(|(k, v)| (k, v.into())).collect()),
            Cell::Void => Self::Void,
        }
    }
}

#[expect(clippy::expect_used, reason = "strings and numbers can be written to memory")]
pub(super) fn encode(properties: &Properties) -> Vec<u8> {
    let properties = properties.clone();
    let envelope = Envelope {
        message_id: properties.message_id,
        correlation_id: properties.correlation_id,
        reply_to: properties.reply_to,
        priority: properties.priority,
        content_type: properties.content_type,
        content_encoding: properties.content_encoding,
        timestamp: properties.timestamp,
        kind: properties.kind,
        app_id: properties.app_id,
        headers: properties
            .headers
            .0
            .iter()
            .map(|(k, v)| (k.clone(), v.into()))
            .collect(),
    };
    serde_json::to_vec(&envelope).expect("strings and numbers can be written to memory")
}

pub(super) fn decode(encoded: &[u8]) -> Result<Properties, serde_json::Error> {
    let envelope: Envelope = serde_json::from_slice(encoded)?;
    Ok(Properties {
        message_id: envelope.message_id,
        correlation_id: envelope.correlation_id,
        reply_to: envelope.reply_to,
        priority: envelope.priority,
        content_type: envelope.content_type,
        content_encoding: envelope.content_encoding,
        timestamp: envelope.timestamp,
        kind: envelope.kind,
        app_id: envelope.app_id,
        headers: Headers(envelope.headers.into_iter().map(|(k, v)| (k, v.into())).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let properties = Properties {
            message_id: Some("m".into()),
            correlation_id: Some("c".into()),
            reply_to: Some("r".into()),
            priority: Some(3),
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            timestamp: Some(7),
            kind: Some("t".into()),
            app_id: Some("a".into()),
            headers: Headers(vec![
                ("text".into(), "é".into()),
                ("bytes".into(), Value::Text(Bytes::from_static(&[0xff, 0]))),
                ("list".into(), Value::List(vec![Value::Bool(true), Value::Void])),
                ("table".into(), Value::Table(vec![("n".into(), Value::Int(i64::MIN))])),
                ("float".into(), Value::Float(f64::INFINITY)),
                ("time".into(), Value::Timestamp(u64::MAX)),
            ]),
        };
        assert_eq!(decode(&encode(&properties)).unwrap(), properties);
        assert_eq!(decode(&encode(&Properties::default())).unwrap(), Properties::default());
        assert_eq!(encode(&Properties::default()), b"{}");
    }
}
