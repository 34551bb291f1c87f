//! What a request asks for.

use http::Method;

use super::rules::Endpoint;

/// A request, read whole.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) target: Target<'a>,
    pub(crate) authorization: Option<&'a str>,
    pub(crate) content_type: Option<&'a str>,
    /// `None` when it is larger than the API takes.
    pub(crate) body: Option<&'a [u8]>,
    pub(crate) now: i64,
}

/// Where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Token,
    Launch,
    Poll(&'a str),
    /// With its query.
    Flows(&'a str),
    Flow(&'a str),
    NoSuchMethod,
    Nothing,
}

const FLOWS: &str = "/api/v2/flows";
const EXECUTIONS: &str = "/api/v2/flows/executions";

impl<'a> Target<'a> {
    pub(crate) fn of(method: &Method, uri: &'a http::Uri) -> Self {
        let path = uri.path();
        let (wanted, target) = if path == EXECUTIONS {
            (Method::POST, Target::Launch)
        } else if path == "/oauth/token" {
            (Method::POST, Target::Token)
        } else if path == FLOWS {
            (Method::GET, Target::Flows(uri.query().unwrap_or("")))
        } else if let Some(id) = below(path, EXECUTIONS) {
            (Method::GET, Target::Poll(id))
        } else if let Some(id) = below(path, FLOWS) {
            (Method::GET, Target::Flow(id))
        } else {
            return Target::Nothing;
        };
        if *method == wanted {
            target
        } else {
            Target::NoSuchMethod
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        match self {
            Target::Token => Endpoint::Token,
            Target::Launch => Endpoint::Launch,
            Target::Poll(_) => Endpoint::Poll,
            Target::Flows(_) | Target::Flow(_) => Endpoint::Flows,
            Target::NoSuchMethod | Target::Nothing => Endpoint::All,
        }
    }
}

fn below<'a>(path: &'a str, parent: &str) -> Option<&'a str> {
    let id = path.strip_prefix(parent)?.strip_prefix('/')?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}
