//! Between our message and AMQP's.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable, ShortString};

use super::super::message::{Headers, Message, Properties, Value};

/// Persistent: the broker writes it to disk before it confirms.
const PERSISTENT: u8 = 2;

/// What was delivered, and how often it was given back before.
pub(super) fn from_amqp(body: Vec<u8>, properties: &BasicProperties) -> (Message, u32) {
    let mut headers = Headers::default();
    let mut delivery_count = 0;
    if let Some(table) = properties.headers() {
        for (key, value) in table {
            let value = value_from(value);
            if key.as_str() == "x-delivery-count" {
                delivery_count = value.as_int().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
            } else {
                headers.0.push((key.to_string(), value));
            }
        }
    }
    let text = |field: &Option<ShortString>| field.as_ref().map(ToString::to_string);
    let properties = Properties {
        message_id: text(properties.message_id()),
        correlation_id: text(properties.correlation_id()),
        reply_to: text(properties.reply_to()),
        priority: *properties.priority(),
        content_type: text(properties.content_type()),
        content_encoding: text(properties.content_encoding()),
        timestamp: *properties.timestamp(),
        kind: text(properties.kind()),
        app_id: text(properties.app_id()),
        headers,
    };
    (
        Message {
            body: Bytes::from(body),
            properties,
        },
        delivery_count,
    )
}

/// The properties to publish with. A text over AMQP's 255 bytes is an error, not a panic.
pub(super) fn to_amqp(properties: &Properties) -> Result<BasicProperties, String> {
    let mut out = BasicProperties::default().with_delivery_mode(PERSISTENT);
    macro_rules! text {
        ($field:ident, $with:ident) => {
            if let Some(text) = &properties.$field {
                out = out.$with(short(text)?);
            }
        };
    }
    text!(message_id, with_message_id);
    text!(correlation_id, with_correlation_id);
    text!(reply_to, with_reply_to);
    text!(content_type, with_content_type);
    text!(content_encoding, with_content_encoding);
    text!(kind, with_type);
    text!(app_id, with_app_id);
    if let Some(priority) = properties.priority {
        out = out.with_priority(priority);
    }
    if let Some(timestamp) = properties.timestamp {
        out = out.with_timestamp(timestamp);
    }
    if !properties.headers.0.is_empty() {
        out = out.with_headers(table_to(&properties.headers.0)?);
    }
    Ok(out)
}

fn short(text: &str) -> Result<ShortString, String> {
    ShortString::try_new(text).map_err(|error| error.to_string())
}

fn table_to(entries: &[(String, Value)]) -> Result<FieldTable, String> {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert(short(key)?, value_to(value)?);
    }
    Ok(table)
}

fn value_to(value: &Value) -> Result<AMQPValue, String> {
    Ok(match value {
        Value::Bool(b) => AMQPValue::Boolean(*b),
        Value::Int(n) => AMQPValue::LongLongInt(*n),
        Value::Float(x) => AMQPValue::Double(*x),
        Value::Text(bytes) => AMQPValue::LongString(bytes.to_vec().into()),
        Value::Timestamp(t) => AMQPValue::Timestamp(*t),
        Value::List(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(value_to).collect();
            AMQPValue::FieldArray(FieldArray::from(items?))
        }
        Value::Table(entries) => AMQPValue::FieldTable(table_to(entries)?),
        Value::Void => AMQPValue::Void,
    })
}

fn value_from(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(b) => Value::Bool(*b),
        AMQPValue::ShortShortInt(n) => Value::Int(i64::from(*n)),
        AMQPValue::ShortShortUInt(n) => Value::Int(i64::from(*n)),
        AMQPValue::ShortInt(n) => Value::Int(i64::from(*n)),
        AMQPValue::ShortUInt(n) => Value::Int(i64::from(*n)),
        AMQPValue::LongInt(n) => Value::Int(i64::from(*n)),
        AMQPValue::LongUInt(n) => Value::Int(i64::from(*n)),
        AMQPValue::LongLongInt(n) => Value::Int(*n),
        AMQPValue::Float(x) => Value::Float(f64::from(*x)),
        AMQPValue::Double(x) => Value::Float(*x),
        AMQPValue::DecimalValue(d) => Value::Float(f64::from(d.value) / 10_f64.powi(i32::from(d.scale))),
        AMQPValue::ShortString(text) => Value::from(text.as_str()),
        AMQPValue::LongString(text) => Value::Text(Bytes::copy_from_slice(text.as_bytes())),
        AMQPValue::FieldArray(items) => Value::List(items.as_slice().iter().map(value_from).collect()),
        AMQPValue::Timestamp(t) => Value::Timestamp(*t),
        AMQPValue::FieldTable(table) => Value::Table(
            table
                .into_iter()
                .map(|(key, value)| (key.to_string(), value_from(value)))
                .collect(),
        ),
        AMQPValue::ByteArray(bytes) => Value::Text(Bytes::copy_from_slice(bytes.as_slice())),
        AMQPValue::Void => Value::Void,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_out_comes_in_again() {
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
                ("bytes".into(), Value::Text(Bytes::from_static(&[0xff, 0]))),
                ("list".into(), Value::List(vec![Value::Bool(true), Value::Void])),
                ("table".into(), Value::Table(vec![("n".into(), Value::Int(1))])),
                ("x-flowlaunch-attempts".into(), Value::Int(2)),
            ]),
        };
        let (message, count) = from_amqp(b"body".to_vec(), &to_amqp(&properties).unwrap());
        assert_eq!(message.properties, properties);
        assert_eq!(count, 0);
    }

    #[test]
    fn a_text_that_is_too_long_is_an_error() {
        let properties = Properties {
            message_id: Some("x".repeat(256)),
            ..Properties::default()
        };
        assert!(to_amqp(&properties).is_err());
    }
}
