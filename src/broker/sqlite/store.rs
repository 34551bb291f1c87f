//! The file: its schema, and every statement that is made on it. Synchronous; what is durable is so when a transaction
//! has been committed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use super::super::Source;
use super::super::message::{Message, Properties, Value};
use super::super::topology::DELIVERY_LIMIT;
use super::properties;
use crate::lane::Lane;

/// `flow`, where SQLite keeps what kind of file it is.
const APPLICATION: i32 = 0x666c_6f77;
/// The schema's version. A file of a newer one is refused, one of an older is brought up to it.
const VERSION: i32 = 1;
/// How long another process may hold the file's write lock before we say so.
const LOCKED: Duration = Duration::from_secs(5);
/// Between looks whether it has been let go.
const LOOK: Duration = Duration::from_micros(250);
/// Between tries to open a file that another process is making.
const AGAIN: Duration = Duration::from_millis(5);
/// One claim takes this many bytes of bodies and the one that exceeds them: a thousand jobs of 500 kB are not fetched at
/// once.
const CLAIM_BYTES: usize = 8 << 20;
/// How long an entry of the control stream is kept; on RabbitMQ it is the same.
const KEEP_CONTROL: Duration = Duration::from_secs(30 * 86_400);
/// Pruned at once, so that nobody waits for it.
const PRUNE: i64 = 500;

const SCHEMA: &str = "
    CREATE TABLE message (
        id          INTEGER PRIMARY KEY,
        queue       INTEGER NOT NULL,
        due_ms      INTEGER NOT NULL,
        holder      INTEGER,
        returns     INTEGER NOT NULL DEFAULT 0,
        redelivered INTEGER NOT NULL DEFAULT 0,
        properties  BLOB NOT NULL,
        body        BLOB NOT NULL
    );
    CREATE INDEX waiting ON message (queue, due_ms, id) WHERE holder IS NULL;
    CREATE INDEX held ON message (holder) WHERE holder IS NOT NULL;
    CREATE INDEX dead ON message (id) WHERE queue = 2;
    CREATE TABLE holder (
        id       INTEGER PRIMARY KEY AUTOINCREMENT,
        lock     TEXT NOT NULL,
        pid      INTEGER NOT NULL,
        consumes INTEGER NOT NULL
    );
    CREATE TABLE control (
        seq        INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ms      INTEGER NOT NULL,
        properties BLOB NOT NULL,
        body       BLOB NOT NULL
    );
    CREATE TABLE result (
        seq        INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ms      INTEGER NOT NULL,
        key        TEXT NOT NULL,
        properties BLOB NOT NULL,
        body       BLOB NOT NULL
    );
";

const DEAD: &str = "SELECT id, properties, body FROM message INDEXED BY dead WHERE queue = 2 AND holder IS NULL AND id > ?1 ORDER BY id LIMIT ?2";

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not there, and is not to be made.
    #[error("{} is not there, and broker.declare is \"verify\": let a command with \"create\" make it", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is something else.
    #[error("{} is a file of something else, not of flowlaunch: give another path", path.display())]
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
    /// Locks do not hold there.
    #[error("{} lies on a network file system ({kind}), where locks do not hold: put it on a local disk, or use RabbitMQ", path.display())]
    Network {
        /// The file.
        path: PathBuf,
        /// What it lies on.
        kind: &'static str,
    },
    /// Another program holds its lock.
    #[error("{} is locked by another program: end that one, or wait for it", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It has a second name: each would have a log of its own, and neither know of the other's.
    #[error("{} is reached by another name too ({how}), and used by both it would be damaged: link or mount its folder instead", path.display())]
    Shared {
        /// The file.
        path: PathBuf,
        /// What makes it so.
        how: &'static str,
    },
    /// It is damaged.
    #[error("{} is damaged: move it away with all files whose names begin so, or bring back a copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Its folder is not there.
    #[error("{} cannot be made: there is no folder {}", path.display(), folder.display())]
    NoFolder {
        /// The file.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// It may not be written.
    #[error("{} cannot be written, only read: give this user the right to write it and its folder", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// There is no room for it.
    #[error("the disk that holds {} is full: make room", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot use {}: {why}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// The system's or SQLite's words.
        why: String,
    },
}

impl OpenError {
    pub(super) fn of(path: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Stranger { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path },
            Some(ErrorCode::CannotOpen) if path.parent().is_some_and(|folder| !folder.exists()) => Self::NoFolder {
                folder: path.parent().unwrap_or(&path).to_owned(),
                path,
            },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path },
            _ => Self::Other {
                path,
                why: error.to_string(),
            },
        }
    }
}

/// Where a message waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    Source(Source),
    Dead,
}

impl Queue {
    const fn number(self) -> i64 {
        match self {
            Self::Source(Source::Lane(Lane::Normal)) => 0,
            Self::Source(Source::Lane(Lane::Bulk)) => 1,
            Self::Dead => 2,
            Self::Source(Source::Track) => 3,
        }
    }
}

/// A message that was claimed.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) id: i64,
    pub(super) returns: u32,
    pub(super) redelivered: bool,
    pub(super) message: Message,
}

/// What a claim brought.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<Claimed>,
    /// When there is more to be had: now (`Some(0)`), at this time, or when somebody publishes.
    pub(super) more_at: Option<i64>,
}

/// What waits where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) lanes: [u32; 2],
    pub(super) track: u32,
    pub(super) delayed: u32,
    pub(super) dead: u32,
    /// In the hands of processes, living or not.
    pub(super) held: u32,
}

/// A process that holds messages, or could.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) id: i64,
    /// The name of its lock file.
    pub(super) lock: String,
    pub(super) pid: u32,
}

/// A connection to the file.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    path: PathBuf,
}

/// No database has less than one page.
const SMALLEST_PAGE: u64 = 512;

/// Milliseconds of the epoch.
pub(super) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// The first millisecond that is not before now and so much more.
pub(super) fn due_ms(delay: Duration) -> i64 {
    let micros = Timestamp::now().as_microsecond();
    let delay = i64::try_from(delay.as_micros()).unwrap_or(i64::MAX / 4);
    micros.saturating_add(delay).saturating_add(999).div_euclid(1000)
}

impl Store {
    /// Opens the file, making it when it is not there and `create` says so.
    pub(super) fn open(path: &Path, create: bool) -> Result<Self, OpenError> {
        if !create && !path.exists() {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        super::place::fit(path)?;
        // SQLite has names of its own for what is no file; an absolute path is none of them.
        let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        // SQLite takes a file of less than a page for an empty one, and would write over somebody's note.
        if path
            .metadata()
            .is_ok_and(|file| (1..SMALLEST_PAGE).contains(&file.len()))
        {
            return Err(OpenError::Stranger { path: path.to_owned() });
        }
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if create {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let connection = Connection::open_with_flags(path, flags).map_err(|error| OpenError::of(path, &error))?;
        let mut store = Self {
            connection,
            path: path.to_owned(),
        };
        let begun = Instant::now();
        loop {
            match store.prepare(create) {
                Ok(prepared) => return prepared.map(|()| store),
                // Where two make the file at once, the change to WAL is refused without the wait that all else has.
                Err(error) if is_busy(&error) && begun.elapsed() < LOCKED => std::thread::sleep(AGAIN),
                Err(error) => return Err(OpenError::of(path, &error)),
            }
        }
    }

    /// Sees to it that the file is ours and of our version.
    fn prepare(&mut self, create: bool) -> Result<Result<(), OpenError>, rusqlite::Error> {
        self.connection.busy_handler(Some(wait_for_lock))?;
        let path = self.path.clone();
        if self.connection.is_readonly("main")? {
            return Ok(Err(OpenError::ReadOnly { path }));
        }
        let look = |tx: &Transaction<'_>| -> Result<(i32, i32, i64), rusqlite::Error> {
            Ok((
                tx.pragma_query_value(None, "application_id", |row| row.get(0))?,
                tx.pragma_query_value(None, "user_version", |row| row.get(0))?,
                tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?,
            ))
        };
        // In one transaction: another process may be making the file just now.
        let mut seen = look(&self.connection.transaction()?)?;
        if seen == (0, 0, 0) && create {
            // Before the first table, or it has no effect. Only then is it nobody's file.
            self.connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
            self.connection.pragma_update(None, "journal_mode", "WAL")?;
            let tx = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Another process may have been first.
            if look(&tx)? == (0, 0, 0) {
                tx.execute_batch(SCHEMA)?;
                tx.pragma_update(None, "application_id", APPLICATION)?;
                tx.pragma_update(None, "user_version", VERSION)?;
            }
            tx.commit()?;
            seen = look(&self.connection.transaction()?)?;
        }
        let (application, version, _) = seen;
        if application != APPLICATION {
            return Ok(Err(OpenError::Stranger { path }));
        }
        if version > VERSION {
            return Ok(Err(OpenError::Newer { path, version }));
        }
        self.connection.pragma_update(None, "journal_mode", "WAL")?;
        // A commit is on the disk when it returns.
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        self.connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        self.connection.set_prepared_statement_cache_capacity(32);
        Ok(Ok(()))
    }

    /// Runs `work` in one transaction; all of it is durable when this returns, or none.
    pub(super) fn commit<T>(
        &mut self,
        work: impl FnOnce(&Writing<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, rusqlite::Error> {
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let writing = Writing { tx };
        let done = work(&writing)?;
        writing.tx.commit()?;
        Ok(done)
    }

    /// A disk with room for so many pages of 4 KiB.
    #[cfg(test)]
    pub(super) fn limit(&self, pages: u32) {
        let limited = self.connection.pragma_update(None, "max_page_count", pages);
        limited.expect("a number is taken");
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// When the oldest result was told.
    pub(super) fn oldest_result(&self) -> Result<Option<i64>, rusqlite::Error> {
        self.connection
            .prepare_cached("SELECT at_ms FROM result ORDER BY seq LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()
    }

    /// A number that changes when another connection has committed.
    pub(super) fn data_version(&self) -> Result<i64, rusqlite::Error> {
        self.connection
            .pragma_query_value(None, "data_version", |row| row.get(0))
    }

    /// What waits where.
    pub(super) fn counts(&self) -> Result<Counts, rusqlite::Error> {
        let now = now_ms();
        let count = |sql: &str, queue: i64| -> Result<u32, rusqlite::Error> {
            self.connection
                .prepare_cached(sql)?
                .query_row(params![queue, now], |row| row.get(0))
        };
        const READY: &str = "SELECT count(*) FROM message WHERE holder IS NULL AND queue = ?1 AND due_ms <= ?2";
        const DELAYED: &str = "SELECT count(*) FROM message WHERE holder IS NULL AND queue = ?1 AND due_ms > ?2";
        let mut counts = Counts::default();
        for source in Source::ALL {
            let queue = Queue::Source(source).number();
            let ready = count(READY, queue)?;
            match source {
                Source::Lane(lane) => counts.lanes[lane as usize] = ready,
                Source::Track => counts.track = ready,
            }
            counts.delayed += count(DELAYED, queue)?;
        }
        counts.dead = count(READY, Queue::Dead.number())?;
        counts.held =
            self.connection
                .query_row("SELECT count(*) FROM message WHERE holder IS NOT NULL", [], |row| {
                    row.get(0)
                })?;
        Ok(counts)
    }

    /// Dead letters, the oldest first: up to `most` of those after the one with number `after`.
    pub(super) fn dead(&self, after: i64, most: usize) -> Result<Vec<(i64, Message)>, rusqlite::Error> {
        self.page(DEAD, after, most)
    }

    /// Results, the oldest first: up to `most` of those after the one with number `after`.
    pub(super) fn results(&self, after: i64, most: usize) -> Result<Vec<(i64, Message)>, rusqlite::Error> {
        self.page(
            "SELECT seq, properties, body FROM result WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            after,
            most,
        )
    }

    /// The number of the last result that was told before this second; 0 when none was.
    pub(super) fn last_result_before(&self, second: u64) -> Result<i64, rusqlite::Error> {
        let before = i64::try_from(second.saturating_mul(1000)).unwrap_or(i64::MAX);
        self.connection
            .prepare_cached("SELECT coalesce(max(seq), 0) FROM result WHERE at_ms < ?1")?
            .query_row([before], |row| row.get(0))
    }

    /// The number of the last result that was told, kept or forgotten: SQLite remembers it.
    pub(super) fn last_result(&self) -> Result<i64, rusqlite::Error> {
        let last = self
            .connection
            .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'result'")?
            .query_row([], |row| row.get(0))
            .optional()?;
        Ok(last.unwrap_or(0))
    }

    /// Entries of the control stream: up to `most` of those after the one with number `after`.
    pub(super) fn control(&self, after: i64, most: usize) -> Result<Vec<(i64, Message)>, rusqlite::Error> {
        self.page(
            "SELECT seq, properties, body FROM control WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            after,
            most,
        )
    }

    fn page(&self, sql: &str, after: i64, most: usize) -> Result<Vec<(i64, Message)>, rusqlite::Error> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![after, most], |row| Ok((row.get(0)?, message(row, 1)?)))?;
        rows.collect()
    }

    /// The locks of the processes that hold messages, or could.
    pub(super) fn holders(&self) -> Result<Vec<Holder>, rusqlite::Error> {
        let mut statement = self.connection.prepare_cached("SELECT id, lock, pid FROM holder")?;
        let rows = statement.query_map([], |row| {
            Ok(Holder {
                id: row.get(0)?,
                lock: row.get(1)?,
                pid: row.get(2)?,
            })
        })?;
        rows.collect()
    }

    /// Gives room that is free back to the file system, a little at a time.
    pub(super) fn shrink(&self) -> Result<(), rusqlite::Error> {
        let free: i64 = self
            .connection
            .pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        let all: i64 = self
            .connection
            .pragma_query_value(None, "page_count", |row| row.get(0))?;
        // What is free is used again; only a file that is mostly empty is made smaller.
        if free > 1000 && free > all / 2 {
            // A page a row: what is not asked for is not done.
            let mut freed = self.connection.prepare("PRAGMA incremental_vacuum(1000)")?;
            let mut pages = freed.query([])?;
            while pages.next()?.is_some() {}
        }
        Ok(())
    }
}

/// A transaction.
pub(super) struct Writing<'a> {
    tx: Transaction<'a>,
}

impl Writing<'_> {
    /// Puts a message where it is to wait.
    pub(super) fn put(&self, queue: Queue, due_ms: i64, message: &Message) -> Result<(), rusqlite::Error> {
        self.tx
            .prepare_cached("INSERT INTO message (queue, due_ms, properties, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![
                queue.number(),
                due_ms,
                properties::encode(&message.properties),
                &*message.body
            ])?;
        Ok(())
    }

    /// Writes something that changes nothing: whether the file can be written.
    pub(super) fn touch(&self) -> Result<(), rusqlite::Error> {
        self.tx.pragma_update(None, "user_version", VERSION)
    }

    /// Adds a result to the log.
    pub(super) fn tell(&self, key: &str, message: &Message) -> Result<(), rusqlite::Error> {
        self.tx
            .prepare_cached("INSERT INTO result (at_ms, key, properties, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![
                now_ms(),
                key,
                properties::encode(&message.properties),
                &*message.body
            ])?;
        Ok(())
    }

    /// Adds an entry to the control stream, and forgets those that are too old: whoever follows has written again by then
    /// what is in force.
    pub(super) fn command(&self, message: &Message) -> Result<(), rusqlite::Error> {
        let keep = i64::try_from(KEEP_CONTROL.as_millis()).unwrap_or(i64::MAX);
        self.tx
            .prepare_cached("DELETE FROM control WHERE at_ms < ?1")?
            .execute(params![now_ms().saturating_sub(keep)])?;
        self.tx
            .prepare_cached("INSERT INTO control (at_ms, properties, body) VALUES (?1, ?2, ?3)")?
            .execute(params![
                now_ms(),
                properties::encode(&message.properties),
                &*message.body
            ])?;
        Ok(())
    }

    /// Takes up to `room` messages of a source that are due, the longest due first.
    pub(super) fn claim(&self, source: Source, holder: i64, room: usize) -> Result<Batch, rusqlite::Error> {
        let (queue, now) = (Queue::Source(source).number(), now_ms());
        let mut batch = Batch::default();
        let mut bytes = 0;
        let mut select = self.tx.prepare_cached(
            "SELECT id, returns, redelivered, properties, body FROM message
             WHERE holder IS NULL AND queue = ?1 AND due_ms <= ?2 ORDER BY due_ms, id LIMIT ?3",
        )?;
        let mut rows = select.query(params![queue, now, i64::try_from(room).unwrap_or(i64::MAX)])?;
        while let Some(row) = rows.next()? {
            let message = message(row, 3)?;
            bytes += message.body.len();
            batch.messages.push(Claimed {
                id: row.get(0)?,
                returns: row.get(1)?,
                redelivered: row.get(2)?,
                message,
            });
            if bytes > CLAIM_BYTES {
                break;
            }
        }
        drop(rows);
        let mut hold = self.tx.prepare_cached("UPDATE message SET holder = ?1 WHERE id = ?2")?;
        for claimed in &batch.messages {
            hold.execute(params![holder, claimed.id])?;
        }
        batch.more_at = self
            .tx
            .prepare_cached("SELECT min(due_ms) FROM message WHERE holder IS NULL AND queue = ?1")?
            .query_row(params![queue], |row| row.get(0))?;
        Ok(batch)
    }

    /// Forgets a message: its next place is safe, or it is done.
    pub(super) fn forget(&self, id: i64, holder: i64) -> Result<(), rusqlite::Error> {
        self.tx
            .prepare_cached("DELETE FROM message WHERE id = ?1 AND holder = ?2")?
            .execute(params![id, holder])?;
        Ok(())
    }

    /// Puts a message back where it came from.
    pub(super) fn give_back(&self, id: i64, holder: i64) -> Result<(), rusqlite::Error> {
        let returns: Option<i64> = self
            .tx
            .prepare_cached(
                "UPDATE message SET holder = NULL, redelivered = 1, returns = returns + 1
                 WHERE id = ?1 AND holder = ?2 RETURNING returns",
            )?
            .query_row(params![id, holder], |row| row.get(0))
            .optional()?;
        match returns {
            Some(returns) if returns > DELIVERY_LIMIT => self.bury(id),
            Some(_) | None => Ok(()),
        }
    }

    /// Makes a dead letter of a message that came back too often; it says so in the header that RabbitMQ uses.
    fn bury(&self, id: i64) -> Result<(), rusqlite::Error> {
        let (queue, encoded): (i64, Vec<u8>) = self
            .tx
            .prepare_cached("SELECT queue, properties FROM message WHERE id = ?1")?
            .query_row(params![id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut properties = decode(&encoded);
        let from = Source::ALL
            .into_iter()
            .find(|source| Queue::Source(*source).number() == queue);
        let from = from.map_or("-", Source::as_str);
        for (name, value) in [
            ("x-first-death-reason", "delivery_limit"),
            ("x-first-death-queue", from),
        ] {
            properties.headers.0.push((name.to_owned(), Value::from(value)));
        }
        self.tx
            .prepare_cached("UPDATE message SET queue = 2, due_ms = ?1, properties = ?2 WHERE id = ?3")?
            .execute(params![now_ms(), properties::encode(&properties), id])?;
        Ok(())
    }

    /// A process that is about to hold messages: its number.
    pub(super) fn join(&self, lock: &str, consumes: bool) -> Result<i64, rusqlite::Error> {
        self.tx
            .prepare_cached("INSERT INTO holder (lock, pid, consumes) VALUES (?1, ?2, ?3) RETURNING id")?
            .query_row(params![lock, std::process::id(), consumes], |row| row.get(0))
    }

    /// A process that holds nothing any more: whatever it held goes back. How much that was.
    pub(super) fn leave(&self, holder: i64) -> Result<usize, rusqlite::Error> {
        let held: Vec<i64> = self
            .tx
            .prepare_cached("SELECT id FROM message WHERE holder = ?1")?
            .query_map(params![holder], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for id in &held {
            self.give_back(*id, holder)?;
        }
        self.tx
            .prepare_cached("DELETE FROM holder WHERE id = ?1")?
            .execute(params![holder])?;
        Ok(held.len())
    }

    /// Forgets results that are older than that, some at a time; whether there are more.
    pub(super) fn prune(&self, before_ms: i64) -> Result<bool, rusqlite::Error> {
        let first: Option<i64> = self
            .tx
            .prepare_cached("SELECT seq FROM result ORDER BY seq LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        let Some(first) = first else { return Ok(false) };
        let pruned = self
            .tx
            .prepare_cached("DELETE FROM result WHERE seq < ?1 AND at_ms < ?2")?
            .execute(params![first + PRUNE, before_ms])?;
        Ok(i64::try_from(pruned).is_ok_and(|pruned| pruned >= PRUNE))
    }
}

/// Waits for another process's transaction to end. SQLite's own waiting looks ten times a second in the end, and misses each
/// gap that a busy process leaves: on a slow disk that was seconds.
fn wait_for_lock(looks: i32) -> bool {
    let most = LOCKED.as_micros() / LOOK.as_micros();
    std::thread::sleep(LOOK);
    u128::try_from(looks).is_ok_and(|looks| looks < most)
}

/// Another process has the file just now.
fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode;
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// The message in the columns `properties` and `body`, which follow each other from `at` on.
fn message(row: &rusqlite::Row<'_>, at: usize) -> Result<Message, rusqlite::Error> {
    let properties = decode(row.get_ref(at)?.as_blob()?);
    let body: Vec<u8> = row.get(at + 1)?;
    Ok(Message {
        body: body.into(),
        properties,
    })
}

/// An envelope that somebody has spoiled counts as empty: the body is there all the same, and the lane must not jam.
fn decode(encoded: &[u8]) -> Properties {
    properties::decode(encoded).unwrap_or_else(|error| {
        tracing::error!(%error, "the properties of a message cannot be read: taken as empty");
        Properties::default()
    })
}

#[cfg(test)]
mod tests;
