//! How many rows there are in which zone, and roughly in which order.

use std::collections::HashMap;

use jiff::tz::TimeZone;

/// Rows are counted by pages of so many: within a page a zone's rows stand together. So a million rows take kilobytes, and
/// a forecast is off by a page at most.
const PAGE: u64 = 1000;

/// The rows of a campaign, as far as a forecast needs them.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    zones: Vec<TimeZone>,
    by_name: HashMap<String, usize>,
    /// For each zone its pages, the first in the file first: which, and how many rows.
    pages: Vec<Vec<(u64, u64)>>,
    rows: u64,
}

impl Rows {
    /// The next row of the file is of this zone.
    pub fn add(&mut self, zone: &TimeZone) {
        let name = zone.iana_name().unwrap_or_default();
        let index = match self.by_name.get(name) {
            Some(index) => *index,
            None => {
                self.zones.push(zone.clone());
                self.pages.push(Vec::new());
                *self.by_name.entry(name.to_owned()).or_insert(self.zones.len() - 1)
            }
        };
        let page = self.rows / PAGE;
        self.rows += 1;
        match self.pages[index].last_mut() {
            Some((last, rows)) if *last == page => *rows += 1,
            Some(_) | None => self.pages[index].push((page, 1)),
        }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.rows
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The zones, in the order in which they come in the file.
    pub fn zones(&self) -> &[TimeZone] {
        &self.zones
    }

    /// The pages of each zone.
    pub(super) fn pages(&self) -> &[Vec<(u64, u64)>] {
        &self.pages
    }
}
