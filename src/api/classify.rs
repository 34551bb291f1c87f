//! What an answer means: status, headers and body in, outcome out. Pure.

use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use url::Url;

use super::{answer, retry_after};
use crate::outcome::{Class, Failure, Receipt};

/// What to do about it, by status: the user's documents and the vendor's, in a sentence each.
mod fix {
    pub(super) const REDIRECT: &str =
        "This is not the API: check api.region, or api.base_url and api.login_url; redirects are never followed";
    pub(super) const BAD_REQUEST: &str =
        "Check that flowId is the UUID of a flow in this environment and region, and the shape of the inputs";
    pub(super) const UNAUTHORIZED: &str = "The token is invalid or expired: check api.client_id and api.client_secret, that api.region is theirs, and that this \
         address is allowed";
    pub(super) const FORBIDDEN: &str = "Give the OAuth client a role with the permission architect:flow:launch (a scope-based client: the scope \
         flow:execution:write), for the division of the flow; a change takes up to five minutes";
    pub(super) const NOT_FOUND: &str =
        "There is no flow with this id: check flowId, that the flow is published, and the region";
    pub(super) const METHOD: &str = "This is not the launch API: check api.region or api.base_url";
    pub(super) const PROXY: &str = "The proxy wants credentials: put them into its URL in HTTPS_PROXY";
    pub(super) const CONFLICT: &str = "Check in Architect that the flow is published and not in a conflicting state";
    pub(super) const GONE: &str = "The flow was deleted: use another flowId";
    pub(super) const TOO_LARGE: &str = "The API takes at most 512,000 bytes: make the inputs smaller";
    pub(super) const MEDIA_TYPE: &str =
        "The API takes application/json, which was sent: look for a proxy that changes it";
    pub(super) const TYPES: &str = "The types of the inputs must match the flow's definition (123 is not \"123\", no null where a value is required)";
    pub(super) const OTHER: &str = "The API does not take this launch as it is: mend what its message names, or give its support the correlation id";
    pub(super) const LOOK: &str = "It may have been launched: look for it before launching it again";
    pub(super) const NOT_JSON: &str = "It may have been launched, or this is not the API: look for it before launching it again, and check \
         api.base_url";
}

/// What the answer to a launch means.
///
/// # Errors
/// When it is not a launch.
pub fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Receipt, Failure> {
    match answer::receipt(body).filter(|_| status.is_success()) {
        Some(receipt) => Ok(receipt),
        None => Err(failure(status, headers, body, now)),
    }
}

/// The class of every status, and what to do about it.
#[expect(
    clippy::match_overlapping_arm,
    reason = "as in the table: the row of a status stands before \"any other\""
)]
const fn class(status: u16) -> (Class, Option<&'static str>) {
    match status {
        // With a JSON object it would be a launch.
        200..=299 => (Class::Unknown, Some(fix::NOT_JSON)),
        300..=399 => (Class::Misdirected, Some(fix::REDIRECT)),
        400 => (Class::Refused, Some(fix::BAD_REQUEST)),
        401 => (Class::Unauthorized, Some(fix::UNAUTHORIZED)),
        403 => (Class::Forbidden, Some(fix::FORBIDDEN)),
        404 => (Class::Refused, Some(fix::NOT_FOUND)),
        405 => (Class::Refused, Some(fix::METHOD)),
        407 => (Class::Refused, Some(fix::PROXY)),
        408 => (Class::Unknown, Some(fix::LOOK)),
        409 => (Class::Refused, Some(fix::CONFLICT)),
        410 => (Class::Refused, Some(fix::GONE)),
        413 => (Class::Refused, Some(fix::TOO_LARGE)),
        415 => (Class::Refused, Some(fix::MEDIA_TYPE)),
        422 => (Class::Refused, Some(fix::TYPES)),
        // 425 and 503 say that nothing was begun.
        425 | 503 => (Class::Transient, None),
        429 => (Class::Throttled, None),
        // Refused before anything started, as every 4xx but 408 is.
        400..=499 => (Class::Refused, Some(fix::OTHER)),
        // 500, 502, 504, and those that the vendor does not list (a CDN's 520 to 527 among them): whoever answers so may
        // have passed the launch on. And what is no status of HTTP at all (1xx, 600 and up) decides nothing either.
        _ => (Class::Unknown, Some(fix::LOOK)),
    }
}

/// The failure that an answer stands for.
pub fn failure(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Failure {
    let (class, fix) = class(status.as_u16());
    let said = answer::error_body(body);
    let message = if status.is_redirection() {
        redirect(headers)
    } else if status.is_success() {
        format!(
            "the answer is not a JSON object: {}",
            said.message.as_deref().unwrap_or("it is empty")
        )
    } else {
        said.message
            .unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason given").to_owned())
    };
    let retry_after = match class {
        Class::Throttled => retry_after::throttled(headers, &message, now),
        Class::Transient | Class::Unknown => retry_after::header(headers, now),
        Class::Unreachable | Class::Refused | Class::Forbidden | Class::Unauthorized | Class::Misdirected => None,
    };
    Failure {
        status: Some(status.as_u16()),
        code: said.code,
        fix,
        correlation_id: correlation_id(headers).or(said.correlation_id),
        retry_after,
        ..Failure::new(class, message)
    }
}

/// Where to, by host alone: the rest of a location can hold anything.
fn redirect(headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).and_then(|to| Url::parse(to.to_str().ok()?).ok());
    match location.as_ref().and_then(Url::host_str) {
        Some(host) => format!("a redirect to {host}"),
        None => "a redirect".to_owned(),
    }
}

fn correlation_id(headers: &HeaderMap) -> Option<String> {
    ["inin-correlation-id", "genesys-correlation-id"]
        .iter()
        .find_map(|name| answer::identifier(headers.get(*name)?.to_str().ok()?.trim()))
}

#[cfg(test)]
mod tests;
