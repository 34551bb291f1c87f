//! The control API, under `/_sim/`: read the record, change how the stand-in behaves.

use std::sync::Arc;

use http::{Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::answer::{Answer, Body, Pages};
use super::door::Wish;
use super::fields::{FieldError, overlay};
use super::lines::Which;
use super::rules::read_rules;
use super::state::Shared;

/// Large enough for a list of a hundred thousand flows.
const MOST_BODY: usize = 32 << 20;

const INDEX: &str = "\
GET    /_sim/launches   every launch accepted, as JSON Lines; ?after=SEQ&limit=N for a page
DELETE /_sim/launches   forget launches and launch requests
GET    /_sim/requests   every launch request, refused ones too; pages as above
GET    /_sim/tokens     every token request; pages as above
POST   /_sim/revoke     every token is unknown from now on
GET    /_sim/stats      counters
GET    /_sim/rules      the rules of misbehaviour, a JSON array
PUT    /_sim/rules      new rules, counted from zero
DELETE /_sim/rules      no rules
GET    /_sim/settings   how the server behaves
PATCH  /_sim/settings   change some of it
GET    /_sim/listener   is the data port open
PUT    /_sim/listener   {\"open\": false, \"forSeconds\": 5} refuses connections for a while
";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Listener {
    open: bool,
    for_seconds: Option<f64>,
}

/// Is this a path of the control API?
pub(crate) fn is_for(path: &str) -> bool {
    path == "/_sim" || path.starts_with("/_sim/")
}

/// Answers a control request.
pub(crate) async fn handle(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head
        .uri
        .path()
        .trim_end_matches('/')
        .strip_prefix("/_sim")
        .unwrap_or("?");
    let query = head.uri.query().unwrap_or("");
    let answered = match (&head.method, path) {
        (&Method::GET, "") => Ok(Answer::new(200, "text/plain", INDEX.into())),
        (&Method::GET, "/launches") => return lines(shared, Which::Launches, query),
        (&Method::GET, "/requests") => return lines(shared, Which::Requests, query),
        (&Method::GET, "/tokens") => return lines(shared, Which::Tokens, query),
        (&Method::DELETE, "/launches") => {
            shared.lock().record.clear_launches();
            Ok(Answer::empty(204))
        }
        (&Method::POST, "/revoke") => Ok(Answer::json(200, &json!({ "revoked": shared.lock().tokens.revoke() }))),
        (&Method::GET, "/stats") => Ok(Answer::json(200, &shared.stats())),
        (&Method::GET, "/rules") => Ok(rules(shared)),
        (&Method::PUT, "/rules") => read(body)
            .await
            .and_then(|value| shared.set_rules(value))
            .map(|()| rules(shared)),
        (&Method::DELETE, "/rules") => shared.set_rules(json!([])).map(|()| Answer::empty(204)),
        (&Method::GET, "/settings") => Ok(settings(shared)),
        (&Method::PATCH, "/settings") => read(body)
            .await
            .and_then(|value| shared.patch(value))
            .map(|()| settings(shared)),
        (&Method::GET, "/listener") => Ok(listener(shared)),
        (&Method::PUT, "/listener") => match read(body).await.and_then(|value| wish(shared, value)) {
            Ok(wish) => {
                shared.door.set(wish).await;
                Ok(listener(shared))
            }
            Err(error) => Err(error),
        },
        _ => Ok(Answer::json(
            404,
            &json!({ "error": "no such control request; GET /_sim lists them" }),
        )),
    };
    answered.unwrap_or_else(|error| refusal(&error)).whole()
}

impl Shared {
    /// New rules in place of the old, their counts from zero.
    pub(crate) fn set_rules(&self, rules: Value) -> Result<(), FieldError> {
        let rules = read_rules(rules)?;
        let mut state = self.lock();
        let seed = state.settings.seed;
        state.faults.set(rules, seed, self.now());
        Ok(())
    }

    /// Changes settings, all of them or, if one is wrong, none.
    pub(crate) fn patch(&self, patch: Value) -> Result<(), FieldError> {
        let mut state = self.lock();
        state.settings = Arc::new(state.settings.patched(patch)?);
        Ok(())
    }
}

fn rules(shared: &Shared) -> Answer {
    let rules = shared.lock().faults.rules();
    Answer::json(200, &rules.iter().map(AsRef::as_ref).collect::<Vec<_>>())
}

fn settings(shared: &Shared) -> Answer {
    let settings = shared.lock().settings.clone();
    Answer::json(200, &*settings)
}

fn listener(shared: &Shared) -> Answer {
    Answer::json(200, &json!({ "open": shared.door.is_open() }))
}

fn wish(shared: &Shared, value: Value) -> Result<Wish, FieldError> {
    let wanted = overlay(
        &Listener {
            open: true,
            for_seconds: None,
        },
        value,
    )?;
    if wanted.open {
        return Ok(Wish::Open);
    }
    let seconds = wanted.for_seconds;
    if seconds.is_some_and(|seconds| !(0.0..=86_400.0).contains(&seconds)) {
        return Err(FieldError::new("forSeconds", "must be between 0 and 86400"));
    }
    if seconds.is_none() && !shared.control_apart {
        let problem =
            "is needed where control is on the same port: nobody could open it again (or start with --control)";
        return Err(FieldError::new("forSeconds", problem));
    }
    Ok(Wish::Closed(
        seconds.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds)),
    ))
}

fn lines(shared: &Arc<Shared>, which: Which, query: &str) -> Response<Body> {
    let (mut after, mut limit) = (0, u64::MAX);
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let into = match key.as_ref() {
            "after" => &mut after,
            "limit" => &mut limit,
            _ => return refusal(&FieldError::new(key, "unknown; there are after and limit")).whole(),
        };
        match value.parse() {
            Ok(number) => *into = number,
            Err(_) => return refusal(&FieldError::new(key, "must be a whole number")).whole(),
        }
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut response = Answer::new(200, "application/x-ndjson", bytes::Bytes::new()).whole();
    *response.body_mut() = Body::Pages(Pages::new(shared.clone(), which, after, limit));
    response
}

fn refusal(error: &FieldError) -> Answer {
    Answer::json(400, &json!({ "error": error.to_string(), "field": error.field }))
}

async fn read(body: Incoming) -> Result<Value, FieldError> {
    let wrong = |problem: String| FieldError::new("(body)", problem);
    let bytes = Limited::new(body, MOST_BODY)
        .collect()
        .await
        .map_err(|error| wrong(error.to_string()))?
        .to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))
}
