//! What every worker must know, and must know again after a restart: what is paused, and which campaigns are cancelled.
//!
//! Entries lie in the broker's control stream, one behind the other. Whoever has read them from the first to the last knows
//! what is in force ([`Rules`]); to know that it was the last, a reader writes a marker and waits until it reads that back
//! ([`Reader`]). Before that, and while the stream cannot be read, nothing may be launched ([`Control`]). Pure: no I/O.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::lane::Lane;

/// How long a job of a paused flow or campaign is put aside at a time.
pub const PAUSED_LEG: Duration = Duration::from_secs(30);
/// The stream forgets what is older than 30 days: what is in force is written again long before.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(10 * 86_400);

/// What is paused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// Everything.
    All,
    /// A lane.
    Lane(Lane),
    /// A flow, by its id.
    Flow(String),
    /// A campaign, by its label: one run of it, or whatever bears the label.
    Campaign {
        /// The label.
        name: String,
        /// The run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<u32>,
    },
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Lane(lane) => write!(f, "lane {lane}"),
            Self::Flow(id) => write!(f, "flow {id}"),
            Self::Campaign { name, run: None } => write!(f, "campaign {name}"),
            Self::Campaign { name, run: Some(run) } => write!(f, "campaign {name}, run {run}"),
        }
    }
}

/// An entry of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Entry {
    /// Somebody who reads wants to know when this was the last.
    Marker {
        /// By which its writer knows it.
        id: String,
    },
    /// From now on nothing of that is launched.
    Pause {
        /// What.
        scope: Scope,
        /// Since when.
        at: Timestamp,
        /// Why, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// It is launched again.
    Resume {
        /// What.
        scope: Scope,
        /// Since when.
        at: Timestamp,
    },
    /// Nothing of that run is ever launched any more.
    Cancel {
        /// The campaign's label.
        campaign: String,
        /// The run.
        run: u32,
        /// Since when.
        at: Timestamp,
    },
}

impl Entry {
    /// The entry as it is published.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers can be written")
    }
}

/// A pause that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A job, as far as control is concerned.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its lane.
    pub lane: Lane,
    /// Its flow.
    pub flow: String,
    /// Its id; a campaign's jobs have `<campaign>:<run>:<key>`.
    pub id: String,
    /// Its campaign.
    pub campaign: Option<String>,
}

impl Subject {
    /// The run of its campaign that it is part of.
    fn run(&self) -> Option<u32> {
        let behind = self.id.strip_prefix(self.campaign.as_deref()?)?.strip_prefix(':')?;
        behind.split_once(':')?.0.parse().ok()
    }
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing stands against it.
    Free,
    /// All or its lane is paused: nothing of it is taken meanwhile.
    Held(Scope),
    /// Its flow or campaign is paused: it is put aside, so that others get by.
    Paused(Scope),
    /// Its campaign is cancelled.
    Cancelled,
}

/// What is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    paused: HashMap<Scope, Pause>,
    cancelled: HashMap<(String, u32), Timestamp>,
}

impl Rules {
    /// Takes an entry in. Later ones hold, in the order of the stream and by no clock.
    pub fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Marker { .. } => {}
            Entry::Pause { scope, at, reason } => {
                let reason = reason.map(|reason| plain(&reason));
                self.paused.insert(scope, Pause { since: at, reason });
            }
            Entry::Resume { scope, .. } => {
                self.paused.remove(&scope);
            }
            Entry::Cancel { campaign, run, at } => {
                self.cancelled.insert((campaign, run), at);
            }
        }
    }

    /// Whether nothing is in force.
    pub fn is_empty(&self) -> bool {
        self.paused.is_empty() && self.cancelled.is_empty()
    }

    /// Whether everything is paused.
    pub fn all(&self) -> Option<&Pause> {
        self.paused.get(&Scope::All)
    }

    /// Whether a lane is.
    pub fn lane(&self, lane: Lane) -> Option<&Pause> {
        self.paused.get(&Scope::Lane(lane))
    }

    /// All pauses, in a fixed order.
    pub fn pauses(&self) -> Vec<(Scope, Pause)> {
        let mut pauses: Vec<_> = self
            .paused
            .iter()
            .map(|(scope, pause)| (scope.clone(), pause.clone()))
            .collect();
        pauses.sort_by_key(|(scope, pause)| (pause.since, scope.to_string()));
        pauses
    }

    /// How a job stands.
    pub fn about(&self, job: &Subject) -> Standing {
        if self.is_empty() {
            return Standing::Free;
        }
        let run = job.run();
        if let (Some(campaign), Some(run)) = (&job.campaign, run)
            && self.cancelled.contains_key(&(campaign.clone(), run))
        {
            return Standing::Cancelled;
        }
        for scope in [Scope::All, Scope::Lane(job.lane)] {
            if self.paused.contains_key(&scope) {
                return Standing::Held(scope);
            }
        }
        let of_campaign = |run| {
            let name = job.campaign.clone()?;
            Some(Scope::Campaign { name, run })
        };
        let scopes = [
            Some(Scope::Flow(job.flow.clone())),
            of_campaign(None),
            run.and_then(|run| of_campaign(Some(run))),
        ];
        scopes
            .into_iter()
            .flatten()
            .find(|scope| self.paused.contains_key(scope))
            .map_or(Standing::Free, Standing::Paused)
    }

    /// What is in force and would be forgotten by the stream before long, as entries that are to be written again.
    pub fn fading(&self, now: Timestamp) -> Vec<Entry> {
        let old = |at: &Timestamp| {
            now.duration_since(*at) >= jiff::SignedDuration::try_from(WRITE_AGAIN_AFTER).unwrap_or_default()
        };
        let pauses = self.paused.iter().filter(|(_, pause)| old(&pause.since));
        let cancelled = self.cancelled.iter().filter(|(_, at)| old(at));
        pauses
            .map(|(scope, pause)| Entry::Pause {
                scope: scope.clone(),
                at: now,
                reason: pause.reason.clone(),
            })
            .chain(cancelled.map(|((campaign, run), _)| Entry::Cancel {
                campaign: campaign.clone(),
                run: *run,
                at: now,
            }))
            .collect()
    }
}

/// One line for people, whoever wrote it.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect()
}

/// What is known now: the rules, or why nobody knows them.
pub type Known = Result<Arc<Rules>, String>;

/// What is known, shared with all who must know it.
#[derive(Clone, Debug)]
pub struct Control(Arc<watch::Sender<Known>>);

impl Default for Control {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Err("not read yet".to_owned()))))
    }
}

impl Control {
    /// What is known now.
    pub fn known(&self) -> Known {
        self.0.borrow().clone()
    }

    /// What changes of it.
    pub fn changes(&self) -> watch::Receiver<Known> {
        self.0.subscribe()
    }

    /// Whether this job may be launched now: the last look.
    pub fn allows(&self, job: &Subject) -> bool {
        self.0
            .borrow()
            .as_ref()
            .is_ok_and(|rules| rules.about(job) == Standing::Free)
    }
}

/// Reads the stream for a [`Control`].
#[derive(Debug)]
pub struct Reader {
    control: Control,
    rules: Rules,
    /// The marker that is still to be read back.
    marker: Option<String>,
}

impl Reader {
    /// One for this control.
    pub fn new(control: Control) -> Self {
        Self {
            control,
            rules: Rules::default(),
            marker: None,
        }
    }

    /// The stream begins from its first entry; the marker that is to be written to it now.
    pub fn began(&mut self) -> Entry {
        let id = uuid::Uuid::new_v4().to_string();
        self.rules = Rules::default();
        self.marker = Some(id.clone());
        Entry::Marker { id }
    }

    /// An entry came. False when it is none that is known here: written by a newer program, or by a stranger.
    pub fn read(&mut self, entry: &[u8]) -> bool {
        let Ok(entry) = serde_json::from_slice::<Entry>(entry) else {
            return false;
        };
        if let Entry::Marker { id } = &entry {
            if self.marker.as_ref() == Some(id) {
                self.marker = None;
                self.tell();
            }
            return true;
        }
        self.rules.apply(entry);
        if self.marker.is_none() {
            self.tell();
        }
        true
    }

    /// The stream cannot be read any more.
    pub fn lost(&mut self, why: String) {
        // Nobody writes that one.
        self.marker = Some(String::new());
        let _before = self.control.0.send_replace(Err(why));
    }

    fn tell(&self) {
        let news: Known = Ok(Arc::new(self.rules.clone()));
        self.control.0.send_if_modified(|known| {
            let changed = *known != news;
            *known = news;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn pause(scope: Scope) -> Entry {
        Entry::Pause {
            scope,
            at: at(0),
            reason: None,
        }
    }

    fn job(id: &str, campaign: Option<&str>) -> Subject {
        Subject {
            lane: Lane::Bulk,
            flow: "f".to_owned(),
            id: id.to_owned(),
            campaign: campaign.map(str::to_owned),
        }
    }

    fn rules(entries: impl IntoIterator<Item = Entry>) -> Rules {
        let mut rules = Rules::default();
        entries.into_iter().for_each(|entry| rules.apply(entry));
        rules
    }

    #[test]
    fn each_scope_holds_its_own_jobs_and_no_others() {
        let spring = |run| Scope::Campaign {
            name: "spring".to_owned(),
            run,
        };
        let one = job("spring:2:row-7", Some("spring"));
        let loose = job("order-1", None);
        for (scope, its, others) in [
            (Scope::All, Standing::Held(Scope::All), Standing::Held(Scope::All)),
            (
                Scope::Lane(Lane::Bulk),
                Standing::Held(Scope::Lane(Lane::Bulk)),
                Standing::Held(Scope::Lane(Lane::Bulk)),
            ),
            (Scope::Lane(Lane::Normal), Standing::Free, Standing::Free),
            (
                Scope::Flow("f".to_owned()),
                Standing::Paused(Scope::Flow("f".to_owned())),
                Standing::Paused(Scope::Flow("f".to_owned())),
            ),
            (Scope::Flow("g".to_owned()), Standing::Free, Standing::Free),
            (spring(None), Standing::Paused(spring(None)), Standing::Free),
            (spring(Some(2)), Standing::Paused(spring(Some(2))), Standing::Free),
            (spring(Some(1)), Standing::Free, Standing::Free),
        ] {
            let rules = rules([pause(scope.clone())]);
            assert_eq!(rules.about(&one), its, "{scope}");
            assert_eq!(rules.about(&loose), others, "{scope}");
        }
    }

    #[test]
    fn a_cancelled_run_is_over_and_its_next_run_is_not() {
        let rules = rules([
            pause(Scope::All),
            Entry::Cancel {
                campaign: "spring".to_owned(),
                run: 1,
                at: at(0),
            },
        ]);
        assert_eq!(rules.about(&job("spring:1:x", Some("spring"))), Standing::Cancelled);
        assert_eq!(
            rules.about(&job("spring:2:x", Some("spring"))),
            Standing::Held(Scope::All)
        );
        // A label that is the beginning of another, and ids of other shapes.
        for (id, campaign) in [
            ("springs:1:x", "springs"),
            ("spring:1", "spring"),
            ("1:x", "spring"),
            ("spring:one:x", "spring"),
        ] {
            assert_ne!(rules.about(&job(id, Some(campaign))), Standing::Cancelled, "{id}");
        }
    }

    #[test]
    fn a_reason_is_one_line_without_anything_that_draws() {
        let rules = rules([Entry::Pause {
            scope: Scope::All,
            at: at(0),
            reason: Some("\u{1b}[31mred\nsecond".to_owned()),
        }]);
        assert_eq!(rules.all().unwrap().reason.as_deref(), Some(" [31mred second"));
    }

    #[test]
    fn the_last_word_about_a_scope_holds() {
        let resume = Entry::Resume {
            scope: Scope::All,
            at: at(-100),
        };
        let free = rules([pause(Scope::All), resume.clone()]);
        assert_eq!(free.about(&job("x", None)), Standing::Free);
        let held = rules([pause(Scope::All), resume, pause(Scope::All)]);
        assert_eq!(held.about(&job("x", None)), Standing::Held(Scope::All));
    }

    #[test]
    fn nothing_is_known_before_the_marker_is_read_back_nor_after_the_stream_is_lost() {
        let control = Control::default();
        let free = job("x", None);
        let mut reader = Reader::new(control.clone());
        assert!(control.known().is_err() && !control.allows(&free));
        let marker = reader.began();
        let foreign = Entry::Marker { id: "other".to_owned() };
        for entry in [pause(Scope::Flow("g".to_owned())), foreign] {
            assert!(reader.read(&entry.encode()));
        }
        assert!(!control.allows(&free), "not all is read");
        assert!(reader.read(&marker.encode()));
        assert!(control.allows(&free));
        assert_eq!(control.known().unwrap().pauses().len(), 1);
        assert!(reader.read(&pause(Scope::All).encode()), "followed from here on");
        assert!(!control.allows(&free));
        assert!(
            !reader.read(b"{\"kind\":\"gate\"}") && !reader.read(b"x"),
            "of a newer program"
        );
        reader.lost("gone".to_owned());
        assert_eq!(control.known(), Err("gone".to_owned()));
        // From the first entry again: what is not there any more is not in force.
        let marker = reader.began();
        assert!(reader.read(&marker.encode()));
        assert!(control.allows(&free));
    }

    #[test]
    fn what_the_stream_would_forget_is_written_again_in_time() {
        let cancel = Entry::Cancel {
            campaign: "spring".to_owned(),
            run: 1,
            at: at(0),
        };
        let mut rules = rules([pause(Scope::All), cancel]);
        assert_eq!(rules.fading(at(86_400)), []);
        let later = at(11 * 86_400);
        let again = rules.fading(later);
        assert_eq!(again.len(), 2);
        again.into_iter().for_each(|entry| rules.apply(entry));
        assert_eq!(rules.fading(later), []);
    }

    #[test]
    fn entries_are_as_they_are_published() {
        let text = r#"{"kind":"pause","scope":{"campaign":{"name":"spring"}},"at":"2027-01-15T08:00:00Z"}"#;
        let entry = pause(Scope::Campaign {
            name: "spring".to_owned(),
            run: None,
        });
        assert_eq!(String::from_utf8(entry.encode()).unwrap(), text);
        assert_eq!(serde_json::from_str::<Entry>(text).unwrap(), entry);
        let text = r#"{"kind":"resume","scope":{"lane":"bulk"},"at":"2027-01-15T08:00:00Z"}"#;
        assert!(matches!(
            serde_json::from_str(text),
            Ok(Entry::Resume {
                scope: Scope::Lane(Lane::Bulk),
                ..
            })
        ));
    }
}
