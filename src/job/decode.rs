//! From the outline of a message to a job: what each field must be.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::malformed::{Malformed, Partial, Problem, clip};
use super::scan::{Field, Fields, offset_in, scan};
use super::time;
use super::{Job, MAX_ATTEMPTS, MAX_BYTES, MAX_ID_BYTES, OnUnknown, is_campaign, is_flow_id, new_id};

/// A `flowId` that is none is still reported, up to this length.
const MAX_PARTIAL_BYTES: usize = 200;

pub(super) fn decode(body: &[u8], message_id: Option<&str>, default: OnUnknown) -> Result<Job, Malformed> {
    // Client libraries send an empty property for one that was never set.
    let message_id = message_id.filter(|id| !id.is_empty());
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => {
            let id = message_id.filter(|id| id.len() <= MAX_ID_BYTES).map(str::to_owned);
            let problem = Problem::new("the body is not UTF-8").at(error.valid_up_to());
            return Err(problem.into_malformed(
                body,
                Partial {
                    id,
                    ..Partial::default()
                },
            ));
        }
    };
    let (fields, fault) = scan(text);
    let reader = Reader { text, fields };
    let read = match (body.len() > MAX_BYTES, fault) {
        (true, _) => Err(Problem::new(format!(
            "the body has {} bytes; at most {MAX_BYTES} can be launched",
            body.len()
        ))),
        (false, Some(fault)) => Err(fault),
        (false, None) => reader.job(message_id, default),
    };
    read.map_err(|problem| problem.into_malformed(body, reader.partial(message_id)))
}

struct Reader<'a> {
    text: &'a str,
    fields: Fields<'a>,
}

impl<'a> Reader<'a> {
    fn job(&self, message_id: Option<&str>, default: OnUnknown) -> Result<Job, Problem> {
        let flow_id = self.flow_id()?;
        let given = self.id(message_id)?;
        let (not_before, expires_at) = self.times()?;
        let on_unknown = self.on_unknown()?;
        if on_unknown.unwrap_or(default) == OnUnknown::Park && given.is_none() {
            let message =
                "is required when a job of unknown outcome is parked: only an id that the producer gave lasts";
            return Err(Problem::new(message).field(Field::Id.as_str()));
        }
        Ok(Job {
            id_given: given.is_some(),
            id: given.unwrap_or_else(new_id),
            flow_id,
            inputs: self.inputs()?,
            flow_version: self.string(Field::FlowVersion)?.map(Cow::into_owned),
            name: self.string(Field::Name)?.map(Cow::into_owned),
            campaign: self.campaign()?,
            not_before,
            expires_at,
            max_attempts: self.max_attempts()?,
            on_unknown,
            track: self.track()?,
        })
    }

    fn flow_id(&self) -> Result<String, Problem> {
        if self.fields.get(Field::FlowId).is_none() {
            return Err(Problem::new("is required").field(Field::FlowId.as_str()));
        }
        let Some(id) = self.string(Field::FlowId)? else {
            return Err(self.wrong(Field::FlowId, "is required, and null"));
        };
        if !is_flow_id(&id) {
            let message = format!(
                "must be a UUID such as `3f1c2b7a-…`, with its hyphens; this is `{}`",
                clip(&id)
            );
            return Err(self.wrong(Field::FlowId, message));
        }
        Ok(id.into_owned())
    }

    fn id(&self, message_id: Option<&str>) -> Result<Option<String>, Problem> {
        let id = self.string(Field::Id)?;
        if let Some(id) = &id
            && !(1..=MAX_ID_BYTES).contains(&id.len())
        {
            let message = format!("must have 1 to {MAX_ID_BYTES} bytes, not {}", id.len());
            return Err(self.wrong(Field::Id, message));
        }
        match (id, message_id) {
            (Some(id), Some(property)) if id != property => {
                let message = format!(
                    "is `{}`, but the message's `message_id` is `{}`",
                    clip(&id),
                    clip(property)
                );
                Err(self.wrong(Field::Id, message))
            }
            (None, Some(property)) if property.len() > MAX_ID_BYTES => {
                let message = format!("must have at most {MAX_ID_BYTES} bytes, not {}", property.len());
                Err(Problem::new(message).field("message_id"))
            }
            (Some(id), _) => Ok(Some(id.into_owned())),
            (None, property) => Ok(property.map(str::to_owned)),
        }
    }

    fn inputs(&self) -> Result<Option<Box<RawValue>>, Problem> {
        match self.fields.get(Field::Inputs) {
            None => Ok(None),
            Some(value) if value.get().starts_with('{') => Ok(Some(value.to_owned())),
            Some(value) => {
                let message = format!(
                    "must be an object, this is {}; to launch without inputs leave it out",
                    kind(value)
                );
                Err(self.wrong(Field::Inputs, message))
            }
        }
    }

    fn campaign(&self) -> Result<Option<String>, Problem> {
        match self.string(Field::Campaign)? {
            Some(label) if !is_campaign(&label) => {
                let message = format!(
                    "must be a letter or digit and then up to 127 letters, digits, `_` or `-`; this is `{}`",
                    clip(&label)
                );
                Err(self.wrong(Field::Campaign, message))
            }
            label => Ok(label.map(Cow::into_owned)),
        }
    }

    fn times(&self) -> Result<(Option<Timestamp>, Option<Timestamp>), Problem> {
        let not_before = self.time(Field::NotBefore)?;
        let expires_at = self.time(Field::ExpiresAt)?;
        match (not_before, expires_at) {
            (Some(from), Some(to)) if to <= from => {
                let message = format!("must be later than `notBefore`, which is {from}; it is {to}");
                Err(self.wrong(Field::ExpiresAt, message))
            }
            times => Ok(times),
        }
    }

    fn time(&self, field: Field) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.string(field)? else {
            return Ok(None);
        };
        time::parse(&text)
            .map(Some)
            .map_err(|message| self.wrong(field, message))
    }

    fn max_attempts(&self) -> Result<Option<u32>, Problem> {
        let Some(value) = self.present(Field::MaxAttempts) else {
            return Ok(None);
        };
        // Written with a fraction or an exponent it fails here too: a whole number is written as one.
        match value.get().parse::<u32>() {
            Ok(number) if (1..=MAX_ATTEMPTS).contains(&number) => Ok(Some(number)),
            Ok(_) | Err(_) => {
                let found = match value.get() {
                    number if kind(value) == "a number" => clip(number),
                    _ => kind(value).to_owned(),
                };
                let message = format!("must be a whole number from 1 to {MAX_ATTEMPTS}, this is {found}");
                Err(self.wrong(Field::MaxAttempts, message))
            }
        }
    }

    fn on_unknown(&self) -> Result<Option<OnUnknown>, Problem> {
        match self.string(Field::OnUnknown)?.as_deref() {
            None => Ok(None),
            Some("relaunch") => Ok(Some(OnUnknown::Relaunch)),
            Some("park") => Ok(Some(OnUnknown::Park)),
            Some(other) => {
                let message = format!("must be `relaunch` or `park`, this is `{}`", clip(other));
                Err(self.wrong(Field::OnUnknown, message))
            }
        }
    }

    fn track(&self) -> Result<bool, Problem> {
        match self.present(Field::Track).map(RawValue::get) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(self.wrong(Field::Track, "must be `true` or `false`")),
        }
    }

    /// The value of an optional field; `null` is none.
    fn present(&self, field: Field) -> Option<&'a RawValue> {
        self.fields.get(field).filter(|value| value.get() != "null")
    }

    fn string(&self, field: Field) -> Result<Option<Cow<'a, str>>, Problem> {
        let Some(value) = self.present(field) else {
            return Ok(None);
        };
        if !value.get().starts_with('"') {
            return Err(self.wrong(field, format!("must be a string, this is {}", kind(value))));
        }
        unquote(value)
            .map(Some)
            .ok_or_else(|| self.wrong(field, "has an escape that stands for no character"))
    }

    fn wrong(&self, field: Field, message: impl Into<String>) -> Problem {
        let problem = Problem::new(message).field(field.as_str());
        match self.fields.get(field) {
            Some(value) => problem.at(offset_in(self.text, value.get())),
            None => problem,
        }
    }

    fn partial(&self, message_id: Option<&str>) -> Partial {
        let read = |field, most: usize| {
            let text = self
                .fields
                .get(field)
                .filter(|value| value.get().starts_with('"'))
                .and_then(unquote)?;
            (1..=most).contains(&text.len()).then(|| text.into_owned())
        };
        let property = || message_id.filter(|id| id.len() <= MAX_ID_BYTES).map(str::to_owned);
        Partial {
            id: read(Field::Id, MAX_ID_BYTES).or_else(property),
            flow_id: read(Field::FlowId, MAX_PARTIAL_BYTES),
            campaign: read(Field::Campaign, super::MAX_CAMPAIGN_BYTES).filter(|label| is_campaign(label)),
        }
    }
}

/// What a checked JSON string says; none when an escape is half a character.
fn unquote(value: &RawValue) -> Option<Cow<'_, str>> {
    let quoted = value.get();
    match quoted.get(1..quoted.len().saturating_sub(1)) {
        Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        Some(_) | None => serde_json::from_str(quoted).ok().map(Cow::Owned),
    }
}

fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(_) | None => "a number",
    }
}
