//! What waits in the file and who consumes it, counted with a connection of its own: a long count holds up nobody.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::super::QueueReport;
use super::lease::{self, Estate};
use super::store::{Counts, Store};

/// Counts for ever; `ours` is how many of the processes that consume this one is.
pub(super) async fn run(path: PathBuf, report: watch::Sender<QueueReport>, every: Duration, ours: u32) {
    let mut every = interval(every);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut store = None;
    loop {
        every.tick().await;
        let path = path.clone();
        let looking = spawn_blocking(move || {
            let seen = look(&path, &mut store);
            (seen, store)
        });
        let Ok((seen, back)) = looking.await else { return };
        store = back;
        let seen = seen
            .inspect_err(|error| tracing::warn!(%error, "the queues cannot be counted"))
            .ok();
        let alive = seen.map(|(_, alive)| alive);
        report.send_replace(QueueReport {
            messages: messages(seen.map(|(counts, _)| counts)),
            consumers: [alive; 2],
            other_consumers: alive.unwrap_or(0).saturating_sub(ours),
            ..QueueReport::default()
        });
    }
}

/// Counts once; the file stays open for the next time.
fn look(path: &Path, kept: &mut Option<Store>) -> anyhow::Result<(Counts, u32)> {
    let store = match kept {
        Some(store) => store,
        None => kept.insert(Store::open(path, false)?),
    };
    Ok((store.counts()?, alive(store)?))
}

/// The processes that consume, or could at any time.
pub(super) fn alive(store: &Store) -> Result<u32, rusqlite::Error> {
    let folder = lease::folder(store.path());
    let holders = store.holders()?;
    let alive = holders
        .iter()
        .filter(|holder| matches!(Estate::of(&folder, &holder.lock, holder.pid), Ok(None)))
        .count();
    Ok(u32::try_from(alive).unwrap_or(u32::MAX))
}

/// Messages by the names that both brokers have for their queues.
pub(super) fn messages(counts: Option<Counts>) -> Vec<(&'static str, Option<u32>)> {
    let of = |count: fn(&Counts) -> u32| counts.as_ref().map(count);
    vec![
        ("normal", of(|c| c.lanes[0])),
        ("bulk", of(|c| c.lanes[1])),
        ("track", of(|c| c.track)),
        ("dead", of(|c| c.dead)),
        ("delayed", of(|c| c.delayed)),
    ]
}
