//! What stands in an answer's body. Nothing in it is required, and nothing in it may fail us.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::outcome::Receipt;

/// Enough of a message for a person; a gateway's page can be a megabyte.
const MAX_MESSAGE: usize = 500;
/// Enough for any id or code; what is longer is none.
const MAX_WORD: usize = 128;

/// The receipt in a JSON object; `None` when this is not one.
///
/// As tolerant as can be: a launch that is not recognised as one is a call made twice. So only `id`, `state` and `status` are
/// looked at, and whatever else stands there (numbers beyond all bounds, half a surrogate, bad UTF-8) is passed over.
pub(super) fn receipt(body: &[u8]) -> Option<Receipt> {
    struct Object;
    impl<'de> Visitor<'de> for Object {
        type Value = Receipt;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Receipt, A::Error> {
            let mut receipt = Receipt::default();
            let mut status = None;
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                match key.as_ref() {
                    "id" => receipt.execution_id = word(map.next_value()?),
                    "state" => receipt.state = word(map.next_value()?),
                    "status" => status = word(map.next_value()?),
                    _ => drop(map.next_value::<IgnoredAny>()?),
                }
            }
            receipt.state = receipt.state.or(status);
            Ok(receipt)
        }
    }
    // A byte order mark is no JSON, and gateways on Windows write one all the same.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut json = serde_json::Deserializer::from_slice(body);
    let receipt = json.deserialize_map(Object).ok()?;
    json.end().ok()?;
    Some(receipt)
}

/// A string or a number, without the control characters that would break a log line or a header.
pub(super) fn word(raw: &RawValue) -> Option<String> {
    match serde_json::from_str(raw.get()).ok()? {
        Value::String(text) => Some(clean(&text, MAX_WORD)).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What an error body says; the vendor's form, OAuth's, a gateway's, or none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ErrorBody {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) correlation_id: Option<String>,
}

/// Reads an error body.
pub(super) fn error_body(body: &[u8]) -> ErrorBody {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    match serde_json::from_str(text) {
        Ok(Value::Array(errors)) => errors.first().map(from_json).unwrap_or_default(),
        Ok(value) => from_json(&value),
        Err(_) if text.is_empty() => ErrorBody::default(),
        Err(_) if text.starts_with('<') => ErrorBody {
            message: Some("an HTML page".to_owned()),
            ..ErrorBody::default()
        },
        Err(_) => ErrorBody {
            message: line(text),
            ..ErrorBody::default()
        },
    }
}

fn from_json(body: &Value) -> ErrorBody {
    if let Value::String(text) = body {
        return ErrorBody {
            message: line(text),
            ..ErrorBody::default()
        };
    }
    let inner = &body["errors"][0];
    // `description`, `error_description` and `error` are the login's.
    let message = text(body, &["message", "messageWithParams"])
        .or_else(|| text(inner, &["message", "messageWithParams"]))
        .or_else(|| text(body, &["error_description", "description", "error"]));
    let code = text(body, &["code", "error"]).or_else(|| text(inner, &["code"]));
    ErrorBody {
        code: code.and_then(|code| identifier(&code)),
        message: message.and_then(|message| line(&format!("{message}{}{}", details(body), limit(body)))),
        correlation_id: text(body, &["contextId"]).and_then(|id| identifier(&id)),
    }
}

fn text(body: &Value, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| match &body[*key] {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    })
}

/// Which fields are meant: ` (inputs.age: invalid.value)`.
fn details(body: &Value) -> String {
    let Some(details) = body["details"].as_array() else {
        return String::new();
    };
    let words = |detail| {
        let known = ["fieldName", "errorCode", "entityName", "entityId"];
        known
            .iter()
            .filter_map(|key| text(detail, &[*key]))
            .collect::<Vec<_>>()
            .join(": ")
    };
    let all: Vec<_> = details.iter().map(words).filter(|words| !words.is_empty()).collect();
    if all.is_empty() {
        String::new()
    } else {
        format!(" ({})", all.join("; "))
    }
}

/// Which limit was met: ` [client.credentials.token.rate.per.minute = 300]`.
fn limit(body: &Value) -> String {
    match (text(&body["limit"], &["key"]), text(&body["limit"], &["value"])) {
        (Some(key), Some(value)) => format!(" [{key} = {value}]"),
        (Some(key), None) => format!(" [{key}]"),
        (None, _) => String::new(),
    }
}

/// A message on one line; `None` when nothing is left of it.
pub(super) fn line(text: &str) -> Option<String> {
    Some(clean(text, MAX_MESSAGE)).filter(|line| !line.is_empty())
}

/// A code or an id: one plain word. Anything else is free text and could be an input's value, which no log may show.
pub(super) fn identifier(text: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
    (!text.is_empty() && text.len() <= MAX_WORD && text.bytes().all(plain)).then(|| text.to_owned())
}

/// One line of at most so many characters, without control characters.
fn clean(text: &str, max: usize) -> String {
    let separator = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let text = text.trim_matches(|c: char| c.is_whitespace() || separator(c));
    let mut line: String = text
        .chars()
        .map(|c| if separator(c) { ' ' } else { c })
        .take(max + 1)
        .collect();
    if let Some((end, _)) = line.char_indices().nth(max) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn executed(id: Option<&str>, state: Option<&str>) -> Option<Receipt> {
        Some(Receipt {
            execution_id: id.map(str::to_owned),
            state: state.map(str::to_owned),
        })
    }

    #[test]
    fn any_json_object_is_a_receipt() {
        for (body, expected) in [
            (
                r#"{"id":"exec-1","flowId":"f","state":"Running"}"#,
                executed(Some("exec-1"), Some("Running")),
            ),
            (r#"{"status":"RUNNING","id":"e"}"#, executed(Some("e"), Some("RUNNING"))),
            (r#"{"status":200,"state":"Running"}"#, executed(None, Some("Running"))),
            (r#" {"id":7} "#, executed(Some("7"), None)),
            (r#"{"id":null,"state":{"x":1}}"#, executed(None, None)),
            (r#"{"id":"a\nb"}"#, executed(Some("a b"), None)),
            ("{}", executed(None, None)),
            ("\u{feff}{}", executed(None, None)),
            (r#"{"x":1e999,"id":"e"}"#, executed(Some("e"), None)),
            (r#"{"x":"\ud800","id":"e"}"#, executed(Some("e"), None)),
        ] {
            assert_eq!(receipt(body.as_bytes()), expected, "{body}");
        }
        assert_eq!(receipt(b"{\"x\":\"\xff\",\"id\":\"e\"}"), executed(Some("e"), None));
        let deep = format!(r#"{{"x":{}{},"id":"e"}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(receipt(deep.as_bytes()), executed(Some("e"), None));
    }

    #[test]
    fn nothing_else_is() {
        for body in [
            "",
            "null",
            "[]",
            r#""exec-1""#,
            "<html>",
            r#"{"id":"e""#,
            r#"{"id":"e"} x"#,
            "OK",
        ] {
            assert_eq!(receipt(body.as_bytes()), None, "{body}");
        }
    }

    fn error(body: &str) -> (Option<String>, String) {
        let error = error_body(body.as_bytes());
        (error.code, error.message.unwrap_or_default())
    }

    #[test]
    fn the_forms_of_an_error_body() {
        for (body, code, message) in [
            (
                r#"{"message":"m","code":"bad.request","status":400}"#,
                Some("bad.request"),
                "m",
            ),
            (
                r#"{"message":"m","details":[{"errorCode":"invalid.value","fieldName":"age"},{}],"limit":{"key":"k","value":300}}"#,
                None,
                "m (age: invalid.value) [k = 300]",
            ),
            (r#"{"errors":[{"code":"c","message":"inner"}]}"#, Some("c"), "inner"),
            (r#"{"messageWithParams":"m {x}"}"#, None, "m {x}"),
            (
                r#"{"error":"invalid_client","description":"client not found"}"#,
                Some("invalid_client"),
                "client not found",
            ),
            (
                r#"{"error":"invalid_client"}"#,
                Some("invalid_client"),
                "invalid_client",
            ),
            (r#"[{"code":"c","message":"first"}]"#, Some("c"), "first"),
            (r#""just text""#, None, "just text"),
            (
                r#"{"message":7,"code":400,"details":"x","errors":{}}"#,
                Some("400"),
                "7",
            ),
            (r#"{"message":null,"code":["x"]}"#, None, ""),
            (r#"{"code":"the value 555-1234","message":"m"}"#, None, "m"),
            (" <!DOCTYPE html><h1>502</h1>", None, "an HTML page"),
            ("upstream\nfailed\u{7}", None, "upstream failed"),
            ("", None, ""),
            ("null", None, ""),
            ("\0", None, ""),
        ] {
            assert_eq!(error(body), (code.map(str::to_owned), message.to_owned()), "{body}");
        }
        assert_eq!(
            error_body(br#"{"contextId":"ab-12"}"#).correlation_id.as_deref(),
            Some("ab-12")
        );
        assert_eq!(error_body(br#"{"contextId":"a b\n"}"#).correlation_id, None);
    }

    #[test]
    fn a_long_message_is_cut() {
        let (_, message) = error(&format!(r#"{{"message":"{}"}}"#, "é".repeat(1000)));
        assert_eq!(message.chars().count(), 501);
        assert!(message.ends_with('…'));
    }

    proptest! {
        #[test]
        fn no_body_can_fail_us(body in proptest::collection::vec(any::<u8>(), 0..200), json in "[\\[{\"a-z:,0-9}\\]]{0,60}") {
            for body in [body.as_slice(), json.as_bytes()] {
                let _ = receipt(body);
                let error = error_body(body);
                prop_assert!(!error.message.unwrap_or_default().chars().any(char::is_control));
            }
        }
    }
}
