//! A flow that fails again and again while others pass is at fault by itself: it must not hold up the others.

use std::collections::HashMap;

use tokio::time::Instant;

/// More failures in a row than this, each with other flows' launches before it, and the flow is on its own.
const OWN_FAULT: u32 = 3;
/// More flows than this are not remembered; the longest-closed are forgotten first.
const MOST: usize = 10_000;

#[derive(Clone, Copy, Debug)]
struct Record {
    in_a_row: u32,
    launched_then: u64,
    closed_until: Option<Instant>,
}

/// What is known of single flows.
#[derive(Debug, Default)]
pub(super) struct Flows {
    records: HashMap<String, Record>,
    launched: u64,
}

impl Flows {
    /// A launch of `flow` passed.
    pub(super) fn launched(&mut self, flow: &str) {
        self.launched += 1;
        if !self.records.is_empty() {
            self.records.remove(flow);
        }
    }

    /// `flow` drew a 429 that names `until`. True when that is the flow's own matter, and nobody else's.
    pub(super) fn throttled(&mut self, flow: &str, until: Instant) -> bool {
        let own = self.failed(flow);
        if let Some(record) = self.records.get_mut(flow).filter(|_| own) {
            record.closed_until = Some(until);
        }
        own
    }

    /// A call for `flow` failed in a way that can be the API's fault as well. True when it is the flow's own.
    pub(super) fn failed(&mut self, flow: &str) -> bool {
        let launched = self.launched;
        let record = self.records.entry(flow.to_owned()).or_insert(Record {
            in_a_row: 0,
            launched_then: launched,
            closed_until: None,
        });
        // Calls that were under way together, with nobody launched between their ends, are one failure.
        if record.in_a_row == 0 || launched > record.launched_then {
            record.in_a_row = record.in_a_row.saturating_add(1);
        }
        record.launched_then = launched;
        let own = record.in_a_row > OWN_FAULT;
        if self.records.len() > MOST {
            let oldest = self
                .records
                .iter()
                .min_by_key(|(_, record)| record.launched_then)
                .map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.records.remove(&oldest);
            }
        }
        own
    }

    /// Until when `flow` is closed.
    pub(super) fn closed_until(&self, flow: &str, now: Instant) -> Option<Instant> {
        if self.records.is_empty() {
            return None;
        }
        self.records
            .get(flow)
            .and_then(|record| record.closed_until)
            .filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_flow_that_is_refused_while_others_pass_is_on_its_own() {
        let now = Instant::now();
        let until = now + Duration::from_secs(5);
        let mut flows = Flows::default();
        for _ in 0..10 {
            assert!(!flows.throttled("a", until), "nobody else passed: it is not the flow");
        }
        for _ in 0..OWN_FAULT - 1 {
            flows.launched("b");
            assert!(!flows.throttled("a", until));
        }
        flows.launched("b");
        assert!(flows.throttled("a", until));
        assert!(
            flows.throttled("a", until),
            "what was under way with it is the same event"
        );
        assert_eq!(flows.closed_until("a", now), Some(until));
        assert_eq!(flows.closed_until("a", until), None);
        assert_eq!(flows.closed_until("b", now), None);
        flows.launched("a");
        assert_eq!(flows.closed_until("a", now), None);
    }
}
