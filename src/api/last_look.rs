//! The last look, and whether a request was written: a body that is asked for only when it is about to go out.
//!
//! hyper's HTTP/1 dispatcher (`proto/h1/dispatch.rs`, `poll_write`) puts the head into its buffer, then polls the body, and
//! flushes both afterwards; a known content length changes nothing. It would flush the head alone if the body were not
//! ready, or the head filled the buffer (400 KB): ours is always ready, and the head is small. A body that fails there ends
//! the connection with the head still unsent. So the first poll is the last moment before a byte is written, and what
//! happened until then is known for certain.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

const WAITING: u8 = 0;
const WRITTEN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Not a byte was written.
    Unsent,
    /// It was handed to the connection: it may have arrived.
    Written,
    /// The last look said no: not a byte was written.
    Withdrawn,
}

/// The sender's end: tells how far the request came.
pub(super) struct Sent(Arc<AtomicU8>);

impl Sent {
    /// How far it came. That is the end of it only once the sending is over: whoever gives it up drops the request together
    /// with its connection (see `wire`), so that nothing of it can be written a moment later.
    pub(super) fn progress(&self) -> Progress {
        match self.0.load(Ordering::Acquire) {
            WRITTEN => Progress::Written,
            WITHDRAWN => Progress::Withdrawn,
            _ => Progress::Unsent,
        }
    }
}

/// A body of these bytes, behind the last look.
pub(super) fn guard<L>(bytes: Bytes, last_look: L) -> (Guarded, Sent)
where
    L: Fn() -> bool + Send + Sync + 'static,
{
    let progress = Arc::new(AtomicU8::new(WAITING));
    (
        Guarded {
            bytes: Some(bytes),
            last_look: Box::new(last_look),
            progress: Arc::clone(&progress),
        },
        Sent(progress),
    )
}

/// The connection's end: the body.
pub(super) struct Guarded {
    bytes: Option<Bytes>,
    last_look: Box<dyn Fn() -> bool + Send + Sync>,
    progress: Arc<AtomicU8>,
}

/// Nothing was written.
#[derive(Debug, thiserror::Error)]
#[error("called off before it was written")]
pub(super) struct CalledOff;

impl Body for Guarded {
    type Data = Bytes;
    type Error = CalledOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(bytes) = self.bytes.take() else {
            return Poll::Ready(None);
        };
        let may_go = (self.last_look)();
        self.progress
            .store(if may_go { WRITTEN } else { WITHDRAWN }, Ordering::Release);
        Poll::Ready(Some(if may_go { Ok(Frame::data(bytes)) } else { Err(CalledOff) }))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_poll(body: &mut Guarded) -> bool {
        match Pin::new(body).poll_frame(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(Some(frame)) => frame.is_ok(),
            Poll::Ready(None) | Poll::Pending => false,
        }
    }

    #[test]
    fn written_from_the_first_poll_on() {
        let (mut body, sent) = guard(Bytes::from_static(b"{}"), || true);
        assert_eq!(body.size_hint().exact(), Some(2));
        assert!(!body.is_end_stream());
        assert_eq!(sent.progress(), Progress::Unsent);
        assert!(first_poll(&mut body));
        assert!(body.is_end_stream());
        assert!(!first_poll(&mut body));
        assert_eq!(sent.progress(), Progress::Written);
    }

    #[test]
    fn withdrawn_by_the_last_look() {
        let (mut body, sent) = guard(Bytes::from_static(b"{}"), || false);
        assert!(!first_poll(&mut body));
        assert_eq!(sent.progress(), Progress::Withdrawn);
    }
}
