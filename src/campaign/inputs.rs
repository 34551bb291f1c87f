//! Whether a row's inputs are those that its flow asks for: their names, and of which type each is.
//!
//! The API offers it, where it does, as the flow's `inputSchema`: in the vendor's SDKs the model `Flow` has it ("json schema
//! describing the inputs for the flow"), of the form of their model `JsonSchemaDocument` (`$schema`, `title`, `type`,
//! `required`, `properties`, `additionalProperties`). Of a property its type is looked at, and nothing else.
//!
//! A flow may call an input `Flow.email` and a row `email`, or the other way round: they are the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use serde_json::value::RawValue;

use super::source::{BadRow, Row, advice};
use crate::api::Flow;
use crate::job::clip;

/// Stands before the names of a flow's variables.
const QUALIFIER: &str = "Flow.";
/// So many things are told that are wrong with a row.
const TOLD: usize = 3;

/// Reads what these flows ask for, each once. It may take its time; what it cannot read, and why, ends the plan.
pub type ReadFlows<'a> = &'a dyn Fn(&BTreeSet<String>) -> Result<FlowInputs, String>;

/// What flows ask for. Nothing is known against the rows of a flow that is not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowInputs(BTreeMap<String, Asks>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Asks {
    For(Schema),
    /// The API does not say for what.
    Unsaid,
    /// It cannot be launched at all, and why.
    Unfit(String),
}

impl FlowInputs {
    /// A flow as the API knows it; whether it says what the flow asks for.
    pub fn found(&mut self, id: &str, flow: &Flow) -> bool {
        let asks = match (&flow.published_version, flow.input_schema.as_ref().and_then(Schema::of)) {
            (None, _) => Asks::Unfit(format!(
                "flow {} has no published version, so it cannot be launched: publish it in Architect",
                clip(flow.name.as_deref().unwrap_or(id))
            )),
            (Some(_), Some(schema)) => Asks::For(schema),
            (Some(_), None) => Asks::Unsaid,
        };
        let says = asks != Asks::Unsaid;
        self.0.insert(id.to_lowercase(), asks);
        says
    }

    /// There is no such flow.
    pub fn missing(&mut self, id: &str) {
        let why = format!(
            "no flow has the id {id} in this organisation and region: `flowlaunch flows` lists those there are"
        );
        self.0.insert(id.to_lowercase(), Asks::Unfit(why));
    }

    /// Whether the flow of this row can be launched with its inputs.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self, row: &Row) -> Result<(), BadRow> {
        let wrong = match self.0.get(&row.flow_id.to_lowercase()) {
            None | Some(Asks::Unsaid) => return Ok(()),
            Some(Asks::Unfit(why)) => vec![why.clone()],
            Some(Asks::For(schema)) => schema.wrong(&row.inputs),
        };
        if wrong.is_empty() {
            return Ok(());
        }
        let mut message = wrong.iter().take(TOLD).cloned().collect::<Vec<_>>().join("; ");
        if wrong.len() > TOLD {
            message.push_str(&format!("; and {} more", wrong.len() - TOLD));
        }
        Err(BadRow {
            line: row.line,
            column: None,
            message,
        })
    }
}

/// A flow's input schema, as far as rows are held against it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Schema {
    /// The types of the inputs that it names, by plain name; those without a word of one are of any.
    types: BTreeMap<String, Vec<Type>>,
    /// The inputs without which it is not launched.
    required: Vec<String>,
    /// It takes others too.
    open: bool,
}

impl Schema {
    /// `None` when the document says nothing of inputs.
    fn of(document: &Value) -> Option<Self> {
        let properties = document.get("properties")?.as_object()?;
        let required = document.get("required").and_then(Value::as_array);
        let others = document.get("additionalProperties");
        Some(Self {
            types: properties
                .iter()
                .map(|(name, property)| (plain(name).to_owned(), Type::all_of(property)))
                .collect(),
            required: required
                .into_iter()
                .flatten()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
            open: others.is_some_and(|others| others == &Value::Bool(true) || others.is_object()),
        })
    }

    /// What is wrong with these inputs, a sentence each; never with a value in it.
    fn wrong(&self, inputs: &RawValue) -> Vec<String> {
        // A row's inputs are an object that we wrote.
        let given: BTreeMap<String, &RawValue> = serde_json::from_str(inputs.get()).unwrap_or_default();
        let (mut wrong, mut mistyped) = (Vec::new(), Vec::new());
        for (name, value) in &given {
            match self.types.get(plain(name)) {
                Some(types) => mistyped.extend(mismatch(name, types, value.get())),
                None if self.open => {}
                None => wrong.push(format!("the flow has no input {}{}", clip(name), self.instead_of(name))),
            }
        }
        let has = |wanted: &str| given.keys().any(|name| plain(name) == plain(wanted));
        let missing = self.required.iter().filter(|wanted| !has(wanted));
        wrong.extend(missing.map(|wanted| format!("the flow needs the input {}, and there is none", clip(wanted))));
        wrong.extend(mistyped);
        wrong
    }

    /// Which input was probably meant, named in the same way.
    fn instead_of(&self, name: &str) -> String {
        if self.types.is_empty() {
            return ", and no other".to_owned();
        }
        let qualifier = if plain(name) == name { "" } else { QUALIFIER };
        let names: Vec<_> = self.types.keys().map(|name| format!("{qualifier}{name}")).collect();
        advice(name, &names)
    }
}

/// A type of JSON Schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    String,
    Integer,
    Number,
    Boolean,
    Object,
    Array,
    Null,
}

impl Type {
    const ALL: [Self; 7] = [
        Self::String,
        Self::Integer,
        Self::Number,
        Self::Boolean,
        Self::Object,
        Self::Array,
        Self::Null,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Object => "object",
            Self::Array => "array",
            Self::Null => "null",
        }
    }

    /// Those that a property may have; none, when it says nothing of them, or something that is not known here.
    fn all_of(property: &Value) -> Vec<Self> {
        let known = |word: &Value| Self::ALL.into_iter().find(|known| word == known.as_str());
        let read = match property.get("type") {
            Some(Value::Array(words)) => words.iter().map(known).collect(),
            Some(word) => known(word).map(|known| vec![known]),
            None => None,
        };
        read.unwrap_or_default()
    }

    /// Of a value, by its first sign: JSON that is valid needs no more. A number without a fraction is an integer.
    fn of(json: &str) -> Self {
        match json.as_bytes().first() {
            Some(b'"') => Self::String,
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'n') => Self::Null,
            _ if json.parse::<f64>().is_ok_and(|number| number.fract() == 0.0) => Self::Integer,
            _ => Self::Number,
        }
    }

    fn takes(self, value: Self) -> bool {
        self == value || (self == Self::Number && value == Self::Integer)
    }

    /// The type that `--map` gives to a column for it.
    const fn mapped(self) -> Option<&'static str> {
        match self {
            Self::Integer | Self::Number | Self::Boolean => Some(self.as_str()),
            Self::Object | Self::Array => Some("json"),
            Self::String | Self::Null => None,
        }
    }
}

/// What is wrong with the type of a value, if anything.
fn mismatch(name: &str, types: &[Type], json: &str) -> Option<String> {
    let value = Type::of(json);
    if types.is_empty() || types.iter().any(|wanted| wanted.takes(value)) {
        return None;
    }
    let wanted: Vec<_> = types.iter().map(|wanted| wanted.as_str()).collect();
    let hint = types.iter().find_map(|wanted| wanted.mapped());
    let hint = hint.filter(|_| value == Type::String).map_or_else(String::new, |kind| {
        format!(" (--map INPUT:{kind}=COLUMN makes a cell one)")
    });
    Some(format!(
        "the input {} has to be of type {}, and is of type {}{hint}",
        clip(name),
        wanted.join(" or "),
        value.as_str()
    ))
}

fn plain(name: &str) -> &str {
    name.strip_prefix(QUALIFIER).unwrap_or(name)
}

#[cfg(test)]
mod tests;
