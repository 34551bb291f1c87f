//! Cheap reads: what a probe, `check` and a person ask. Nothing can be launched by them, so a network error is never
//! *unknown*, and each may be repeated.

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::transport::{self, Answer};
use super::{AccessToken, Client, classify};
use crate::outcome::{Class, Failure};

/// What is read: the same status means something else for each, and for a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// Flows, page by page.
    Flows,
    /// One flow.
    Flow,
    /// One execution.
    Execution,
}

impl Subject {
    /// What to do about an answer of this status, where that of a launch (`launch`) does not say it.
    const fn fix(self, status: u16, launch: Option<&'static str>) -> Option<&'static str> {
        match (status, self) {
            // The same for whatever is called: redirects, the credentials, the proxy's.
            (300..=399 | 401 | 407, _) => launch,
            (200..=299 | 405, _) => Some(NOT_THE_API),
            (400, Self::Flows) => Some("Check the name and the type that are looked for"),
            (400, Self::Flow) => Some("Check the flow's id"),
            (400, Self::Execution) => Some("Look for it in Architect, by its id"),
            (403, Self::Flows | Self::Flow) => Some(
                "Give the OAuth client a role with the permission architect:flow:view, which launching does not need; a \
                 change takes up to five minutes",
            ),
            (403, Self::Execution) => Some(
                "Give the OAuth client a role with the permission architect:flowExecution:view (a scope-based client: \
                 the scope flow:execution:read); a change takes up to five minutes",
            ),
            (404, Self::Flows) => Some("This is not the API of flows: check api.region or api.base_url"),
            (404 | 410, Self::Flow) => {
                Some("No flow has this id in this organisation and region: `flowlaunch flows` lists those there are")
            }
            (404 | 410, Self::Execution) => Some("Executions are kept for some days: look for it in Architect"),
            _ => None,
        }
    }
}

const NOT_THE_API: &str = "This is not the API: check api.region or api.base_url";
const REACH: &str = "Check the network, the proxy, api.region or api.base_url";

/// What the API says about its rate limit; `None` where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateHeaders {
    /// Requests counted in this window.
    pub count: Option<u64>,
    /// Requests allowed in it.
    pub allowed: Option<u64>,
    /// Seconds that are left of it.
    pub reset: Option<u64>,
}

impl RateHeaders {
    fn read(headers: &HeaderMap) -> Self {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse().ok();
        Self {
            count: number("inin-ratelimit-count"),
            allowed: number("inin-ratelimit-allowed"),
            reset: number("inin-ratelimit-reset"),
        }
    }
}

/// A flow, as far as a person choosing one needs it, and one who launches it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Flow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its type, such as `workflow`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The version that a launch runs; absent, it cannot be launched.
    pub published_version: Option<Version>,
    /// What it is launched with, as a JSON Schema; the API need not say it.
    pub input_schema: Option<Value>,
}

/// A version of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Version {
    /// Its id.
    pub id: Option<String>,
}

/// Which flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowQuery {
    /// Part of the name.
    pub name: Option<String>,
    /// The type, such as `workflow`.
    pub kind: Option<String>,
}

/// A page of flows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FlowPage {
    /// The flows.
    pub entities: Vec<Flow>,
    /// How many pages there are, if the API says so.
    page_count: Option<u32>,
}

impl FlowPage {
    /// Whether there is a page after this one, the one with number `number`.
    pub fn has_next(&self, number: u32) -> bool {
        match self.page_count {
            Some(count) => number < count,
            None => self.entities.len() >= PAGE,
        }
    }
}

/// Flows on a page: the most that the API gives.
const PAGE: usize = 100;

impl Client {
    /// A page of the flows that match; the first has number 1.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn flows(&self, query: &FlowQuery, number: u32, token: &AccessToken) -> Result<FlowPage, Failure> {
        let mut url = self.flows.clone();
        {
            let mut pairs = url.query_pairs_mut();
            pairs.append_pair("pageSize", &PAGE.to_string());
            pairs.append_pair("pageNumber", &number.to_string());
            if let Some(name) = &query.name {
                // Who writes a star knows how to ask.
                let asked = if name.contains('*') {
                    name.clone()
                } else {
                    format!("*{name}*")
                };
                pairs.append_pair("name", &asked);
            }
            if let Some(kind) = &query.kind {
                pairs.append_pair("type", kind);
            }
        }
        let answer = self.read(url, Subject::Flows, token).await?;
        serde_json::from_slice(&answer.body).map_err(|_| strange(&answer, "flows in an unknown form"))
    }

    /// The cheapest read there is: passes when the API takes this token.
    ///
    /// # Errors
    /// When it does not, or cannot be reached.
    pub async fn probe(&self, token: &AccessToken) -> Result<RateHeaders, Failure> {
        let mut url = self.flows.clone();
        url.set_query(Some("pageSize=1"));
        let answer = self.read(url, Subject::Flows, token).await?;
        Ok(RateHeaders::read(&answer.headers))
    }

    /// The flow of this id.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub async fn flow(&self, id: &str, token: &AccessToken) -> Result<Flow, Failure> {
        let mut url = self.flows.clone();
        // As one segment, so that no id can reach another path. (Err: a URL without a host, refused by `endpoint`.)
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(id);
        }
        let answer = self.read(url, Subject::Flow, token).await?;
        serde_json::from_slice(&answer.body).map_err(|_| strange(&answer, "a flow in an unknown form"))
    }

    pub(super) async fn read(&self, url: Url, subject: Subject, token: &AccessToken) -> Result<Answer, Failure> {
        let at = transport::at(&url).to_owned();
        let mut request = reqwest::Request::new(Method::GET, url);
        request.headers_mut().insert(AUTHORIZATION, token.header());
        let mut answer = transport::exchange(&self.http, request, self.timeout)
            .await
            .map_err(|reason| Failure {
                fix: Some(REACH),
                ..Failure::new(
                    Class::Unreachable,
                    format!("the API at {at} cannot be reached: {reason}"),
                )
            })?;
        answer.hide(token.secret());
        // A page with 200 from whatever else stands there is no API.
        match classify(answer.status, &answer.headers, &answer.body, Timestamp::now()) {
            Ok(_) => Ok(answer),
            Err(mut failure) => {
                failure.fix = subject.fix(answer.status.as_u16(), failure.fix);
                if failure.class == Class::Unknown {
                    failure.class = Class::Unreachable;
                }
                Err(failure)
            }
        }
    }
}

/// An object, but not the one that was asked for.
pub(super) fn strange(answer: &Answer, what: &str) -> Failure {
    Failure {
        status: Some(answer.status.as_u16()),
        fix: Some(NOT_THE_API),
        ..Failure::new(Class::Unreachable, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{Peer, answer, settings};

    async fn probe(bytes: &str) -> (Result<RateHeaders, Failure>, String) {
        let peer = Peer::bind().await;
        let client = Client::new(&settings(&peer.url())).unwrap();
        let token = AccessToken::for_tests("t0ken");
        let (result, request) = tokio::join!(client.probe(&token), peer.serve(bytes));
        (result, request)
    }

    #[tokio::test]
    async fn a_probe_is_one_small_read() {
        let ok = "HTTP/1.1 200 OK\r\ninin-ratelimit-count: 1\r\ninin-ratelimit-allowed: 180\r\ninin-ratelimit-reset: 61\r\n\
                  content-length: 15\r\n\r\n{\"entities\":[]}";
        let (result, request) = probe(ok).await;
        assert_eq!(
            result,
            Ok(RateHeaders {
                count: Some(1),
                allowed: Some(180),
                reset: Some(61)
            })
        );
        assert!(
            request.starts_with("GET /api/v2/flows?pageSize=1 HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("authorization: Bearer t0ken\r\n"), "{request}");
    }

    #[tokio::test]
    async fn a_probe_fails_as_the_answer_says() {
        for (bytes, class) in [
            (answer(401, r#"{"code":"bad.credentials"}"#), Class::Unauthorized),
            (answer(200, "<html>Welcome</html>"), Class::Unreachable),
            (answer(500, "{}"), Class::Unreachable),
            (answer(301, ""), Class::Misdirected),
            (String::new(), Class::Unreachable),
        ] {
            assert_eq!(probe(&bytes).await.0.unwrap_err().class, class, "{bytes}");
        }
    }

    #[tokio::test]
    async fn a_flow_is_read_by_its_id() {
        let peer = Peer::bind().await;
        let client = Client::new(&settings(&peer.url())).unwrap();
        let token = AccessToken::for_tests("t0ken");
        let body = answer(
            200,
            r#"{"id":"f1","name":"Call","type":"workflow","publishedVersion":{"id":"3.0"},"inputSchema":{"type":"object"},
                "x":1}"#,
        );
        let (flow, request) = tokio::join!(client.flow("f1/../x", &token), peer.serve(&body));
        let flow = flow.unwrap();
        assert_eq!(flow.published_version.unwrap().id.as_deref(), Some("3.0"));
        assert_eq!(flow.input_schema.unwrap()["type"], "object");
        assert!(
            request.starts_with("GET /api/v2/flows/f1%2F..%2Fx HTTP/1.1"),
            "{request}"
        );
    }

    #[tokio::test]
    async fn what_to_do_about_a_status_is_that_of_the_read_and_not_of_a_launch() {
        let token = AccessToken::for_tests("t0ken");
        for (status, flows, flow, execution) in [
            (400, "the name and the type", "the flow's id", "in Architect"),
            (
                403,
                "architect:flow:view",
                "architect:flow:view",
                "architect:flowExecution:view",
            ),
            (403, "architect:flow:view", "architect:flow:view", "flow:execution:read"),
            (404, "not the API of flows", "`flowlaunch flows`", "kept for some days"),
            (401, "client_secret", "client_secret", "client_secret"),
            (302, "not the API", "not the API", "not the API"),
        ] {
            let peer = Peer::bind().await;
            let client = Client::new(&settings(&peer.url())).unwrap();
            let bytes = answer(status, r#"{"message":"m"}"#);
            let query = FlowQuery::default();
            let (failures, _) = tokio::join!(
                async {
                    [
                        client.flows(&query, 1, &token).await.unwrap_err(),
                        client.flow("f", &token).await.unwrap_err(),
                        client.execution("e", &token).await.unwrap_err(),
                    ]
                },
                async {
                    for _ in 0..3 {
                        peer.serve(&bytes).await;
                    }
                }
            );
            for (failure, wanted) in failures.iter().zip([flows, flow, execution]) {
                let fix = failure.fix.unwrap();
                assert!(
                    fix.contains(wanted) && !fix.contains("flow:launch"),
                    "{status}: {failure}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_for_anywhere_unless_it_has_a_star() {
        let token = AccessToken::for_tests("t0ken");
        for (name, asked) in [("order", "name=*order*"), ("order*", "name=order*&")] {
            let peer = Peer::bind().await;
            let client = Client::new(&settings(&peer.url())).unwrap();
            let query = FlowQuery {
                name: Some(name.to_owned()),
                kind: Some("workflow".to_owned()),
            };
            let page = answer(200, r#"{"entities":[]}"#);
            let (_, request) = tokio::join!(client.flows(&query, 1, &token), peer.serve(&page));
            assert!(request.contains(asked), "{request}");
        }
    }
}
