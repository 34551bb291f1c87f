//! Is everything there that a worker needs? Looks at broker and API, changes nothing and launches nothing.

use std::fmt;
use std::path::Path;

use crate::api::{Client, Flow, RateHeaders, Settings as ApiSettings, Tokens, Version};
use crate::broker::amqp::Site;
use crate::broker::amqp::inspect::{Inspection, inspect};
use crate::broker::settings::Declare;
use crate::broker::sqlite::{OpenError, Sqlite};
use crate::outcome::{Class, Failure};

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// As it should be.
    Ok,
    /// A person has to do something.
    Fix,
    /// Not yet as it should be, and mends itself; or worth knowing.
    Note,
    /// Nobody can tell in this way.
    Unseen,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Fix => "FIX",
            Self::Note => "note",
            Self::Unseen => "?",
        })
    }
}

/// One line of the answer.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Finding {
    /// How it stands.
    pub standing: Standing,
    /// What was looked at.
    pub what: &'static str,
    /// What was seen, and what to do about it.
    pub detail: String,
}

/// All lines, in the order in which things were looked at.
#[derive(Debug, Default, serde::Serialize)]
#[serde(transparent)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds a line.
    pub fn add(&mut self, standing: Standing, what: &'static str, detail: impl Into<String>) {
        self.0.push(Finding {
            standing,
            what,
            detail: detail.into(),
        });
    }

    /// The lines.
    pub fn lines(&self) -> &[Finding] {
        &self.0
    }

    /// How many things a person has to do.
    pub fn to_fix(&self) -> usize {
        self.0.iter().filter(|line| line.standing == Standing::Fix).count()
    }
}

/// The broker: does it let us in, and does the topology stand?
pub async fn broker(site: &Site, findings: &mut Findings) {
    let seen = match inspect(site).await {
        Ok(seen) => seen,
        Err(error) => return findings.add(Standing::Fix, "broker", error.to_string()),
    };
    let at = site.endpoint.at();
    findings.add(Standing::Ok, "broker", format!("{at} lets us in"));
    topology(site, &seen, findings);
    if let Some(detail) = waiting(&seen) {
        findings.add(Standing::Ok, "queues", detail);
    }
    let mut unseen = "a policy with max-length on a lane. A full lane holds up every retry: look with `rabbitmqctl \
                      list_policies`"
        .to_owned();
    if site.declare == Declare::Verify {
        unseen.push_str(". Nor bindings: a missing one shows as dead letters");
    }
    if seen.uncompared > 0 {
        unseen.push_str(&format!(
            ". Nor the arguments of {} objects, which this account may not declare",
            seen.uncompared
        ));
    }
    findings.add(
        Standing::Unseen,
        "limits",
        format!("cannot be seen over AMQP: {unseen}"),
    );
}

/// The embedded broker: can its file be used? It is not made for this.
pub fn embedded(path: &Path, create: bool, findings: &mut Findings) {
    let name = path.display();
    let seen = match Sqlite::inspect(path) {
        Ok(seen) => seen,
        Err(OpenError::Missing { .. }) if create => {
            let detail = format!("{name} is not there yet; the first worker or publisher makes it");
            return findings.add(Standing::Note, "broker", detail);
        }
        Err(error) => return findings.add(Standing::Fix, "broker", error.to_string()),
    };
    findings.add(Standing::Ok, "broker", format!("embedded: {name} can be used"));
    let waiting = |queue: &str| {
        seen.messages
            .iter()
            .find(|(name, _)| *name == queue)
            .and_then(|(_, count)| *count)
    };
    let detail = format!(
        "waiting: {} in lane normal, {} in lane bulk, {} delayed; {} in the hands of {} workers; {} dead letters",
        waiting("normal").unwrap_or(0),
        waiting("bulk").unwrap_or(0),
        waiting("delayed").unwrap_or(0),
        waiting("in hand").unwrap_or(0),
        seen.other_consumers,
        waiting("dead").unwrap_or(0),
    );
    findings.add(Standing::Ok, "queues", detail);
}

fn topology(site: &Site, seen: &Inspection, findings: &mut Findings) {
    let all = site.topology.exchanges.len() + site.topology.queues.len();
    for fault in &seen.faults {
        findings.add(Standing::Fix, "topology", fault.to_string());
    }
    match (seen.missing.as_slice(), site.declare) {
        ([], _) if seen.faults.is_empty() => {
            findings.add(
                Standing::Ok,
                "topology",
                format!("all {all} exchanges and queues stand"),
            );
        }
        ([], _) => {}
        (missing, Declare::Create) => {
            let detail = format!("{} missing; the first worker or publisher makes it", some(missing, all));
            findings.add(Standing::Note, "topology", detail);
        }
        (missing, Declare::Verify) => {
            let detail = format!(
                "{} missing, and broker.declare is \"verify\": run `flowlaunch topology apply` with an account that may \
                 declare",
                some(missing, all)
            );
            findings.add(Standing::Fix, "topology", detail);
        }
    }
}

/// `queue a is`, or how many of how many are.
fn some(missing: &[String], all: usize) -> String {
    match missing {
        [one] => format!("{one} is"),
        [first, ..] if missing.len() < all => format!("{} of {all} objects ({first}, …) are", missing.len()),
        _ => format!("all {all} exchanges and queues are"),
    }
}

fn waiting(seen: &Inspection) -> Option<String> {
    let [(normal, on_normal), (bulk, on_bulk)] = [seen.lanes[0]?, seen.lanes[1]?];
    let workers = on_normal.max(on_bulk);
    Some(format!(
        "waiting: {normal} in lane normal, {bulk} in lane bulk; {} dead letters; workers connected: {workers}",
        seen.dead?
    ))
}

/// The API: does the login give a token, and does the API answer with it?
/// With a flow's id: is it there, and published?
pub async fn api(
    settings: &ApiSettings,
    client: &Client,
    tokens: &Tokens,
    flow_id: Option<&str>,
    findings: &mut Findings,
) {
    let token = match tokens.get().await {
        Ok(token) => token,
        Err(failure) => {
            findings.add(standing(&failure), "token", said(&failure));
            let detail = "cannot be seen without a token";
            return findings.add(Standing::Unseen, "api", detail);
        }
    };
    findings.add(Standing::Ok, "token", format!("{} gives one", settings.login_url));
    match client.probe(&token).await {
        Ok(rate) => {
            findings.add(Standing::Ok, "api", format!("{} answers", settings.base_url));
            allowance(&rate, findings);
        }
        Err(failure) if failure.status == Some(403) => findings.add(
            Standing::Note,
            "api",
            format!(
                "{} answers, but this client may not list flows (architect:flow:view); launching does not need it",
                settings.base_url
            ),
        ),
        Err(failure) => findings.add(standing(&failure), "api", said(&failure)),
    }
    if let Some(id) = flow_id {
        flow(id, client.flow(id, &token).await, findings);
    }
    findings.add(
        Standing::Unseen,
        "launch permission",
        "cannot be seen without launching: architect:flow:launch (scope flow:execution:write)",
    );
}

fn flow(id: &str, read: Result<Flow, Failure>, findings: &mut Findings) {
    let (standing, detail) = match read {
        Ok(flow) => {
            let name = flow.name.as_deref().unwrap_or(id).to_owned();
            match flow.published_version {
                Some(Version { id: Some(version) }) => {
                    (Standing::Ok, format!("{name}: version {version} is published"))
                }
                Some(Version { id: None }) => (Standing::Ok, format!("{name} is published")),
                None => (
                    Standing::Fix,
                    format!("{name} has no published version, so it cannot be launched: publish it in Architect"),
                ),
            }
        }
        Err(failure) if failure.status == Some(404) => (
            Standing::Fix,
            format!(
                "no flow has the id {id} in this organisation and region: `flowlaunch flows` lists those there are"
            ),
        ),
        Err(failure) if failure.status == Some(403) => (
            Standing::Unseen,
            "cannot be seen without the permission architect:flow:view".to_owned(),
        ),
        Err(failure) => (standing(&failure), said(&failure)),
    };
    findings.add(standing, "flow", detail);
}

/// A quota that is in use is nothing to fix.
fn standing(failure: &Failure) -> Standing {
    match failure.class {
        Class::Throttled => Standing::Note,
        Class::Unreachable
        | Class::Transient
        | Class::Unknown
        | Class::Refused
        | Class::Forbidden
        | Class::Unauthorized
        | Class::Misdirected => Standing::Fix,
    }
}

fn said(failure: &Failure) -> String {
    match failure.class {
        Class::Throttled => format!("the quota is in use just now, so look again later: {failure}"),
        Class::Transient => format!("{failure}. Look again later"),
        Class::Unreachable
        | Class::Unknown
        | Class::Refused
        | Class::Forbidden
        | Class::Unauthorized
        | Class::Misdirected => failure.to_string(),
    }
}

fn allowance(rate: &RateHeaders, findings: &mut Findings) {
    let (standing, detail) = match (rate.count, rate.allowed, rate.reset) {
        (Some(count), Some(allowed), Some(reset)) => (
            Standing::Ok,
            format!("{count} of {allowed} calls used in this window, {reset} s left of it"),
        ),
        _ => (
            Standing::Unseen,
            "the API says nothing about it: limits.rate has to be what your contract allows".to_owned(),
        ),
    };
    findings.add(standing, "rate limit", detail);
}
