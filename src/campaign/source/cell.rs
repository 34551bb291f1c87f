//! From a cell to the JSON of an input.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::bad::Fault;

/// What an input has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The cell as it is.
    String,
    /// Digits, kept exactly however many they are.
    Integer,
    /// A number as JSON writes it, kept exactly.
    Number,
    /// `true` or `false`, in capitals too.
    Boolean,
    /// Any JSON.
    Json,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::String, Self::Integer, Self::Number, Self::Boolean, Self::Json];

    /// Its word in `--map`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Json => "json",
        }
    }

    /// The JSON for a cell of a table, or what is wrong with it.
    fn of_text(self, text: &str) -> Result<Cow<'_, str>, String> {
        if self == Self::String {
            return serde_json::to_string(text)
                .map(Cow::Owned)
                .map_err(|error| error.to_string());
        }
        let text = text.trim();
        if text.is_empty() {
            return Err(format!("is empty, and has to be {}", self.wanted()));
        }
        let found = match self {
            Self::String | Self::Json => is_json(text).then_some(text),
            Self::Integer => is_integer(text).then_some(text),
            Self::Number => is_number(text).then_some(text),
            Self::Boolean => ["true", "false"]
                .into_iter()
                .find(|word| text.eq_ignore_ascii_case(word)),
        };
        found.map(Cow::Borrowed).ok_or_else(|| self.refusal())
    }

    /// Whether a value of JSON is one; nothing is converted.
    fn admits(self, json: &str) -> bool {
        match self {
            Self::String => json.starts_with('"'),
            Self::Integer => is_integer(json),
            Self::Number => is_number(json),
            Self::Boolean => matches!(json, "true" | "false"),
            Self::Json => true,
        }
    }

    fn refusal(self) -> String {
        format!("is not {}", self.wanted())
    }

    const fn wanted(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Integer => "an integer (digits alone, with a - before them or not, and no zero in front)",
            Self::Number => {
                "a number (such as 12, -0.5 or 1e6: a point before the decimals, nothing between thousands)"
            }
            Self::Boolean => "true or false",
            Self::Json => "valid JSON",
        }
    }
}

/// The line in which a record begins, and its cells or what is wrong with it.
pub(super) type Cells = (u64, Result<Vec<Cell>, Fault>);

/// One cell of a row.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    /// Of a table.
    Text(String),
    /// Of a JSON object.
    Json(Box<RawValue>),
}

impl Cell {
    /// The JSON of the input that it becomes; without a kind a text is a string, and JSON is what it is.
    pub(super) fn to_json(&self, kind: Option<Kind>) -> Result<Cow<'_, str>, String> {
        match (self, kind) {
            (Self::Text(text), kind) => kind.unwrap_or(Kind::String).of_text(text),
            (Self::Json(value), Some(kind)) if !kind.admits(value.get()) => Err(kind.refusal()),
            (Self::Json(value), _) => Ok(Cow::Borrowed(value.get())),
        }
    }

    /// What it says, for a column that is a key, a flow or a time zone: a text, or a number's digits.
    pub(super) fn to_text(&self) -> Result<Cow<'_, str>, String> {
        match self {
            Self::Text(text) => Ok(Cow::Borrowed(text)),
            Self::Json(value) if value.get().starts_with('"') => {
                serde_json::from_str(value.get()).map(Cow::Owned).map_err(|error| {
                    // A half of a surrogate pair, written as an escape.
                    let said = error.to_string();
                    format!(
                        "cannot be read as text: {}",
                        said.split(" at line ").next().unwrap_or_default()
                    )
                })
            }
            Self::Json(value) if is_number(value.get()) => Ok(Cow::Borrowed(value.get())),
            Self::Json(value) if value.get() == "null" => Ok(Cow::Borrowed("")),
            Self::Json(_) => Err("has to be a string or a number".to_owned()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.trim().is_empty())
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.bytes().all(|byte| byte.is_ascii_digit()) && is_number(text)
}

fn is_number(text: &str) -> bool {
    text.starts_with(|sign: char| sign == '-' || sign.is_ascii_digit()) && is_json(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str, kind: Kind) -> Result<String, String> {
        Cell::Text(text.to_owned()).to_json(Some(kind)).map(Cow::into_owned)
    }

    fn json(text: &str) -> Cell {
        Cell::Json(RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn a_typed_cell_keeps_its_digits_exactly() {
        for (cell, kind, wanted) in [
            ("", Kind::String, "\"\""),
            (" a\"\n", Kind::String, "\" a\\\"\\n\""),
            (
                "123456789012345678901234567890",
                Kind::Integer,
                "123456789012345678901234567890",
            ),
            (" -7 ", Kind::Integer, "-7"),
            ("0", Kind::Integer, "0"),
            ("1.10", Kind::Number, "1.10"),
            ("-1E400", Kind::Number, "-1E400"),
            ("TRUE", Kind::Boolean, "true"),
            ("false", Kind::Boolean, "false"),
            ("[1, null]", Kind::Json, "[1, null]"),
            ("\"x\"", Kind::Json, "\"x\""),
        ] {
            assert_eq!(text(cell, kind).as_deref(), Ok(wanted), "{cell:?} as {kind:?}");
        }
    }

    #[test]
    fn what_is_not_of_the_type_says_what_would_be_and_not_what_it_was() {
        for (cell, kind) in [
            ("007", Kind::Integer),
            ("+5", Kind::Integer),
            ("1.0", Kind::Integer),
            ("1e3", Kind::Integer),
            ("--", Kind::Integer),
            ("12 345", Kind::Integer),
            ("1,50", Kind::Number),
            (".75", Kind::Number),
            ("NaN", Kind::Number),
            ("1.2.3", Kind::Number),
            ("yes", Kind::Boolean),
            ("77", Kind::Boolean),
            ("{a: 7777}", Kind::Json),
            ("1 2", Kind::Json),
        ] {
            let said = text(cell, kind).unwrap_err();
            assert!(
                said.starts_with("is not ") && !said.contains(cell),
                "{cell:?} as {kind:?}: {said}"
            );
        }
        for kind in [Kind::Integer, Kind::Number, Kind::Boolean, Kind::Json] {
            assert!(text("  ", kind).unwrap_err().starts_with("is empty"), "{kind:?}");
        }
    }

    #[test]
    fn json_is_kept_and_never_converted() {
        assert_eq!(json("1.10").to_json(None).unwrap(), "1.10");
        assert_eq!(json("{\"a\" : 1}").to_json(Some(Kind::Json)).unwrap(), "{\"a\" : 1}");
        for (value, kind) in [
            ("1", Kind::String),
            ("\"1\"", Kind::Integer),
            ("1.0", Kind::Integer),
            ("\"1\"", Kind::Number),
            ("null", Kind::Boolean),
        ] {
            assert!(json(value).to_json(Some(kind)).is_err(), "{value} as {kind:?}");
        }
    }

    #[test]
    fn a_key_is_a_text_or_a_number() {
        assert_eq!(json("\"a\\u00e9\"").to_text().unwrap(), "aé");
        assert_eq!(json("1.10").to_text().unwrap(), "1.10");
        assert_eq!(json("null").to_text().unwrap(), "");
        assert!(json("true").to_text().is_err());
        assert!(json("\"\\ud800\"").to_text().is_err());
    }
}
