//! Follows the control stream, so that what is paused or cancelled for the fleet is known here.

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::Fuse;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::broker::{Destination, Followed, Message, Publish};
use crate::control::{Control, Entry, Reader};

/// How long one confirm may take, and the pause before it is tried again.
const LIMIT: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(500);
/// Between looks for what the stream would forget before long.
const LOOK: Duration = Duration::from_secs(3600);

/// Follows for ever; what is in force is in `control`.
pub async fn follow(publisher: &dyn Publish, control: &Control, followed: &mut mpsc::UnboundedReceiver<Followed>) {
    let mut reader = Reader::new(control.clone());
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut writing = pin!(Fuse::terminated());
    loop {
        tokio::select! {
            next = followed.recv() => match next {
                Some(Followed::Began) => writing.set(write(publisher, reader.began()).fuse()),
                Some(Followed::Entry(entry)) => {
                    if !reader.read(&entry) {
                        tracing::warn!(
                            "an entry of the control stream is not known here: was it written by a newer flowlaunch?"
                        );
                    }
                }
                Some(Followed::Lost(why)) => {
                    writing.set(Fuse::terminated());
                    reader.lost(format!("the control stream cannot be read: {why}"));
                }
                None => return std::future::pending().await,
            },
            () = &mut writing => {}
            _ = look.tick() => renew(publisher, control).await,
        }
    }
}

/// Publishes the marker until it is confirmed: one too many does no harm.
async fn write(publisher: &dyn Publish, marker: Entry) {
    while let Err(error) = publisher
        .publish(Destination::Control, Message::json(marker.encode()), LIMIT)
        .await
    {
        tracing::debug!(%error, "the control stream cannot be written yet");
        sleep(AGAIN).await;
    }
}

/// Writes again what is in force and old.
async fn renew(publisher: &dyn Publish, control: &Control) {
    let Ok(rules) = control.known() else { return };
    for entry in rules.fading(Timestamp::now()) {
        if let Err(error) = publisher
            .publish(Destination::Control, Message::json(entry.encode()), LIMIT)
            .await
        {
            tracing::warn!(%error, "what is paused or cancelled cannot be written again: tried in an hour");
        }
    }
}
