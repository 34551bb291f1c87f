//! Following what is written in order: the control stream from its first entry, the results' log from a number.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::super::{Followed, FollowedResult, Message};
use super::store::Store;

/// Results that wait for their reader.
pub(super) const WAITING: usize = 1000;
/// Entries read at once.
const PAGE: usize = 200;
/// Between looks for new entries.
const LOOK: Duration = Duration::from_millis(50);
/// Before a file that cannot be read is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// One page: what comes after a number, so many at most.
type Page = fn(&Store, i64, usize) -> Result<Vec<(i64, Message)>, rusqlite::Error>;

/// Hands on what is there of the control stream and what comes, until nobody wants it any more.
pub(super) async fn control(path: PathBuf, out: mpsc::UnboundedSender<Followed>) {
    while !out.is_closed() {
        let Err(why) = control_session(path.clone(), &out).await else {
            return;
        };
        let _ = out.send(Followed::Lost(why));
        sleep(AGAIN).await;
    }
}

/// From the first entry on, until the file cannot be read: then the reason.
async fn control_session(path: PathBuf, out: &mpsc::UnboundedSender<Followed>) -> Result<(), String> {
    let mut file = File::open(path).await?;
    let mut after = 0;
    let _ = out.send(Followed::Began);
    while !out.is_closed() {
        for (number, message) in file.next(Store::control, after).await? {
            after = number;
            let _ = out.send(Followed::Entry(message.body));
        }
    }
    Ok(())
}

/// Hands on the results after a number and those that come, until nobody wants them any more.
pub(super) async fn results(path: PathBuf, after: u64, since: Option<u64>, out: mpsc::Sender<FollowedResult>) {
    let mut after = i64::try_from(after).unwrap_or(i64::MAX);
    while !out.is_closed() {
        let Err(why) = results_session(path.clone(), &mut after, since, &out).await else {
            return;
        };
        let _ = out.send(FollowedResult::Lost(why)).await;
        sleep(AGAIN).await;
    }
}

/// On from the last one handed on, until the file cannot be read: then the reason.
async fn results_session(
    path: PathBuf,
    after: &mut i64,
    since: Option<u64>,
    out: &mpsc::Sender<FollowedResult>,
) -> Result<(), String> {
    let mut file = File::open(path).await?;
    if file.read(Store::last_result).await? < *after {
        tracing::warn!(after, "the results' log was made anew: it is read from its first");
        *after = 0;
    }
    if let Some(second) = since.filter(|_| *after == 0) {
        *after = file.read(move |store| store.last_result_before(second)).await?;
    }
    let mut going = out.send(FollowedResult::Began).await;
    while going.is_ok() && !out.is_closed() {
        for (number, message) in file.next(Store::results, *after).await? {
            going = out.send(FollowedResult::Result(number.unsigned_abs(), message)).await;
            if going.is_err() {
                break;
            }
            *after = number;
        }
    }
    Ok(())
}

/// The file, read by a thread that may wait for a disk.
struct File(Option<Store>);

impl File {
    async fn open(path: PathBuf) -> Result<Self, String> {
        match spawn_blocking(move || Store::open(&path, false)).await {
            Ok(Ok(store)) => Ok(Self(Some(store))),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What comes after a number; when there is nothing, the answer takes a moment.
    async fn next(&mut self, page: Page, after: i64) -> Result<Vec<(i64, Message)>, String> {
        let page = self.read(move |store| page(store, after, PAGE)).await?;
        if page.is_empty() {
            sleep(LOOK).await;
        }
        Ok(page)
    }

    async fn read<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(&Store) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, String> {
        let store = self.0.take().ok_or("the file was given up")?;
        let reading = spawn_blocking(move || {
            let read = read(&store);
            (store, read)
        });
        let (store, read) = reading.await.map_err(|error| error.to_string())?;
        self.0 = Some(store);
        read.map_err(|error| error.to_string())
    }
}
