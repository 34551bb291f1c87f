//! The way of a row: what is noted of it, step by step.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::fate::{Standing, after};
use super::{Journal, JournalError, ROW, Row, RowState, RunId, Told, now_ms, row_of, state, time};

/// A row that is about to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// Its line.
    pub line: u64,
    /// Until when it may be launched.
    pub expires: Option<Timestamp>,
    /// When that is the end of its window: then it is planned again for the next one.
    pub window: bool,
    /// Whether its execution is followed to its end.
    pub track: bool,
}

/// What results made of the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Rows that stand otherwise, in the order of the results.
    pub changes: Vec<Change>,
    /// Results of rows that this journal never sent: somebody else runs this name, or did.
    pub foreign: u64,
}

/// A row that stands otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// How it stood.
    pub from: RowState,
    /// How it stands.
    pub to: RowState,
    /// Whether its execution is followed to its end.
    pub track: bool,
    /// Why it is not launched.
    pub reason: Option<String>,
    /// The same in a sentence.
    pub error: Option<String>,
}

impl Journal {
    /// Notes that these rows are about to be published. A crash from here to [`Self::confirmed`] leaves them `sending`:
    /// nobody knows whether the broker has them.
    ///
    /// # Errors
    /// When it cannot be noted: then they must not be published.
    pub fn sending(&mut self, run: RunId, rows: &[Sending]) -> Result<(), JournalError> {
        self.in_one(|tx| {
            let mut update = tx.prepare_cached(
                "UPDATE row SET state = 'sending', expires_ms = ?3, window = ?4, track = ?5, sent = 1
                 WHERE run = ?1 AND line = ?2 AND state IN ('planned', 'sending')",
            )?;
            for row in rows {
                let expires = row.expires.map(|at| at.as_millisecond());
                update.execute(params![run.0, line(row.line), expires, row.window, row.track])?;
            }
            Ok(())
        })
    }

    /// Notes that the broker has these rows; how many are on their way now. A result that was read before that stands.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub fn confirmed(&mut self, run: RunId, lines: &[u64]) -> Result<usize, JournalError> {
        let now = now_ms();
        let stamped = "UPDATE row SET published_ms = ?3 WHERE run = ?1 AND line = ?2";
        let moved = "UPDATE row SET state = 'published' WHERE run = ?1 AND line = ?2 AND state = 'sending'";
        self.in_one(|tx| {
            let (mut stamped, mut moved) = (tx.prepare_cached(stamped)?, tx.prepare_cached(moved)?);
            let mut count = 0;
            for number in lines {
                stamped.execute(params![run.0, line(*number), now])?;
                count += moved.execute(params![run.0, line(*number)])?;
            }
            Ok(count)
        })
    }

    /// Notes that these rows were certainly not published after all, or cannot be launched any more if they were; how many.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub fn withdrawn(&mut self, run: RunId, lines: &[u64]) -> Result<usize, JournalError> {
        self.move_some(run, lines, RowState::Planned, None)
    }

    /// Notes that nobody can say whether these rows were launched, and that no machine may try; how many.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub fn parked(&mut self, run: RunId, lines: &[u64]) -> Result<usize, JournalError> {
        let why = "its publish was never confirmed, and with on_unknown = \"park\" it is not published again";
        self.move_some(run, lines, RowState::Unknown, Some(why))
    }

    /// Of those that are being sent.
    fn move_some(&mut self, run: RunId, lines: &[u64], to: RowState, why: Option<&str>) -> Result<usize, JournalError> {
        self.in_one(|tx| {
            let mut update = tx.prepare_cached(
                "UPDATE row SET state = ?3, error = ?4 WHERE run = ?1 AND line = ?2 AND state = 'sending'",
            )?;
            let mut count = 0;
            for number in lines {
                count += update.execute(params![run.0, line(*number), to.as_str(), why])?;
            }
            Ok(count)
        })
    }

    /// Rows that were being sent when their runner ended.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn in_doubt(&self, run: RunId) -> Result<Vec<Row>, JournalError> {
        let read = || {
            let mut select = self
                .connection
                .prepare(&format!("{ROW} WHERE run = ?1 AND state = 'sending' ORDER BY line"))?;
            select.query_map(params![run.0], row_of)?.collect()
        };
        self.told(read())
    }

    /// How often rows of this run were published, as far as is known, and when the last one was.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn published(&self, run: RunId) -> Result<(u64, Option<Timestamp>), JournalError> {
        let read = self.connection.query_row(
            "SELECT count(published_ms), max(published_ms) FROM row WHERE run = ?1",
            params![run.0],
            |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.map(time))),
        );
        self.told(read)
    }

    /// Up to `most` rows that were published, the first of the input first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn first_published(&self, run: RunId, most: usize) -> Result<Vec<Row>, JournalError> {
        let read = || {
            let mut select = self.connection.prepare(&format!(
                "{ROW} WHERE run = ?1 AND published_ms IS NOT NULL ORDER BY line LIMIT ?2"
            ))?;
            let rows = select.query_map(params![run.0, i64::try_from(most).unwrap_or(i64::MAX)], row_of)?;
            rows.collect()
        };
        self.told(read())
    }

    /// How many rows were never to be launched.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn unfit(&self, run: RunId) -> Result<u64, JournalError> {
        let read = self.connection.query_row(
            "SELECT count(*) FROM row WHERE run = ?1 AND state = 'dead' AND key IS NULL",
            params![run.0],
            |row| row.get(0),
        );
        self.told(read)
    }

    /// How many launched rows are followed, and have not come to their end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn followed(&self, run: RunId) -> Result<u64, JournalError> {
        let read = self.connection.query_row(
            "SELECT count(*) FROM row WHERE run = ?1 AND state = 'launched' AND track",
            params![run.0],
            |row| row.get(0),
        );
        self.told(read)
    }

    /// Takes results in, and how far their log has been read, together: nothing is missed and nothing taken for news twice.
    /// What that made of the rows.
    ///
    /// # Errors
    /// When they cannot be noted.
    pub fn take_in(&mut self, run: RunId, told: &[Told], read_up_to: u64) -> Result<Taken, JournalError> {
        self.in_one(|tx| {
            let mut taken = Taken::default();
            for one in told {
                match take_in_one(tx, run, one)? {
                    Fate::Changed(change) => taken.changes.push(change),
                    Fate::Known => {}
                    Fate::Foreign => taken.foreign += 1,
                }
            }
            tx.execute(
                "UPDATE run SET results_after = max(results_after, ?2) WHERE id = ?1",
                params![run.0, line(read_up_to)],
            )?;
            Ok(taken)
        })
    }

    /// Notes of all rows in one state that they are in another.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub fn move_all(
        &self,
        run: RunId,
        from: RowState,
        to: RowState,
        reason: Option<&str>,
    ) -> Result<usize, JournalError> {
        let moved = self.connection.execute(
            "UPDATE row SET state = ?3, reason = ?4, finished_ms = ?5 WHERE run = ?1 AND state = ?2",
            params![run.0, from.as_str(), to.as_str(), reason, now_ms()],
        );
        self.told(moved)
    }

    /// Notes of a zone's planned rows that they will never be launched.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub fn never(&self, run: RunId, zone: Option<&str>, why: &str) -> Result<usize, JournalError> {
        let moved = self.connection.execute(
            "UPDATE row SET state = 'expired', error = ?3, finished_ms = ?4
             WHERE run = ?1 AND state = 'planned' AND zone IS ?2",
            params![run.0, zone, why, now_ms()],
        );
        self.told(moved)
    }

    /// Rows that were published so long ago, and of which nothing was heard: they may be on their way still.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub fn unaccounted(&self, run: RunId, silence: Duration) -> Result<usize, JournalError> {
        let before = now_ms().saturating_sub(i64::try_from(silence.as_millis()).unwrap_or(i64::MAX));
        let moved = self.connection.execute(
            "UPDATE row SET state = 'unaccounted' WHERE run = ?1 AND state = 'published' AND published_ms < ?2",
            params![run.0, before],
        );
        self.told(moved)
    }

    /// All of it is written, or nothing.
    fn in_one<T>(
        &mut self,
        write: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, JournalError> {
        let all = |connection: &mut Connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let written = write(&tx)?;
            tx.commit()?;
            Ok(written)
        };
        let written = all(&mut self.connection);
        self.told(written)
    }
}

/// What one result made of its row.
enum Fate {
    Changed(Change),
    Known,
    Foreign,
}

fn take_in_one(tx: &Transaction<'_>, run: RunId, told: &Told) -> Result<Fate, rusqlite::Error> {
    let mut select =
        tx.prepare_cached("SELECT line, state, expires_ms, window, track, sent FROM row WHERE run = ?1 AND key = ?2")?;
    let found = select.query_row(params![run.0, told.key], |row| {
        let standing = Standing {
            state: state::read(row, 1)?,
            expires: row.get::<_, Option<i64>>(2)?.map(time),
            window: row.get(3)?,
        };
        let (track, sent) = (row.get::<_, bool>(4)?, row.get::<_, bool>(5)?);
        Ok((row.get::<_, i64>(0)?, standing, track, sent))
    });
    let Some((line, standing, track, true)) = found.optional()? else {
        return Ok(Fate::Foreign);
    };
    let Some(to) = after(standing, told) else {
        return Ok(Fate::Known);
    };
    let mut update = tx.prepare_cached(
        "UPDATE row SET state = ?3, execution_id = coalesce(?4, execution_id), attempts = ?5, reason = ?6, error = ?7,
             finished_ms = ?8
         WHERE run = ?1 AND line = ?2",
    )?;
    update.execute(params![
        run.0,
        line,
        to.as_str(),
        told.execution_id,
        told.attempts,
        told.reason,
        told.error,
        told.finished.as_millisecond()
    ])?;
    Ok(Fate::Changed(Change {
        from: standing.state,
        to,
        track,
        reason: told.reason.clone(),
        error: told.error.clone(),
    }))
}

fn line(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
