//! Reading without taking: dead letters, and the log of results. In short pages, so that the file's log of writes can be
//! folded back in between.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::super::{BoxFuture, Browse, BrowseError, Message};
use super::store::Store;

/// Rows read at once.
const PAGE: usize = 200;
/// Between looks for new results.
const LOOK: Duration = Duration::from_millis(50);

/// Opens the file anew for each look.
#[derive(Debug)]
pub(super) struct Browser {
    pub(super) path: PathBuf,
}

/// One page: what comes after a number, so many at most.
type Page = fn(&Store, i64, usize) -> Result<Vec<(i64, Message)>, rusqlite::Error>;

impl Browser {
    async fn read(&self, after: i64, most: usize, page: Page) -> Result<Vec<(i64, Message)>, BrowseError> {
        let path = self.path.clone();
        let reading = spawn_blocking(move || -> Result<_, BrowseError> {
            let store = Store::open(&path, false).map_err(told)?;
            let mut all: Vec<(i64, Message)> = Vec::new();
            while all.len() < most {
                let last = all.last().map_or(after, |(number, _)| *number);
                let rows = page(&store, last, PAGE.min(most - all.len())).map_err(told)?;
                if rows.is_empty() {
                    break;
                }
                all.extend(rows);
            }
            Ok(all)
        });
        reading.await.map_err(told)?
    }

    async fn read_results(
        &self,
        after: u64,
        most: usize,
        patience: Duration,
    ) -> Result<Vec<(u64, Message)>, BrowseError> {
        let until = Instant::now() + patience;
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        loop {
            let rows = self.read(after, most, Store::results).await?;
            if !rows.is_empty() || Instant::now() >= until {
                let number = |(number, message): (i64, Message)| (u64::try_from(number).unwrap_or(0), message);
                return Ok(rows.into_iter().map(number).collect());
            }
            sleep(LOOK).await;
        }
    }
}

impl Browse for Browser {
    fn dead(&self, most: usize) -> BoxFuture<'_, Result<Vec<Message>, BrowseError>> {
        Box::pin(async move {
            let letters = self.read(0, most, Store::dead).await?;
            Ok(letters.into_iter().map(|(_, letter)| letter).collect())
        })
    }

    fn results(
        &self,
        after: u64,
        most: usize,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Vec<(u64, Message)>, BrowseError>> {
        Box::pin(self.read_results(after, most, patience))
    }
}

fn told(error: impl std::fmt::Display) -> BrowseError {
    BrowseError(error.to_string())
}
