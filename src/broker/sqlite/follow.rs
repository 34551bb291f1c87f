//! Following the control stream: all that is kept, then what is written.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::super::{Followed, Message};
use super::store::Store;

/// Entries read at once.
const PAGE: usize = 200;
/// Between looks for new entries.
const LOOK: Duration = Duration::from_millis(50);
/// Before a file that cannot be read is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Hands on what is there and what comes, until nobody wants it any more.
pub(super) async fn follow(path: PathBuf, out: mpsc::UnboundedSender<Followed>) {
    while !out.is_closed() {
        let why = session(path.clone(), &out).await;
        let _ = out.send(Followed::Lost(why));
        sleep(AGAIN).await;
    }
}

/// From the first entry on, until the file cannot be read: then the reason.
async fn session(path: PathBuf, out: &mpsc::UnboundedSender<Followed>) -> String {
    let opened = spawn_blocking(move || Store::open(&path, false)).await;
    let mut store = match opened {
        Ok(Ok(store)) => store,
        Ok(Err(error)) => return error.to_string(),
        Err(error) => return error.to_string(),
    };
    let mut after = 0;
    let _ = out.send(Followed::Began);
    while !out.is_closed() {
        let reading = spawn_blocking(move || {
            let page = store.control(after, PAGE);
            (store, page)
        });
        let page: Vec<(i64, Message)> = match reading.await {
            Ok((back, Ok(page))) => {
                store = back;
                page
            }
            Ok((_, Err(error))) => return error.to_string(),
            Err(error) => return error.to_string(),
        };
        if page.is_empty() {
            sleep(LOOK).await;
        }
        for (number, message) in page {
            after = number;
            let _ = out.send(Followed::Entry(message.body));
        }
    }
    "nobody follows any more".to_owned()
}
