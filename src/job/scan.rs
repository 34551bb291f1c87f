//! The outline of a job: one pass over the body, which fields are there and where, and nothing about what they say.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::malformed::{Problem, clip};

/// The fields of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    FlowId,
    Id,
    Inputs,
    FlowVersion,
    Name,
    Campaign,
    NotBefore,
    ExpiresAt,
    MaxAttempts,
    OnUnknown,
    Track,
}

impl Field {
    pub(super) const ALL: [Self; 11] = [
        Self::FlowId,
        Self::Id,
        Self::Inputs,
        Self::FlowVersion,
        Self::Name,
        Self::Campaign,
        Self::NotBefore,
        Self::ExpiresAt,
        Self::MaxAttempts,
        Self::OnUnknown,
        Self::Track,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::FlowId => "flowId",
            Self::Id => "id",
            Self::Inputs => "inputs",
            Self::FlowVersion => "flowVersion",
            Self::Name => "name",
            Self::Campaign => "campaign",
            Self::NotBefore => "notBefore",
            Self::ExpiresAt => "expiresAt",
            Self::MaxAttempts => "maxAttempts",
            Self::OnUnknown => "onUnknown",
            Self::Track => "track",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.as_str() == name)
    }
}

/// What stands under each field.
#[derive(Default)]
pub(super) struct Fields<'a>([Option<&'a RawValue>; Field::ALL.len()]);

impl<'a> Fields<'a> {
    pub(super) fn get(&self, field: Field) -> Option<&'a RawValue> {
        self.0[field as usize]
    }
}

/// Reads the outline, with the first fault found. Reading goes on behind a fault, so that the result of a malformed job
/// can still say whose it was.
pub(super) fn scan(text: &str) -> (Fields<'_>, Option<Problem>) {
    let mut outline = Outline {
        text,
        fields: Fields::default(),
        problem: None,
    };
    if let Some(problem) = not_an_object(text) {
        return (outline.fields, Some(problem));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let syntax = json.deserialize_map(&mut outline).and_then(|()| json.end());
    let problem = outline
        .problem
        .or_else(|| syntax.err().map(|error| not_json(text, &error)));
    (outline.fields, problem)
}

/// How many bytes into `text` its part `part` begins.
pub(super) fn offset_in(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

fn not_an_object(text: &str) -> Option<Problem> {
    if text.starts_with('\u{feff}') {
        return Some(Problem::new("the body begins with a byte-order mark; send UTF-8 without one").at(0));
    }
    let rest = text.trim_start_matches([' ', '\t', '\r', '\n']);
    let at = text.len() - rest.len();
    match rest.bytes().next() {
        Some(b'{') => None,
        None => Some(Problem::new("the body is empty; a job is a JSON object")),
        Some(b'[') => {
            Some(Problem::new("a job is a JSON object, this is an array; send one message for each job").at(at))
        }
        Some(_) => Some(Problem::new("a job is a JSON object, this does not begin with `{`").at(at)),
    }
}

fn not_json(text: &str, error: &serde_json::Error) -> Problem {
    if error.is_eof() {
        return Problem::new("not valid JSON: it ends too early").at(text.len());
    }
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or("unreadable");
    let line_start: usize = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum();
    Problem::new(format!("not valid JSON: {said}")).at(line_start + error.column().saturating_sub(1))
}

struct Outline<'a> {
    text: &'a str,
    fields: Fields<'a>,
    problem: Option<Problem>,
}

impl<'a> Outline<'a> {
    fn take(&mut self, key: &Key<'a>, value: &'a RawValue) {
        let Some(field) = Field::of(key.as_str()) else {
            return self.fault(key, value, unknown(key.as_str()));
        };
        if self.fields.0[field as usize].replace(value).is_some() {
            self.fault(key, value, "is given twice".to_owned());
        }
    }

    fn fault(&mut self, key: &Key<'a>, value: &'a RawValue, message: String) {
        if self.problem.is_none() {
            // A key with escapes in it is no longer part of the body; its value is near enough.
            let at = match key {
                Key::Plain(key) => offset_in(self.text, key),
                Key::Escaped(_) => offset_in(self.text, value.get()),
            };
            self.problem = Some(Problem::new(message).at(at).field(key.as_str()));
        }
    }
}

impl<'a> Visitor<'a> for &mut Outline<'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a job")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(KeySeed)? {
            // A raw value is checked and skipped without recursion, however deep it nests.
            let value: &'a RawValue = map.next_value()?;
            self.take(&key, value);
        }
        Ok(())
    }
}

enum Key<'a> {
    Plain(&'a str),
    Escaped(String),
}

impl Key<'_> {
    fn as_str(&self) -> &str {
        match self {
            Self::Plain(key) => key,
            Self::Escaped(key) => key,
        }
    }
}

struct KeySeed;

impl<'a> DeserializeSeed<'a> for KeySeed {
    type Value = Key<'a>;

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<Key<'a>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for KeySeed {
    type Value = Key<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_borrowed_str<E>(self, key: &'a str) -> Result<Key<'a>, E> {
        Ok(Key::Plain(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Key<'a>, E> {
        Ok(Key::Escaped(key.to_owned()))
    }
}

fn unknown(name: &str) -> String {
    match nearest(name) {
        Some(field) => format!("is not a field of a job; did you mean `{}`?", field.as_str()),
        None => {
            let known = Field::ALL.map(|field| format!("`{}`", field.as_str())).join(", ");
            format!("is not a field of a job; there are {known}")
        }
    }
}

/// The field that was probably meant: by what other systems call it, else by its spelling.
fn nearest(name: &str) -> Option<Field> {
    let plain: String = clip(name)
        .chars()
        .filter(|c| c.is_alphanumeric())
        .collect::<String>()
        .to_lowercase();
    let synonym = match plain.as_str() {
        "input" | "inputdata" | "inputvalues" | "data" | "payload" | "params" | "parameters" | "variables" | "args"
        | "arguments" | "attributes" => Some(Field::Inputs),
        "flow" | "flowuuid" | "flowguid" | "workflow" | "workflowid" => Some(Field::FlowId),
        "jobid" | "messageid" | "key" | "idempotencykey" | "uuid" => Some(Field::Id),
        "version" => Some(Field::FlowVersion),
        "title" | "executionname" => Some(Field::Name),
        "campaignid" | "campaignname" | "batch" | "label" => Some(Field::Campaign),
        "delayuntil" | "scheduledat" | "scheduleat" | "startat" | "starttime" | "runat" | "after" => {
            Some(Field::NotBefore)
        }
        "expires" | "expiry" | "expiration" | "deadline" | "notafter" | "validuntil" => Some(Field::ExpiresAt),
        "attempts" | "retries" | "maxretries" | "maxtries" => Some(Field::MaxAttempts),
        "unknown" | "ifunknown" => Some(Field::OnUnknown),
        "follow" | "tracking" | "wait" => Some(Field::Track),
        _ => None,
    };
    synonym.or_else(|| {
        let close = |field: &Field| strsim::jaro_winkler(&plain, &field.as_str().to_lowercase());
        Field::ALL
            .into_iter()
            .max_by(|a, b| close(a).total_cmp(&close(b)))
            .filter(|field| close(field) > 0.85)
    })
}
