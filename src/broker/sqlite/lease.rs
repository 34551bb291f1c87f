//! Who holds what ends with the process that holds it.
//!
//! A process that takes messages keeps a lock file locked for as long as it lives; the operating system unlocks it when the
//! process ends, however it ends. Whoever finds it unlocked gives back what that process held. No clock plays a part: a
//! laptop that was suspended with jobs in hand still has its lock when it wakes, and nobody has launched them meanwhile.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The lock of this process on one file; free when it is dropped, or the process is gone.
#[derive(Debug)]
pub(super) struct Lease {
    name: String,
    path: PathBuf,
    _lock: File,
}

/// Where the locks of the file's holders lie: one place, by whichever link the file is reached.
pub(super) fn folder(database: &Path) -> PathBuf {
    let real = database.canonicalize().unwrap_or_else(|_| database.to_owned());
    let mut name = real.into_os_string();
    name.push("-holders");
    name.into()
}

impl Lease {
    /// A new one, locked before anybody can know of it.
    pub(super) fn take(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let name = format!("{}.lock", uuid::Uuid::new_v4());
        let path = folder.join(&name);
        let lock = OpenOptions::new().write(true).create_new(true).open(&path)?;
        lock.lock()?;
        Ok(Self {
            name,
            path,
            _lock: lock,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Gives it up; the file goes too.
    pub(super) fn end(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The lock of a holder that is gone, taken by whoever clears up after it: only one can.
#[derive(Debug)]
pub(super) struct Estate {
    path: PathBuf,
    _lock: Option<File>,
}

impl Estate {
    /// `None` while the holder lives, or somebody else clears up.
    pub(super) fn of(folder: &Path, name: &str, pid: u32) -> io::Result<Option<Self>> {
        let path = folder.join(name);
        let lock = match OpenOptions::new().write(true).open(&path) {
            Ok(file) => match file.try_lock() {
                Ok(()) => Some(file),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            },
            // A holder that ends in order is struck off first: somebody else has deleted the file. Then no lock tells
            // whether it lives, and to be wrong would be to call customers twice.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if is_running(pid) {
                    tracing::debug!(
                        pid,
                        lock = name,
                        "a lock file is gone, and a process of that number runs: what it held stays with it until it ends"
                    );
                    return Ok(None);
                }
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Some(Self { path, _lock: lock }))
    }

    /// What it left behind has been cleared up.
    pub(super) fn close(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether there is a process of that number; yes, when nobody can tell.
fn is_running(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return true };
    let gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH);
    !gone
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No process has this number.
    const NOBODY: u32 = i32::MAX as u32;

    #[test]
    fn a_lock_is_free_when_its_process_lets_go_and_one_alone_inherits() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(&dir.path().join("jobs.db"));
        let lease = Lease::take(&folder).unwrap();
        let name = lease.name().to_owned();
        assert!(Estate::of(&folder, &name, NOBODY).unwrap().is_none(), "it lives");
        drop(lease);
        let estate = Estate::of(&folder, &name, NOBODY).unwrap().expect("it is gone");
        assert!(
            Estate::of(&folder, &name, NOBODY).unwrap().is_none(),
            "somebody clears up"
        );
        estate.close();
        assert!(!folder.join(&name).exists());
        let lease = Lease::take(&folder).unwrap();
        let name = lease.name().to_owned();
        lease.end();
        assert!(Estate::of(&folder, &name, NOBODY).unwrap().is_some());
        assert!(
            Estate::of(&folder, &name, std::process::id()).unwrap().is_none(),
            "a lock that somebody deleted says nothing of a process that runs"
        );
    }
}
