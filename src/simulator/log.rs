//! Logs that hold a million entries and forget the oldest.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// A log that forgets its oldest entries; sequence numbers start at 1 and never repeat.
#[derive(Debug)]
pub(crate) struct Log<T> {
    entries: VecDeque<T>,
    /// The sequence number of the first entry kept.
    first: u64,
    dropped: u64,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            first: 1,
            dropped: 0,
        }
    }
}

impl<T> Log<T> {
    pub(crate) fn push(&mut self, entry: T, most: usize) -> u64 {
        while self.entries.len() >= most && self.drop_oldest().is_some() {}
        self.entries.push_back(entry);
        self.next() - 1
    }

    pub(crate) fn drop_oldest(&mut self) -> Option<T> {
        let oldest = self.entries.pop_front()?;
        self.first += 1;
        self.dropped += 1;
        Some(oldest)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The sequence number that the next entry will have.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(crate) fn get_mut(&mut self, seq: u64) -> Option<&mut T> {
        self.entries.get_mut(seq.checked_sub(self.first)? as usize)
    }

    pub(crate) fn clear(&mut self) {
        self.first = self.next();
        self.entries = VecDeque::new();
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(crate) fn after(&self, seq: u64) -> impl Iterator<Item = (u64, &T)> {
        let from = seq.saturating_add(1).max(self.first);
        let skip = usize::try_from(from - self.first)
            .unwrap_or(usize::MAX)
            .min(self.entries.len());
        self.entries
            .range(skip..)
            .enumerate()
            .map(move |(index, entry)| (from + index as u64, entry))
    }
}

/// Strings that repeat, kept once: flow ids and token tails.
#[derive(Debug, Default)]
pub(crate) struct Names {
    numbers: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl Names {
    pub(crate) fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let name: Arc<str> = name.into();
        let number = self.names.len() as u32;
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        number
    }

    pub(crate) fn name(&self, number: u32) -> &str {
        self.names.get(number as usize).map_or("", |name| name)
    }
}
