//! What a campaign has done, row by row, on the disk: whoever runs it may be killed at any moment, and the next one goes on.
//!
//! A file of its own (SQLite), beside the broker's. A row's way:
//!
//! ```text
//! planned ─▶ sending ─▶ published ─▶ launched | dead | expired | cancelled
//!    ▲           │           └─ it missed its window alone: planned again
//!    └───────────┴─ killed before the confirm was noted: sent again with the same id, or with park: unknown
//! ```
//!
//! Every change is durable when the call that makes it returns.

mod fate;
mod hold;
mod look;
mod rows;
mod schema;
mod state;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

pub use hold::Hold;
pub use look::{LATELY, Look, Trouble};
pub use rows::{Change, Sending, Taken};
pub use schema::OpenError;
pub use state::{Counts, RowState, RunState};

/// A run, by its number in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RunId(i64);

/// What a run is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    /// The campaign's name.
    pub name: String,
    /// SHA-256 of the input, in hexadecimal: a changed file is another campaign.
    pub digest: String,
    /// What the input is called.
    pub source: String,
    /// Everything else that was set, as JSON: a run goes on as it was begun.
    pub settings: String,
}

/// A run, as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// By which it is referred to.
    pub id: RunId,
    /// The campaign's name.
    pub name: String,
    /// Which run of it, from 1.
    pub number: u32,
    /// The input's digest.
    pub digest: String,
    /// What the input is called.
    pub source: String,
    /// Its settings, as JSON.
    pub settings: String,
    /// How it stands.
    pub state: RunState,
    /// Why it is paused.
    pub reason: Option<String>,
    /// What keeps it from going on, as its runner last saw it.
    pub trouble: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Up to which number the results' log has been read.
    pub results_after: u64,
}

/// A row, as it is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRow {
    /// Its line in the input.
    pub line: u64,
    /// Its identity within the campaign.
    pub key: String,
    /// Its flow.
    pub flow_id: String,
    /// Its inputs, as JSON.
    pub inputs: String,
    /// Its time zone, if it has one of its own.
    pub zone: Option<String>,
}

/// What a row of the input is, when the journal takes it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// To be launched.
    Row(NewRow),
    /// Never: it is accounted for as dead.
    Unfit {
        /// Its line in the input.
        line: u64,
        /// Why, in a word.
        reason: &'static str,
        /// The same in a sentence.
        error: String,
    },
}

impl From<NewRow> for Loaded {
    fn from(row: NewRow) -> Self {
        Self::Row(row)
    }
}

/// A row that is to be published, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was planned.
    pub planned: NewRow,
    /// How it stands.
    pub state: RowState,
    /// When it was published last.
    pub published: Option<Timestamp>,
    /// Until when that may be launched.
    pub expires: Option<Timestamp>,
    /// Whether its execution is followed to its end.
    pub track: bool,
    /// The execution that was started.
    pub execution_id: Option<String>,
    /// Attempts spent.
    pub attempts: u32,
    /// Why it is not launched.
    pub reason: Option<String>,
    /// The same in a sentence.
    pub error: Option<String>,
    /// When it was done.
    pub finished: Option<Timestamp>,
}

/// What a result says of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its identity within the campaign.
    pub key: String,
    /// How it ended.
    pub state: RowState,
    /// The execution that was started.
    pub execution_id: Option<String>,
    /// Attempts spent.
    pub attempts: u32,
    /// Why it is not launched.
    pub reason: Option<String>,
    /// The same in a sentence.
    pub error: Option<String>,
    /// When.
    pub finished: Timestamp,
}

/// Why something cannot be noted or read.
#[derive(Debug, thiserror::Error)]
#[error("the journal {} cannot be used: {why}", path.display())]
pub struct JournalError {
    path: PathBuf,
    #[source]
    why: rusqlite::Error,
}

/// Rows that come in at once: few enough to take no memory, and enough to make little of a commit.
const PAGE: usize = 2_000;

/// The journal.
#[derive(Debug)]
pub struct Journal {
    connection: Connection,
    path: PathBuf,
}

impl Journal {
    /// Opens it, making it when it is not there.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        schema::open(path, true)
    }

    /// Opens one that is there: somebody who only looks must not make one.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_existing(path: &Path) -> Result<Self, OpenError> {
        schema::open(path, false)
    }

    /// Begins a run of a campaign: all of its rows are there when this returns, or nothing is. What `rows` gives as an error
    /// undoes it all. Others can write meanwhile: the rows come in by pages, and a crash between two leaves a run that is
    /// `loading`, which nobody sees and the next one clears away. One process at a time begins runs of a name.
    ///
    /// # Errors
    /// The rows' error, or the journal's.
    pub fn begin<R: Into<Loaded>, E: From<JournalError>>(
        &mut self,
        run: &NewRun,
        mut rows: impl Iterator<Item = Result<R, E>>,
    ) -> Result<RunId, E> {
        self.clear(&run.name)?;
        let id: Result<i64, _> = self.connection.query_row(
            "INSERT INTO run (name, number, digest, source, settings, state, created_ms)
             VALUES (?1, 1 + coalesce((SELECT max(number) FROM run WHERE name = ?1), 0), ?2, ?3, ?4, 'loading', ?5)
             RETURNING id",
            params![run.name, run.digest, run.source, run.settings, now_ms()],
            |row| row.get(0),
        );
        let id = RunId(self.told(id)?);
        let loaded = loop {
            let mut page = Vec::with_capacity(PAGE);
            let mut failed = None;
            for row in rows.by_ref().take(PAGE) {
                match row {
                    Ok(row) => page.push(row.into()),
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            if let Some(error) = failed {
                break Err(error);
            }
            if page.is_empty() {
                break Ok(());
            }
            if let Err(error) = self.load(id, &page) {
                break Err(error.into());
            }
        };
        match loaded {
            Ok(()) => self.set_state(id, RunState::Running, None)?,
            Err(error) => {
                self.clear(&run.name)?;
                return Err(error);
            }
        }
        Ok(id)
    }

    fn load(&mut self, run: RunId, page: &[Loaded]) -> Result<(), JournalError> {
        let write = |connection: &mut Connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut insert = tx.prepare_cached(
                    "INSERT INTO row (run, line, key, flow_id, inputs, zone, state)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'planned')",
                )?;
                let mut unfit = tx.prepare_cached(
                    "INSERT INTO row (run, line, flow_id, inputs, state, reason, error, finished_ms)
                     VALUES (?1, ?2, '', '', 'dead', ?3, ?4, ?5)",
                )?;
                let number = |line: u64| i64::try_from(line).unwrap_or(i64::MAX);
                for row in page {
                    match row {
                        Loaded::Row(row) => insert.execute(params![
                            run.0,
                            number(row.line),
                            row.key,
                            row.flow_id,
                            row.inputs,
                            row.zone
                        ])?,
                        Loaded::Unfit { line, reason, error } => {
                            unfit.execute(params![run.0, number(*line), reason, error, now_ms()])?
                        }
                    };
                }
            }
            tx.commit()
        };
        let written = write(&mut self.connection);
        self.told(written)
    }

    /// Takes away what a run that was never wholly read has left.
    fn clear(&self, name: &str) -> Result<(), JournalError> {
        let loading = "(SELECT id FROM run WHERE name = ?1 AND state = 'loading')";
        let rows = format!(
            "DELETE FROM row WHERE (run, line) IN (SELECT run, line FROM row WHERE run IN {loading} LIMIT {PAGE})"
        );
        let clear = || {
            while self.connection.execute(&rows, params![name])? > 0 {}
            let run = "DELETE FROM run WHERE name = ?1 AND state = 'loading'";
            self.connection.execute(run, params![name])
        };
        let cleared = clear();
        self.told(cleared.map(drop))
    }

    /// The latest run of a campaign.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn latest(&self, name: &str) -> Result<Option<Run>, JournalError> {
        let sql = format!("{RUN} WHERE name = ?1 AND state <> 'loading' ORDER BY number DESC LIMIT 1");
        self.told(self.connection.query_row(&sql, params![name], run_of).optional())
    }

    /// All runs, the newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn runs(&self) -> Result<Vec<Run>, JournalError> {
        let read = || {
            let mut select = self
                .connection
                .prepare(&format!("{RUN} WHERE state <> 'loading' ORDER BY id DESC"))?;
            select.query_map([], run_of)?.collect()
        };
        self.told(read())
    }

    /// Notes how a run stands.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub fn set_state(&self, run: RunId, state: RunState, reason: Option<&str>) -> Result<(), JournalError> {
        let set = self.connection.execute(
            "UPDATE run SET state = ?2, reason = ?3 WHERE id = ?1",
            params![run.0, state.as_str(), reason],
        );
        self.told(set.map(drop))
    }

    /// Up to `most` rows that are planned, in the order of the input, after a line; of one zone alone where it matters which.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn planned(&self, run: RunId, zone: Option<&str>, most: usize) -> Result<Vec<Row>, JournalError> {
        let read = || {
            let mut select = self.connection.prepare_cached(&format!("{ROW} {PLANNED}"))?;
            let rows = select.query_map(params![run.0, zone, i64::try_from(most).unwrap_or(i64::MAX)], row_of)?;
            rows.collect()
        };
        self.told(read())
    }

    /// Notes what keeps it from going on, for those who look.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub fn set_trouble(&self, run: RunId, trouble: Option<&str>) -> Result<(), JournalError> {
        let set = self
            .connection
            .execute("UPDATE run SET trouble = ?2 WHERE id = ?1", params![run.0, trouble]);
        self.told(set.map(drop))
    }

    /// Forgets a run of which nothing was sent: it was never there.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub fn forget(&self, run: &Run) -> Result<(), JournalError> {
        self.set_state(run.id, RunState::Loading, None)?;
        self.clear(&run.name)
    }

    /// Notes with which settings a run goes on.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub fn set_settings(&self, run: RunId, settings: &str) -> Result<(), JournalError> {
        let set = self
            .connection
            .execute("UPDATE run SET settings = ?2 WHERE id = ?1", params![run.0, settings]);
        self.told(set.map(drop))
    }

    /// The zones of rows that are planned, or will be again when they miss their window, and how many of each.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn zones(&self, run: RunId) -> Result<Vec<(Option<String>, u64)>, JournalError> {
        let read = || {
            let mut select = self.connection.prepare_cached(
                "SELECT zone, count(*) FROM row
                 WHERE run = ?1 AND state IN ('planned', 'sending', 'published', 'unaccounted')
                 GROUP BY zone ORDER BY zone",
            )?;
            let zones = select.query_map(params![run.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
            zones.collect()
        };
        self.told(read())
    }

    /// How many rows there are in each state.
    ///
    /// # Errors
    /// When they cannot be counted.
    pub fn counts(&self, run: RunId) -> Result<Counts, JournalError> {
        let read = || {
            let mut select = self
                .connection
                .prepare_cached("SELECT state, count(*) FROM row WHERE run = ?1 GROUP BY state")?;
            let mut counts = Counts::default();
            let mut rows = select.query(params![run.0])?;
            while let Some(row) = rows.next()? {
                counts.add(state::read(row, 0)?, row.get(1)?);
            }
            Ok(counts)
        };
        self.told(read())
    }

    fn told<T>(&self, done: Result<T, rusqlite::Error>) -> Result<T, JournalError> {
        done.map_err(|why| JournalError {
            path: self.path.clone(),
            why,
        })
    }
}

const RUN: &str =
    "SELECT id, name, number, digest, source, settings, state, reason, created_ms, results_after, trouble FROM run";
const ROW: &str = "SELECT line, key, flow_id, inputs, zone, state, published_ms, execution_id, attempts, reason, error, \
                   finished_ms, expires_ms, track FROM row";

/// By its index: most rows of a run are planned no more.
const PLANNED: &str = "INDEXED BY standing WHERE run = ?1 AND state = 'planned' AND zone IS ?2 ORDER BY line LIMIT ?3";

fn run_of(row: &rusqlite::Row<'_>) -> Result<Run, rusqlite::Error> {
    Ok(Run {
        id: RunId(row.get(0)?),
        name: row.get(1)?,
        number: row.get(2)?,
        digest: row.get(3)?,
        source: row.get(4)?,
        settings: row.get(5)?,
        state: RunState::read(row, 6)?,
        reason: row.get(7)?,
        created: time(row.get(8)?),
        results_after: row.get(9)?,
        trouble: row.get(10)?,
    })
}

fn row_of(row: &rusqlite::Row<'_>) -> Result<Row, rusqlite::Error> {
    Ok(Row {
        planned: NewRow {
            line: row.get(0)?,
            key: row.get::<_, Option<String>>(1)?.unwrap_or_default(),
            flow_id: row.get(2)?,
            inputs: row.get(3)?,
            zone: row.get(4)?,
        },
        state: state::read(row, 5)?,
        published: row.get::<_, Option<i64>>(6)?.map(time),
        execution_id: row.get(7)?,
        attempts: row.get(8)?,
        reason: row.get(9)?,
        error: row.get(10)?,
        finished: row.get::<_, Option<i64>>(11)?.map(time),
        expires: row.get::<_, Option<i64>>(12)?.map(time),
        track: row.get(13)?,
    })
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_default()
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests;
