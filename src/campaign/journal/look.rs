//! Looking into the journal while somebody else writes it: nothing is made, nothing is locked, and no look keeps a
//! snapshot for longer than it takes to read a page.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::schema::{APPLICATION, LOCKED, VERSION};
use super::{
    Counts, Hold, Journal, JournalError, OpenError, ROW, RUN, Row, RowState, Run, RunId, row_of, run_of, state,
};

/// By what happened in this time it is told when a run will end.
pub const LATELY: SignedDuration = SignedDuration::from_mins(5);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// Rows that are read at once.
const PAGE: usize = 1000;

/// Rows that ended, and not as was wanted. Of some nobody can say that they were not launched, and the failed ones were.
const MISSED: &str = "('dead', 'expired', 'cancelled', 'unknown', 'unaccounted', 'failed')";

/// How a run stands, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The run.
    pub run: Run,
    /// Its rows.
    pub counts: Counts,
    /// What went wrong, the most frequent first.
    pub troubles: Vec<Trouble>,
    /// Rows launched within the last minute.
    pub last_minute: u64,
    /// Rows that came to their end [lately](LATELY).
    pub lately: u64,
}

/// Rows that ended the same way, and not as was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// How.
    pub state: RowState,
    /// Why.
    pub reason: Option<String>,
    /// How many.
    pub count: u64,
    /// The line of the last of them.
    pub line: u64,
    /// What was said of that one.
    pub error: Option<String>,
}

impl Counts {
    /// Those that were launched, however their execution ended.
    pub const fn launched(&self) -> u64 {
        self.of(RowState::Launched) + self.of(RowState::Completed) + self.of(RowState::Failed)
    }

    /// Those that ended without a launch that anybody knows of.
    pub fn not_launched(&self) -> u64 {
        self.ended() - self.launched()
    }
}

impl Journal {
    /// Opens one that is there, to read it: neither a writer nor a file that may not be written stands in the way.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_to_look(path: &Path) -> Result<Self, OpenError> {
        let other = |why| OpenError::Other {
            path: path.to_owned(),
            why,
        };
        let stranger = || OpenError::Stranger { path: path.to_owned() };
        if !path.exists() {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        // A file that may not be written SQLite opens to read alone. Every file opened so would leave its log behind.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = match Connection::open_with_flags(path, flags).and_then(kind) {
            Err(error) if is_barred(&error) => match still(path) {
                Some(url) => {
                    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
                    Connection::open_with_flags(url, flags).and_then(kind)
                }
                None => Err(error),
            },
            opened => opened,
        };
        match opened {
            Ok((_, APPLICATION, version)) if version > VERSION => Err(OpenError::Newer {
                path: path.to_owned(),
                version,
            }),
            Ok((connection, APPLICATION, _)) => Ok(Self {
                connection,
                path: path.to_owned(),
            }),
            Ok(_) => Err(stranger()),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => Err(stranger()),
            Err(error) => Err(other(error)),
        }
    }

    /// Whether somebody runs it now.
    pub fn is_run_now(&self, run: &Run) -> bool {
        let latest = self.latest(&run.name).ok().flatten();
        latest.is_some_and(|latest| latest.id == run.id) && Hold::is_taken(&self.path, &run.name)
    }

    /// A run of a campaign by its number.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn numbered(&self, name: &str, number: u32) -> Result<Option<Run>, JournalError> {
        let sql = format!("{RUN} WHERE name = ?1 AND number = ?2");
        self.told(
            self.connection
                .query_row(&sql, params![name, number], run_of)
                .optional(),
        )
    }

    /// How a run stands.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn look(&self, run: RunId, now: Timestamp) -> Result<Look, JournalError> {
        let since = |ago: SignedDuration| now.as_millisecond().saturating_sub(ago.as_millis() as i64);
        let read = || {
            // One snapshot for all of it: the numbers add up.
            let _moment = self.connection.unchecked_transaction()?;
            let sql = format!("{RUN} WHERE id = ?1");
            let known = self.connection.query_row(&sql, params![run.0], run_of)?;
            let mut recent = self.connection.prepare_cached(
                "SELECT count(*) FILTER (WHERE finished_ms > ?3 AND state IN ('launched', 'completed', 'failed')), count(*)
                 FROM row WHERE run = ?1 AND finished_ms > ?2",
            )?;
            let times = params![run.0, since(LATELY), since(MINUTE)];
            let (last_minute, lately) = recent.query_row(times, |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok((known, self.troubles(run)?, last_minute, lately, self.counts(run)))
        };
        let (run, troubles, last_minute, lately, counts) = self.told(read())?;
        Ok(Look {
            run,
            counts: counts?,
            troubles,
            last_minute,
            lately,
        })
    }

    fn troubles(&self, run: RunId) -> Result<Vec<Trouble>, rusqlite::Error> {
        // Beside one max() SQLite takes the other columns from the row that has it.
        let mut select = self.connection.prepare_cached(&format!(
            "SELECT state, reason, count(*) AS count, line, error, max(coalesce(finished_ms, 0))
             FROM row INDEXED BY standing WHERE run = ?1 AND state IN {MISSED} AND state <> 'cancelled'
             GROUP BY state, reason ORDER BY count DESC"
        ))?;
        let troubles = select.query_map(params![run.0], |row| {
            Ok(Trouble {
                state: state::read(row, 0)?,
                reason: row.get(1)?,
                count: row.get(2)?,
                line: row.get(3)?,
                error: row.get(4)?,
            })
        })?;
        troubles.collect()
    }

    /// Hands over rows in the order of the input: all, or those that ended and not as was wanted. However long `take` is at
    /// it, the log of the file can be written back meanwhile.
    ///
    /// # Errors
    /// What `take` gives, or the journal's own.
    pub fn each_in_pages<E: From<JournalError>>(
        &self,
        run: RunId,
        missed: bool,
        mut take: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let only = if missed {
            format!("AND state IN {MISSED}")
        } else {
            String::new()
        };
        let sql = format!("{ROW} WHERE run = ?1 AND line > ?2 {only} ORDER BY line LIMIT {PAGE}");
        let mut after = -1;
        loop {
            let page = || {
                let mut select = self.connection.prepare_cached(&sql)?;
                let rows = select.query_map(params![run.0, after], row_of)?;
                rows.collect::<Result<Vec<_>, _>>()
            };
            let page = self.told(page())?;
            let full = page.len() == PAGE;
            for row in page {
                after = i64::try_from(row.planned.line).unwrap_or(i64::MAX);
                take(row)?;
            }
            if !full {
                return Ok(());
            }
        }
    }
}

/// What kind of file it is, and of which version.
fn kind(connection: Connection) -> Result<(Connection, i32, i32), rusqlite::Error> {
    connection.busy_timeout(LOCKED)?;
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (kind, version) = (pragma("application_id")?, pragma("user_version")?);
    Ok((connection, kind, version))
}

/// Nothing may be made beside it, and SQLite shares a file by one beside it.
fn is_barred(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen)
    )
}

/// Its URL as a file that does not change, if nobody has it open: all of it is in the file then.
fn still(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mut log = path.clone().into_os_string();
    log.push("-wal");
    let mut url = url::Url::from_file_path(&path).ok()?;
    url.set_query(Some("immutable=1"));
    (!Path::new(&log).exists()).then(|| url.into())
}
