//! How a launch gets there and back: connections of its own, one request at a time on each.
//!
//! A launch can be a call to a customer, so here nothing is left to a client that may send again by itself:
//! - HTTP/1.1 only: a dying connection takes one request along, not hundreds.
//! - Redirects are answers like any other: a redirected POST can be sent twice.
//! - When a connection that was kept turns out closed, another one is taken, but only with a request that the connection
//!   handed back untouched, its body never polled (hyper's `TrySendError::take_message`).
//! - TLS early data, which can be replayed, stays off (the default of rustls).
//!
//! Whoever waits for an answer drives the connection itself. A task for each connection, to and from which each request
//! and answer is handed, took a tenth of the worker's time (with what reqwest does above hyper). And dropped, a launch
//! takes along all that could still have been written. A connection that is kept for the next launch is driven by nobody;
//! that it was closed meanwhile is seen when it is taken.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::client::proxy::matcher::Matcher;
use rustls::ClientConfig;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use url::Url;

use super::connect::{Stream, Way};
use super::last_look::Guarded;
use super::transport::{self, Answer, BuildError, Gathered, IDLE, JSON, OURSELVES, reason};

/// A body that a socket takes at once, whatever is done with it.
const SMALL: u64 = 16 * 1024;

/// Where launches go.
pub(super) struct Wire {
    way: Way,
    target: Uri,
    connect_timeout: Duration,
    /// What stands on the request line.
    address: Uri,
    /// What each request carries.
    headers: HeaderMap,
    /// Those that wait for a request, since when; the oldest first.
    kept: Mutex<VecDeque<(Instant, Box<Connection>)>>,
    /// Told when one is kept.
    keeping: Notify,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

impl Wire {
    /// The wire to `target`, past these proxies; connects to nothing yet.
    pub(super) fn new(
        which: &'static str,
        target: &Url,
        proxies: &Matcher,
        tls: ClientConfig,
        connect_timeout: Duration,
    ) -> Result<Self, BuildError> {
        let problem = "is no address that a request can carry";
        let unfit = || BuildError::Url { which, problem };
        let uri = transport::uri(which, target)?;
        let way = Way::new(&uri, proxies, tls, connect_timeout);
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(transport::at(target)).map_err(|_| unfit())?);
        headers.insert(USER_AGENT, OURSELVES);
        headers.insert(ACCEPT, JSON);
        headers.insert(CONTENT_TYPE, JSON);
        let mut address = uri.path().parse().map_err(|_| unfit())?;
        if let Some(auth) = way.forward() {
            address = uri.clone();
            headers.extend(auth.map(|auth| (PROXY_AUTHORIZATION, auth.clone())));
        }
        Ok(Self {
            way,
            target: uri,
            connect_timeout,
            address,
            headers,
            kept: Mutex::default(),
            keeping: Notify::new(),
        })
    }

    /// Sends this, once, and reads the answer.
    ///
    /// # Errors
    /// A sentence, when there is not even the head of an answer. A body that breaks off is no error: the status counts.
    pub(super) async fn post(&self, body: Guarded, token: HeaderValue, timeout: Duration) -> Result<Answer, String> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.address.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(AUTHORIZATION, token);
        let mut answer = None;
        let done = timeout_at(Instant::now() + timeout, self.exchange(request, &mut answer)).await;
        match (done, answer) {
            (Ok(Ok(())), Some(answer)) => Ok(answer.whole()),
            (Ok(Err(reason)), Some(answer)) => Ok(answer.cut(reason)),
            (Err(_), Some(answer)) => Ok(answer.cut("it took too long".to_owned())),
            (Ok(Err(reason)), None) => Err(reason),
            (Err(_) | Ok(Ok(())), None) => Err(format!("no answer within {timeout:?}")),
        }
    }

    /// Dropped or failed at any point, `answer` holds what came until then; the connection is closed.
    async fn exchange(&self, request: Request<Guarded>, answer: &mut Option<Gathered>) -> Result<(), String> {
        let is_small = request.body().size_hint().exact().is_some_and(|size| size <= SMALL);
        let (mut connection, response) = self.send(request).await?;
        let (head, mut body) = response.into_parts();
        let answer = answer.insert(Gathered::new(head.status, head.headers));
        while let Some(chunk) = connection.read(&mut body).await {
            answer.add(chunk?)?;
        }
        drop(body);
        // A refusal can come before a large body is read; over TLS the rest of it may then lie in rustls, unseen by hyper,
        // and the next launch would wait behind it.
        let is_sent = is_small || head.status.is_success();
        if is_sent && connection.is_ready() {
            self.kept().push_back((Instant::now(), connection));
            self.keeping.notify_one();
        }
        Ok(())
    }

    async fn send(&self, mut request: Request<Guarded>) -> Result<(Box<Connection>, Response<Incoming>), String> {
        while let Some(mut connection) = self.take() {
            match connection.send(request).await {
                Ok(response) => return Ok((connection, response)),
                Err(mut error) => match error.take_message() {
                    Some(untouched) => request = untouched,
                    None => return Err(reason(error.error())),
                },
            }
        }
        // Boxed: it is rare, and all that it takes would be part of every launch.
        let mut connection = timeout(self.connect_timeout, Box::pin(self.connect()))
            .await
            .map_err(|_| format!("no connection within {:?}", self.connect_timeout))??;
        match connection.send(request).await {
            Ok(response) => Ok((connection, response)),
            Err(error) => Err(reason(error.error())),
        }
    }

    async fn connect(&self) -> Result<Box<Connection>, String> {
        let stream = self.way.connect(&self.target).await?;
        let (requests, driver) = http1::handshake(stream).await.map_err(|error| reason(&error))?;
        Ok(Box::new(Connection {
            requests,
            driver: Some(driver),
        }))
    }

    /// The one that was used last: the others get old, and are closed.
    fn take(&self) -> Option<Box<Connection>> {
        loop {
            let (since, mut connection) = self.kept().pop_back()?;
            if since.elapsed() < IDLE && connection.is_ready() {
                return Some(connection);
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(Instant, Box<Connection>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that nobody has used for a while, and whether they were all. Closed by the caller, for others want the lock.
    fn take_unused(&self) -> (VecDeque<Box<Connection>>, bool) {
        let mut kept = self.kept();
        let old = kept.partition_point(|(since, _)| since.elapsed() >= IDLE);
        let old = kept.drain(..old).map(|(_, connection)| connection).collect();
        (old, kept.is_empty())
    }

    /// Closes connections that nobody has used for a while, for ever. Without this they are never used again either, but
    /// stay open.
    pub(super) async fn close_unused(&self) {
        loop {
            self.keeping.notified().await;
            loop {
                sleep(IDLE).await;
                let (old, is_empty) = self.take_unused();
                old.into_iter().for_each(|connection| connection.close());
                if is_empty {
                    break;
                }
            }
        }
    }
}

/// One connection, and what drives it.
struct Connection {
    requests: SendRequest<Guarded>,
    /// `None` once it has ended.
    driver: Option<Driver>,
}

type Driver = http1::Connection<Box<dyn Stream>, Guarded>;

/// Reads and writes what can be. What comes of it is for the request or the body to tell, which are told by its end too.
fn drive(driver: &mut Option<Driver>, cx: &mut Context<'_>) {
    if driver
        .as_mut()
        .is_some_and(|driver| Pin::new(driver).poll(cx).is_ready())
    {
        *driver = None;
    }
}

impl Connection {
    async fn send(&mut self, request: Request<Guarded>) -> Result<Response<Incoming>, TrySendError<Request<Guarded>>> {
        let mut response = pin!(self.requests.try_send_request(request));
        poll_fn(|cx| {
            drive(&mut self.driver, cx);
            response.as_mut().poll(cx)
        })
        .await
    }

    /// What comes next of a body; `None` at its end.
    async fn read(&mut self, body: &mut Incoming) -> Option<Result<Bytes, String>> {
        if body.is_end_stream() {
            return None;
        }
        poll_fn(|cx| {
            let mut driven = false;
            loop {
                // To ask for it comes first: the connection reads no more than what is asked for.
                match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        // Trailers are nothing to us.
                        if let Ok(data) = frame.into_data() {
                            return Poll::Ready(Some(Ok(data)));
                        }
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(reason(&error)))),
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Pending if driven => return Poll::Pending,
                    Poll::Pending => {
                        drive(&mut self.driver, cx);
                        driven = true;
                    }
                }
            }
        })
        .await
    }

    /// Whether it can take a request, as far as can be seen without waiting.
    fn is_ready(&mut self) -> bool {
        drive(&mut self.driver, &mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.requests.is_ready()
    }

    /// Closes it in good order, as far as that goes without waiting.
    fn close(mut self) {
        drop(self.requests);
        drive(&mut self.driver, &mut Context::from_waker(Waker::noop()));
    }
}
