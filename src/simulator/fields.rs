//! JSON laid over what is there, one field at a time, so that a wrong one can be named.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A field that cannot be taken, and why.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// The path of the field, as in `[1].share`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn within(self, outer: &str) -> Self {
        Self {
            field: format!("{outer}.{}", self.field),
            ..self
        }
    }
}

/// `base` with the fields of `patch` in place of its own.
pub(crate) fn overlay<T: Serialize + DeserializeOwned>(base: &T, patch: Value) -> Result<T, FieldError> {
    let Value::Object(patch) = patch else {
        return Err(FieldError::new("(body)", "must be a JSON object"));
    };
    let mut merged = as_object(base)?;
    for (name, value) in patch {
        if !merged.contains_key(&name) {
            let known: Vec<_> = merged.keys().map(String::as_str).collect();
            return Err(FieldError::new(
                name,
                format!("unknown field; the fields are {}", known.join(", ")),
            ));
        }
        merged.insert(name.clone(), value);
        // Each field by itself, because serde does not say in which one it found the wrong type.
        read::<T>(&merged).map_err(|problem| FieldError::new(name, problem))?;
    }
    read(&merged).map_err(|problem| FieldError::new("(body)", problem))
}

fn as_object<T: Serialize>(value: &T) -> Result<Map<String, Value>, FieldError> {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(FieldError::new("(body)", "must be a JSON object")),
        Err(error) => Err(FieldError::new("(body)", error.to_string())),
    }
}

fn read<T: DeserializeOwned>(object: &Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(object.clone())).map_err(|error| error.to_string())
}
