//! The data port, open or closed: a closed one refuses connections, as a host does whose server is down.

use tokio::sync::watch;
use tokio::time::{Duration, Instant};

/// What the data port should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Open,
    /// Closed, until a moment or until told otherwise.
    Closed(Option<Instant>),
}

/// The wish of whoever controls, and the fact as the server makes it so.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) wish: watch::Sender<Wish>,
    pub(crate) is_open: watch::Sender<bool>,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            wish: watch::Sender::new(Wish::Open),
            is_open: watch::Sender::new(true),
        }
    }
}

impl Door {
    /// Opens or closes, and returns when that is a fact.
    pub(crate) async fn set(&self, wish: Wish) {
        let mut is_open = self.is_open.subscribe();
        let is_so = *is_open.borrow_and_update() == (wish == Wish::Open);
        self.wish.send_replace(wish);
        if !is_so {
            // A change and not the value is awaited: a port closed for a moment may be open again by now.
            // The sender lives as long as `self`, so the wait cannot fail.
            let _ = is_open.changed().await;
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.is_open.borrow()
    }

    /// Returns when the port should close.
    pub(crate) async fn closing(&self) {
        let _ = self.wish.subscribe().wait_for(|wish| *wish != Wish::Open).await;
    }

    /// Returns when the port should open again.
    pub(crate) async fn opening(&self) {
        let mut wishes = self.wish.subscribe();
        loop {
            let wish = *wishes.borrow_and_update();
            let until = match wish {
                Wish::Open => return,
                Wish::Closed(until) => until.unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400)),
            };
            tokio::select! {
                _ = wishes.changed() => {}
                () = tokio::time::sleep_until(until) => {
                    if matches!(wish, Wish::Closed(Some(_))) {
                        self.wish.send_if_modified(|now| (*now == wish).then(|| *now = Wish::Open).is_some());
                    }
                }
            }
        }
    }
}
