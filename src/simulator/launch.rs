//! The launch: the body of the request, what is wrong with it, and the answer of each dialect.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::answer::Answer;
use super::decide::Done;
use super::errors::{error, error_saying};
use super::record::{Order, rfc3339};
use super::route::Call;
use super::settings::{Dialect, LAUNCH};
use super::state::State;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(borrow)]
    flow_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    inputs: Option<&'a RawValue>,
    #[serde(borrow)]
    input_data: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    flow_version: Option<Cow<'a, str>>,
}

/// The body of a launch, or what is wrong with it.
#[derive(Debug)]
pub(crate) struct Parsed<'a>(Result<Fields<'a>, Wrong>);

#[derive(Debug)]
enum Wrong {
    TooLarge,
    NotJson(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserAnswer<'a> {
    id: String,
    flow_id: &'a str,
    state: &'a str,
    start_time: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VendorAnswer<'a> {
    id: &'a str,
    name: &'a str,
    flow_version: Version<'a>,
    self_uri: String,
}

/// A version of a flow, as the vendor refers to it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Version<'a> {
    id: &'a str,
    name: &'a str,
    self_uri: String,
}

impl<'a> Version<'a> {
    pub(crate) fn of(flow_id: &str, version: Option<&'a str>) -> Self {
        let id = version.unwrap_or("1.0");
        Self {
            id,
            name: id,
            self_uri: format!("/api/v2/flows/{flow_id}/versions/{id}"),
        }
    }
}

impl<'a> Parsed<'a> {
    pub(crate) fn read(body: Option<&'a [u8]>) -> Self {
        Self(match body {
            None => Err(Wrong::TooLarge),
            Some(body) => serde_json::from_slice(body).map_err(|error| Wrong::NotJson(error.to_string())),
        })
    }

    pub(crate) fn flow_id(&self) -> Option<&str> {
        self.0.as_ref().ok()?.flow_id.as_deref()
    }
}

impl State {
    /// Launches, or says why not.
    pub(crate) fn launch(&mut self, call: &Call<'_>, parsed: Option<&Parsed<'_>>, token: &str) -> Done {
        let dialect = self.settings.dialect;
        if let Some(refusal) = self.forbids(LAUNCH) {
            return refusal.into();
        }
        let is_json = call
            .content_type
            .is_some_and(|kind| kind.starts_with("application/json"));
        let fields = match parsed.map(|parsed| &parsed.0) {
            Some(Err(Wrong::TooLarge)) => return error(dialect, 413).into(),
            _ if !is_json => return error(dialect, 415).into(),
            Some(Err(Wrong::NotJson(problem))) => {
                return error_saying(dialect, 400, "bad.request", problem).into();
            }
            Some(Ok(fields)) => fields,
            None => return error(dialect, 400).into(),
        };
        // The other dialect's key is ignored, as any unknown field is: the danger that clients must guard against.
        let (inputs, key) = match dialect {
            Dialect::User => (fields.inputs, "inputs"),
            Dialect::Vendor => (fields.input_data, "inputData"),
        };
        let flow_id = match fields.flow_id.as_deref() {
            Some(id) if id.len() == 36 && uuid::Uuid::try_parse(id).is_ok() => id,
            Some(_) => return error_saying(dialect, 400, "invalid.value", "flowId must be a UUID").into(),
            None => return error_saying(dialect, 400, "bad.request", "flowId is required").into(),
        };
        if inputs.is_some_and(|inputs| !inputs.get().starts_with('{')) {
            return error_saying(dialect, 400, "invalid.value", &format!("{key} must be an object")).into();
        }
        if !self.knows(flow_id) {
            let message = format!("Unable to find a flow with that id: {flow_id}");
            return error_saying(dialect, 404, "not.found", &message).into();
        }
        let (name, flow_version) = (fields.name.as_deref(), fields.flow_version.as_deref());
        let order = Order {
            flow_id,
            name,
            flow_version,
            inputs,
        };
        let seq = {
            let most = (self.settings.max_records, self.settings.max_record_bytes);
            self.record.launch(&order, token, call.now, most)
        };
        self.stats.launches_peak.add(self.settings.window_us(), call.now);
        Done {
            answer: self.accepted(&order, seq, call.now),
            launch: Some(seq),
        }
    }

    fn accepted(&self, order: &Order<'_>, seq: u64, now: i64) -> Answer {
        let id = self.record.execution_id(seq).to_string();
        match self.settings.dialect {
            Dialect::User => {
                let start_time = rfc3339(self.record.time_us(now));
                let id = format!("exec-{id}");
                let answer = UserAnswer {
                    id,
                    flow_id: order.flow_id,
                    state: "Running",
                    start_time,
                };
                Answer::json(self.settings.launch_status.unwrap_or(201), &answer)
            }
            Dialect::Vendor => {
                let answer = VendorAnswer {
                    id: &id,
                    name: order.name.unwrap_or("Flow execution"),
                    flow_version: Version::of(order.flow_id, order.flow_version),
                    self_uri: format!("/api/v2/flows/executions/{id}"),
                };
                Answer::json(self.settings.launch_status.unwrap_or(200), &answer)
            }
        }
    }

    /// The 403 of a client without that permission.
    pub(crate) fn forbids(&self, permission: &str) -> Option<Answer> {
        if self.settings.permissions.iter().any(|held| held == permission) {
            return None;
        }
        let named = match (self.settings.dialect, permission) {
            (Dialect::User, LAUNCH) => "flow:execution:write",
            (Dialect::User, _) => "flow:execution:read",
            (Dialect::Vendor, _) => permission,
        };
        let message =
            format!("Unable to perform the requested action. You are missing the following permission(s): {named}");
        Some(error_saying(
            self.settings.dialect,
            403,
            "missing.permissions",
            &message,
        ))
    }
}
