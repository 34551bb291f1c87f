//! The flows there are.

use serde_json::{Value, json};

use super::answer::Answer;
use super::errors::{error, error_saying};
use super::settings::{Dialect, Flow, VIEW_FLOW};
use super::state::State;

/// The vendor's limit.
const MOST_PER_PAGE: usize = 100;

impl State {
    /// Can this flow be launched?
    pub(crate) fn knows(&self, id: &str) -> bool {
        match &self.settings.flows {
            None => true,
            Some(flows) => flows.iter().any(|flow| flow.id.eq_ignore_ascii_case(id)),
        }
    }

    /// One flow.
    pub(crate) fn flow(&self, id: &str) -> Answer {
        if let Some(refusal) = self.forbids(VIEW_FLOW) {
            return refusal;
        }
        let known = self.listed().into_iter().find(|flow| flow.id.eq_ignore_ascii_case(id));
        // Where any UUID can be launched, any can be looked at.
        let any = || {
            (self.settings.flows.is_none() && uuid::Uuid::try_parse(id).is_ok()).then(|| named(id, "Some flow", None))
        };
        match known.or_else(any) {
            Some(flow) => Answer::json(200, &entity(&flow)),
            None => error(self.settings.dialect, 404),
        }
    }

    /// A page of the flows that match.
    pub(crate) fn flows(&self, query: &str) -> Answer {
        if let Some(refusal) = self.forbids(VIEW_FLOW) {
            return refusal;
        }
        let (mut size, mut number, mut name, mut kinds) = (25, 1_usize, String::new(), Vec::new());
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match key.as_ref() {
                "pageSize" => size = value.parse().unwrap_or(0),
                "pageNumber" => number = value.parse().unwrap_or(0),
                "name" => name = value.to_lowercase(),
                "type" => kinds.extend(value.split(',').map(str::to_lowercase)),
                _ => {}
            }
        }
        if size == 0 || size > MOST_PER_PAGE || number == 0 {
            let message = "pageSize must be between 1 and 100, pageNumber at least 1";
            return error_saying(self.settings.dialect, 400, "invalid.value", message);
        }
        let text = name.trim_matches('*');
        let mut found = self.listed();
        found.retain(|flow| {
            flow.name.to_lowercase().contains(text) && (kinds.is_empty() || kinds.contains(&flow.kind.to_lowercase()))
        });
        let entities: Vec<_> = found
            .iter()
            .skip((number - 1).saturating_mul(size))
            .take(size)
            .map(entity)
            .collect();
        let body = json!({
            "entities": entities, "pageSize": size, "pageNumber": number,
            "total": found.len(), "pageCount": found.len().div_ceil(size),
        });
        Answer::json(200, &body)
    }

    /// The flows set; else three to look at, one of which does not say what it asks for.
    fn listed(&self) -> Vec<Flow> {
        self.settings.flows.clone().unwrap_or_else(|| {
            let order = self.schema(&[("customerEmail", "string"), ("orderId", "string"), ("amount", "number")]);
            let appointment = self.schema(&[
                ("customerPhone", "string"),
                ("at", "string"),
                ("remindTwice", "boolean"),
            ]);
            vec![
                named(
                    "11111111-1111-4111-8111-111111111111",
                    "Order confirmation",
                    Some(order),
                ),
                named(
                    "22222222-2222-4222-8222-222222222222",
                    "Appointment reminder",
                    Some(appointment),
                ),
                named("33333333-3333-4333-8333-333333333333", "Satisfaction survey", None),
            ]
        })
    }

    /// A flow's input schema, of the form of the SDKs' `JsonSchemaDocument`; the first input is required. The SDKs qualify
    /// the names of inputs.
    fn schema(&self, inputs: &[(&str, &str)]) -> Value {
        let name = |name: &str| match self.settings.dialect {
            Dialect::User => name.to_owned(),
            Dialect::Vendor => format!("Flow.{name}"),
        };
        let properties = inputs
            .iter()
            .map(|(input, kind)| (name(input), json!({ "type": kind })));
        json!({
            "$schema": "http://json-schema.org/draft-04/schema#", "title": "inputs", "type": "object",
            "required": inputs.iter().take(1).map(|(input, _)| name(input)).collect::<Vec<_>>(),
            "properties": properties.collect::<serde_json::Map<_, _>>(),
            "additionalProperties": false,
        })
    }
}

fn named(id: &str, name: &str, input_schema: Option<Value>) -> Flow {
    Flow {
        id: id.to_owned(),
        name: name.to_owned(),
        kind: "workflow".to_owned(),
        input_schema,
    }
}

fn entity(flow: &Flow) -> Value {
    json!({
        "id": flow.id, "name": flow.name, "type": flow.kind, "active": true,
        "publishedVersion": { "id": "1.0" }, "inputSchema": flow.input_schema,
        "selfUri": format!("/api/v2/flows/{}", flow.id),
    })
}
