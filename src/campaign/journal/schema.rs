//! The journal's file: its schema, and why it cannot be used.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::Journal;

/// `camp`, where SQLite keeps what kind of file it is.
pub(super) const APPLICATION: i32 = 0x6361_6d70;
/// The schema's version. A file of a newer one is refused.
pub(super) const VERSION: i32 = 1;
/// How long another process may hold the file's write lock.
pub(super) const LOCKED: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
    CREATE TABLE run (
        id            INTEGER PRIMARY KEY,
        name          TEXT NOT NULL,
        number        INTEGER NOT NULL,
        digest        TEXT NOT NULL,
        source        TEXT NOT NULL,
        settings      TEXT NOT NULL,
        state         TEXT NOT NULL,
        reason        TEXT,
        trouble       TEXT,
        created_ms    INTEGER NOT NULL,
        results_after INTEGER NOT NULL DEFAULT 0,
        UNIQUE (name, number)
    );
    CREATE TABLE row (
        run          INTEGER NOT NULL REFERENCES run,
        line         INTEGER NOT NULL,
        key          TEXT,
        flow_id      TEXT NOT NULL,
        inputs       TEXT NOT NULL,
        zone         TEXT,
        state        TEXT NOT NULL,
        published_ms INTEGER,
        expires_ms   INTEGER,
        window       INTEGER NOT NULL DEFAULT 0,
        track        INTEGER NOT NULL DEFAULT 0,
        sent         INTEGER NOT NULL DEFAULT 0,
        execution_id TEXT,
        attempts     INTEGER NOT NULL DEFAULT 0,
        reason       TEXT,
        error        TEXT,
        finished_ms  INTEGER,
        PRIMARY KEY (run, line),
        UNIQUE (run, key)
    ) WITHOUT ROWID;
    CREATE INDEX standing ON row (run, state, zone, line);
    CREATE INDEX finished ON row (run, finished_ms) WHERE finished_ms IS NOT NULL;
";

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not there, and whoever only looks makes none.
    #[error("no campaign was run here: {} is not there (campaign.journal)", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is something else.
    #[error("{} is a file of something else, not a journal of campaigns: set campaign.journal to another path", path.display())]
    Stranger {
        /// The file.
        path: PathBuf,
    },
    /// A newer program made it.
    #[error("{} was made by a newer flowlaunch (its version is {version}, this one knows {VERSION}): use that one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i32,
    },
    /// Anything else.
    #[error("cannot use the journal {}: {why}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        why: rusqlite::Error,
    },
}

pub(super) fn open(path: &Path, create: bool) -> Result<Journal, OpenError> {
    let other = |why| OpenError::Other {
        path: path.to_owned(),
        why,
    };
    if !path.exists() && !create {
        return Err(OpenError::Missing { path: path.to_owned() });
    }
    // SQLite takes a file below its smallest page for an empty database of its own.
    if path.metadata().is_ok_and(|file| (1..512).contains(&file.len())) {
        return Err(OpenError::Stranger { path: path.to_owned() });
    }
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
    let mut connection = Connection::open_with_flags(path, flags).map_err(other)?;
    connection.busy_timeout(LOCKED).map_err(other)?;
    match until_free(|| prepare(&mut connection)) {
        Ok((APPLICATION, version)) if version > VERSION => Err(OpenError::Newer {
            path: path.to_owned(),
            version,
        }),
        Ok((APPLICATION, _)) => Ok(Journal {
            connection,
            path: path.to_owned(),
        }),
        Ok(_) => Err(OpenError::Stranger { path: path.to_owned() }),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
            Err(OpenError::Stranger { path: path.to_owned() })
        }
        Err(error) => Err(other(error)),
    }
}

/// Two who make the file at once: the change to WAL is refused to one of them, without the wait for a lock.
fn until_free<T>(mut prepare: impl FnMut() -> Result<T, rusqlite::Error>) -> Result<T, rusqlite::Error> {
    let until = Instant::now() + LOCKED;
    loop {
        match prepare() {
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) && Instant::now() < until =>
            {
                sleep(Duration::from_millis(20));
            }
            done => return done,
        }
    }
}

/// Makes the tables where there are none; what kind of file it is, and of which version. A file that is made already is
/// only read: whoever looks need not wait for whoever writes.
fn prepare(connection: &mut Connection) -> Result<(i32, i32), rusqlite::Error> {
    let read = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let kind = (read("application_id")?, read("user_version")?);
    if kind.0 == APPLICATION {
        connection.pragma_update(None, "synchronous", "FULL")?;
        return Ok(kind);
    }
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let pragma = |name: &str| tx.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if (pragma("application_id")?, pragma("user_version")?, tables) == (0, 0, 0) {
        tx.execute_batch(SCHEMA)?;
        tx.pragma_update(None, "application_id", APPLICATION)?;
        tx.pragma_update(None, "user_version", VERSION)?;
    }
    let kind = (pragma("application_id")?, pragma("user_version")?);
    tx.commit()?;
    if kind.0 == APPLICATION {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A commit is on the disk when it returns.
        connection.pragma_update(None, "synchronous", "FULL")?;
    }
    Ok(kind)
}
