//! How a run and a row can stand: one closed set of words, in the journal, on the screen and in reports.

use rusqlite::types::Type;

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Its rows are being read: nothing of it is published, and when that ends early it was never there.
    Loading,
    /// It goes on, or would if somebody ran it.
    Running,
    /// Nothing is published until somebody resumes it.
    Paused,
    /// Nothing of it is launched any more.
    Cancelled,
    /// Every row has come to its end.
    Finished,
}

impl RunState {
    const ALL: [Self; 5] = [
        Self::Loading,
        Self::Running,
        Self::Paused,
        Self::Cancelled,
        Self::Finished,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Finished => "finished",
        }
    }

    pub(super) fn read(row: &rusqlite::Row<'_>, at: usize) -> Result<Self, rusqlite::Error> {
        word(row, at, &Self::ALL, Self::as_str)
    }
}

/// How a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowState {
    /// Not yet published.
    Planned,
    /// About to be published, or just being so.
    Sending,
    /// The broker has it.
    Published,
    /// The API started an execution.
    Launched,
    /// It is a dead letter.
    Dead,
    /// It was not launched in time.
    Expired,
    /// The campaign was cancelled first.
    Cancelled,
    /// Nobody knows whether it was launched, and no machine may try it again.
    Unknown,
    /// Published, and nothing was heard of it for long.
    Unaccounted,
    /// Its execution ran to its end.
    Completed,
    /// Its execution ended otherwise.
    Failed,
}

impl RowState {
    /// Every state, in the order of a row's way.
    pub const ALL: [Self; 11] = [
        Self::Planned,
        Self::Sending,
        Self::Published,
        Self::Launched,
        Self::Dead,
        Self::Expired,
        Self::Cancelled,
        Self::Unknown,
        Self::Unaccounted,
        Self::Completed,
        Self::Failed,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Sending => "sending",
            Self::Published => "published",
            Self::Launched => "launched",
            Self::Dead => "dead",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
            Self::Unaccounted => "unaccounted",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing more is to come of it.
    pub const fn is_end(self) -> bool {
        match self {
            Self::Planned | Self::Sending | Self::Published => false,
            Self::Launched
            | Self::Dead
            | Self::Expired
            | Self::Cancelled
            | Self::Unknown
            | Self::Unaccounted
            | Self::Completed
            | Self::Failed => true,
        }
    }
}

pub(super) fn read(row: &rusqlite::Row<'_>, at: usize) -> Result<RowState, rusqlite::Error> {
    word(row, at, &RowState::ALL, RowState::as_str)
}

fn word<T: Copy>(
    row: &rusqlite::Row<'_>,
    at: usize,
    all: &[T],
    as_str: fn(T) -> &'static str,
) -> Result<T, rusqlite::Error> {
    let text: String = row.get(at)?;
    let found = all.iter().copied().find(|one| as_str(*one) == text);
    found.ok_or_else(|| {
        let why = format!("{text} is no state that is known here");
        rusqlite::Error::FromSqlConversionFailure(at, Type::Text, why.into())
    })
}

/// Rows by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; RowState::ALL.len()]);

impl Counts {
    pub(super) fn add(&mut self, state: RowState, count: u64) {
        self.0[state as usize] += count;
    }

    /// So many rows went from one state to another.
    pub fn shift(&mut self, from: RowState, to: RowState, rows: u64) {
        self.0[from as usize] = self.0[from as usize].saturating_sub(rows);
        self.0[to as usize] += rows;
    }

    /// How many are in this one.
    pub const fn of(&self, state: RowState) -> u64 {
        self.0[state as usize]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Those that have come to their end.
    pub fn ended(&self) -> u64 {
        let ends = RowState::ALL.into_iter().filter(|state| state.is_end());
        ends.map(|state| self.of(state)).sum()
    }
}
