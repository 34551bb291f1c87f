//! Keeps a session alive: builds it, waits for its end, and builds the next one with backoff, for ever.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::super::Link;

/// Pauses between sessions that fail one after the other.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A session that stood this long was a good one: the next pause is the shortest again.
const STOOD: Duration = Duration::from_secs(30);

/// Why a session ended, when nobody asked it to.
#[derive(Debug)]
pub(super) struct Ended {
    /// In a sentence.
    pub(super) why: String,
    /// Try again at once: the next session will do something else about it.
    pub(super) at_once: bool,
}

impl<E: std::fmt::Display> From<E> for Ended {
    fn from(error: E) -> Self {
        Self {
            why: error.to_string(),
            at_once: false,
        }
    }
}

/// One side of the broker: what it does from connecting to its end.
pub(super) trait Session: Send + 'static {
    /// Runs one session. `link` is set to up (and to blocked and back) by the session itself. Returns `Ok` when it was
    /// asked to end.
    fn run(&mut self, link: &watch::Sender<Link>) -> impl Future<Output = Result<(), Ended>> + Send;
}

/// Runs sessions until `stop` is cancelled.
pub(super) async fn forever(
    side: &'static str,
    stop: CancellationToken,
    link: watch::Sender<Link>,
    mut session: impl Session,
) {
    let mut pause = FIRST_PAUSE;
    while !stop.is_cancelled() {
        let began = Instant::now();
        // A session that panics is a bug of ours, and one more that ended: without its side the worker would go on, and each
        // launch of it would go unreported.
        let ended = AssertUnwindSafe(session.run(&link)).catch_unwind().await;
        match ended.unwrap_or_else(|_| Err("it panicked, which is a bug".into())) {
            Ok(()) => break,
            Err(Ended { why, at_once }) => {
                let was_up = link.borrow().is_up();
                if was_up || link.borrow().clone() != Link::Down(why.clone()) {
                    warn!(side, reason = %why, "the broker session ended; building a new one");
                }
                link.send_replace(Link::Down(why));
                if began.elapsed() >= STOOD {
                    pause = FIRST_PAUSE;
                }
                if !at_once {
                    // Half fixed, half random: a fleet does not come back in step.
                    let jittered = pause.mul_f64(0.5 + rand::random::<f64>() / 2.0);
                    tokio::select! {
                        () = sleep(jittered) => {}
                        () = stop.cancelled() => break,
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
    link.send_replace(Link::Down("stopped".to_owned()));
    info!(side, "the broker session is closed");
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Clumsy {
        runs: u32,
    }

    impl Session for Clumsy {
        async fn run(&mut self, link: &watch::Sender<Link>) -> Result<(), Ended> {
            link.send_replace(Link::Up);
            tokio::task::yield_now().await;
            self.runs += 1;
            assert_ne!(self.runs, 1, "as a bug would");
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_panics_is_followed_by_another_one() {
        let (link, mut seen) = watch::channel(Link::Down("not connected yet".to_owned()));
        let story = async {
            seen.wait_for(|link| matches!(link, Link::Down(why) if why.contains("panicked")))
                .await
                .unwrap();
            seen.wait_for(|link| *link == Link::Down("stopped".to_owned()))
                .await
                .unwrap();
        };
        tokio::join!(
            story,
            forever("publishing", CancellationToken::new(), link, Clumsy { runs: 0 })
        );
    }
}
