//! One runner for each campaign: a lock of the operating system, which is free when its process is gone, however it ended.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Somebody who only looks holds the lock for a moment.
const PATIENCE: Duration = Duration::from_secs(1);

/// The right to run a campaign, until it is dropped.
#[derive(Debug)]
pub struct Hold {
    _lock: File,
}

impl Hold {
    /// Takes it; `None` when somebody has it. The file stays: whoever took it away could not know who waits for it.
    ///
    /// # Errors
    /// When there can be no such file.
    pub fn take(journal: &Path, campaign: &str) -> io::Result<Option<Self>> {
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path(journal, campaign))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Some(Self { _lock: lock })),
                Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(PATIENCE / 50),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Whether somebody has it.
    pub fn is_taken(journal: &Path, campaign: &str) -> bool {
        let Ok(lock) = File::open(path(journal, campaign)) else {
            return false;
        };
        matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

fn path(journal: &Path, campaign: &str) -> PathBuf {
    let mut name = journal.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{campaign}.lock"));
    journal.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_runs_a_campaign_and_others_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("campaigns.db");
        assert!(!Hold::is_taken(&journal, "spring"));
        let hold = Hold::take(&journal, "spring").unwrap().unwrap();
        assert!(Hold::is_taken(&journal, "spring"));
        assert!(Hold::take(&journal, "spring").unwrap().is_none());
        assert!(Hold::take(&journal, "autumn").unwrap().is_some(), "another campaign");
        drop(hold);
        assert!(!Hold::is_taken(&journal, "spring"));
        assert!(Hold::take(&journal, "spring").unwrap().is_some());
    }
}
