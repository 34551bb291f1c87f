//! One request, from its head to its answer.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::answer::Body;
use super::control;
use super::decide::{Leaves, Plan};
use super::errors::error;
use super::record::Mint;
use super::route::{Call, Target};
use super::rules::Endpoint;
use super::settings::Dialect;
use super::state::Shared;
use super::stats::Ending;

/// The API's own limit of a body.
const MOST_BODY: usize = 512_000;
/// So much of a larger one is still read, so that the client hears of the 413 and not of a broken pipe.
const MOST_READ: usize = 16 << 20;

/// What a request does to its connection.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// It is to end with a TCP reset.
    pub(crate) resets: AtomicBool,
    /// It bears control requests, whose answers must arrive although the data port closes.
    pub(crate) controls: AtomicBool,
}

/// The connection is not to be used any more.
#[derive(Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection ends without an answer")
    }
}

impl std::error::Error for Broken {}

/// Answers a request to the data port.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    wire: Arc<Wire>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Broken> {
    if control::is_for(request.uri().path()) {
        if shared.control_apart {
            return Ok(error(Dialect::User, 404).whole());
        }
        return serve_control(shared, wire, request)
            .await
            .map_err(|never| match never {});
    }
    let (head, mut body) = request.into_parts();
    let target = Target::of(&head.method, &head.uri);
    let endpoint = target.endpoint();
    // Dropped with the request, however it ends.
    let _inside = match endpoint {
        Endpoint::Launch => Some(shared.launches.enter()),
        Endpoint::Token => Some(shared.token_requests.enter()),
        Endpoint::Flows | Endpoint::Poll | Endpoint::All => None,
    };
    if resets_on_arrival(&shared, endpoint) {
        return reset(&wire);
    }
    let body = match read(&mut body).await {
        Ok(body) => body,
        Err(Broken) => {
            shared
                .lock()
                .count(endpoint, None, Mint::default(), Ending::Gone, shared.now());
            return Err(Broken);
        }
    };
    let plan = decide(&shared, &head, target, body.as_deref());
    carry_out(&shared, &wire, plan).await
}

/// Answers a request to the control port.
pub(crate) async fn serve_control(
    shared: Arc<Shared>,
    wire: Arc<Wire>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    wire.controls.store(true, Ordering::Relaxed);
    Ok(control::handle(&shared, request).await)
}

fn resets_on_arrival(shared: &Shared, endpoint: Endpoint) -> bool {
    let mut state = shared.lock();
    let now = shared.now();
    let resets = state.faults.resets_on_arrival(endpoint, now);
    if resets {
        state.count(endpoint, None, Mint::default(), Ending::Reset, now);
    }
    resets
}

fn reset(wire: &Wire) -> Result<Response<Body>, Broken> {
    wire.resets.store(true, Ordering::Relaxed);
    Err(Broken)
}

/// The body; `None` when it is larger than the API takes.
async fn read(body: &mut Incoming) -> Result<Option<Vec<u8>>, Broken> {
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Broken)?.into_data() else {
            continue;
        };
        length += data.len();
        if length <= MOST_BODY {
            bytes.extend_from_slice(&data);
        } else if length > MOST_READ {
            break;
        }
    }
    Ok((length <= MOST_BODY).then_some(bytes))
}

fn decide(shared: &Shared, head: &Parts, target: Target<'_>, body: Option<&[u8]>) -> Plan {
    let text = |name: &HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let (authorization, content_type) = (text(&AUTHORIZATION), text(&CONTENT_TYPE));
    let mut state = shared.lock();
    // Read under the lock, so that times never go back from one record to the next.
    let now = shared.now();
    state.decide(&Call {
        target,
        authorization,
        content_type,
        body,
        now,
    })
}

async fn carry_out(shared: &Shared, wire: &Wire, plan: Plan) -> Result<Response<Body>, Broken> {
    let Plan {
        answer,
        leaves,
        delay,
        launch,
    } = plan;
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
        if let Some(seq) = launch {
            // Still here, so the client has waited: hyper drops this future when its connection is gone.
            shared.lock().record.answered(seq, answer.status, true);
        }
    }
    match leaves {
        Leaves::Whole => Ok(answer.whole()),
        Leaves::Cut => Ok(answer.cut()),
        Leaves::Reset => reset(wire),
    }
}
