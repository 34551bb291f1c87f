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
const GIVEN_UP: u8 = 3;

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Not a byte was written, and none will be.
    Unsent,
    /// It was handed to the connection: it may have arrived.
    Written,
    /// The last look said no: not a byte was written.
    Withdrawn,
}

/// The sender's end: asks how far the request came.
pub(super) struct Sent(Arc<AtomicU8>);

impl Sent {
    /// How far it came; from now on nothing is written that was not yet.
    ///
    /// Without this a request whose time-out ended the waiting could still lie in the connection's queue, be written a
    /// moment later, and count as unsent.
    pub(super) fn give_up(&self) -> Progress {
        match self
            .0
            .compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire)
        {
            Err(WRITTEN) => Progress::Written,
            Err(WITHDRAWN) => Progress::Withdrawn,
            Ok(_) | Err(_) => Progress::Unsent,
        }
    }
}

// The caller was dropped, while the request may lie in the connection's queue.
impl Drop for Sent {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// A body of these bytes, behind the last look.
pub(super) fn guard<L>(bytes: Bytes, last_look: L) -> (Guarded<L>, Sent)
where
    L: Fn() -> bool + Send + Sync + 'static,
{
    let progress = Arc::new(AtomicU8::new(WAITING));
    (
        Guarded {
            bytes: Some(bytes),
            last_look,
            progress: Arc::clone(&progress),
        },
        Sent(progress),
    )
}

/// The connection's end: the body.
pub(super) struct Guarded<L> {
    bytes: Option<Bytes>,
    last_look: L,
    progress: Arc<AtomicU8>,
}

/// Nothing was written.
#[derive(Debug, thiserror::Error)]
#[error("called off before it was written")]
pub(super) struct CalledOff;

// Nothing in here is ever pinned.
impl<L> Unpin for Guarded<L> {}

impl<L: Fn() -> bool> Guarded<L> {
    fn may_go(&self) -> bool {
        let next = if (self.last_look)() { WRITTEN } else { WITHDRAWN };
        // Fails when the sender gave up in the meantime.
        self.progress
            .compare_exchange(WAITING, next, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
            && next == WRITTEN
    }
}

impl<L: Fn() -> bool> Body for Guarded<L> {
    type Data = Bytes;
    type Error = CalledOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(bytes) = self.bytes.take() else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(if self.may_go() {
            Ok(Frame::data(bytes))
        } else {
            Err(CalledOff)
        }))
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
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn first_poll<L: Fn() -> bool>(body: &mut Guarded<L>) -> bool {
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
        assert!(first_poll(&mut body));
        assert!(body.is_end_stream());
        assert!(!first_poll(&mut body));
        assert_eq!(sent.give_up(), Progress::Written);
    }

    #[test]
    fn withdrawn_by_the_last_look() {
        let (mut body, sent) = guard(Bytes::from_static(b"{}"), || false);
        assert!(!first_poll(&mut body));
        assert_eq!(sent.give_up(), Progress::Withdrawn);
    }

    #[test]
    fn what_was_given_up_or_dropped_is_never_written() {
        let (mut body, sent) = guard(Bytes::from_static(b"{}"), || true);
        assert_eq!(sent.give_up(), Progress::Unsent);
        assert!(!first_poll(&mut body));
        assert_eq!(sent.give_up(), Progress::Unsent);

        let (mut body, sent) = guard(Bytes::from_static(b"{}"), || true);
        drop(sent);
        assert!(!first_poll(&mut body));
    }

    #[test]
    fn given_up_during_the_last_look_is_not_written() {
        let looks = Arc::new(AtomicUsize::new(0));
        let sent = Arc::new(std::sync::Mutex::new(None::<Sent>));
        let (mut body, its) = guard(Bytes::from_static(b"{}"), {
            let (looks, sent) = (Arc::clone(&looks), Arc::clone(&sent));
            move || {
                looks.fetch_add(1, Ordering::Relaxed);
                sent.lock().unwrap().as_ref().unwrap().give_up() == Progress::Unsent
            }
        });
        *sent.lock().unwrap() = Some(its);
        assert!(!first_poll(&mut body));
        assert_eq!(looks.load(Ordering::Relaxed), 1);
    }
}
