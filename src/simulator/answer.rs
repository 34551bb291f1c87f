//! Answers, and the ways in which their bodies leave.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use serde::Serialize;

use super::lines::Which;
use super::state::Shared;

/// An answer before it is put on the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &'static str, body: Bytes) -> Self {
        Self {
            status,
            headers: vec![(CONTENT_TYPE, HeaderValue::from_static(content_type))],
            body,
        }
    }

    pub(crate) fn json(status: u16, body: &impl Serialize) -> Self {
        // Serialising to memory fails only for maps whose keys are not strings; there are none.
        Self::new(
            status,
            "application/json",
            serde_json::to_vec(body).unwrap_or_default().into(),
        )
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// Adds a header; one that cannot be sent is left out (rules are checked for that when they are set).
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value.as_ref())) {
            self.headers.retain(|(given, _)| *given != name);
            self.headers.push((name, value));
        }
        self
    }

    pub(crate) fn correlated(self, context: String) -> Self {
        self.with("inin-correlation-id", context)
    }

    pub(crate) fn is_correlated(&self) -> bool {
        self.headers.iter().any(|(name, _)| name == "inin-correlation-id")
    }

    /// The answer as it should be.
    pub(crate) fn whole(self) -> Response<Body> {
        let body = Body::Whole(self.body.clone());
        self.response(body)
    }

    /// The answer with half of its body, under a length that promises all of it.
    pub(crate) fn cut(self) -> Response<Body> {
        let half = self.body.slice(..self.body.len() / 2);
        // An empty body has no half: promise one byte, send none.
        let promised = self.body.len().max(1);
        let mut response = self.response(Body::Cut(Cut::Half(half)));
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(promised));
        response
    }

    fn response(self, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().extend(self.headers);
        response
    }
}

/// A body on its way out.
pub(crate) enum Body {
    Whole(Bytes),
    Cut(Cut),
    /// A log, page by page, so that a million lines never stand in memory at once.
    Pages(Pages),
}

/// The stages of a body that ends too soon.
pub(crate) enum Cut {
    Half(Bytes),
    /// One turn for the connection to write what it has, because an error discards it.
    Flush,
    Broken,
}

pub(crate) struct Pages {
    shared: Arc<Shared>,
    which: Which,
    after: u64,
    left: usize,
}

impl Pages {
    /// Records per page: the lock is held while a page is written.
    const PAGE: usize = 500;

    pub(crate) fn new(shared: Arc<Shared>, which: Which, after: u64, most: usize) -> Self {
        Self {
            shared,
            which,
            after,
            left: most,
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        let most = self.left.min(Self::PAGE);
        let (text, last) = self.shared.lock().page(self.which, self.after, most);
        self.left -= most;
        self.after = last;
        (!text.is_empty()).then(|| text.into())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Body::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Cut(cut) => Poll::Ready(Some(ready!(cut.poll(context)))),
            Body::Pages(pages) => Poll::Ready(pages.next().map(|page| Ok(Frame::data(page)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Cut(_) | Body::Pages(_) => SizeHint::default(),
        }
    }
}

impl Cut {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Frame<Bytes>, std::io::Error>> {
        match self {
            Cut::Half(half) => {
                let half = std::mem::take(half);
                *self = Cut::Flush;
                Poll::Ready(Ok(Frame::data(half)))
            }
            Cut::Flush => {
                *self = Cut::Broken;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Cut::Broken => Poll::Ready(Err(std::io::Error::other("cut short by a rule"))),
        }
    }
}
