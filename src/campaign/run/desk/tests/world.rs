//! A journal in a temporary file; a lane, a worker and a log of results that are lists; a clock that is moved by hand.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Confirmed,
    /// The broker says no.
    Withdrawn,
    /// No answer came; the broker has it.
    Unanswered,
    /// No answer came; the broker has not.
    Lost,
    /// The runner is killed before it has published any of it.
    KilledBefore,
    /// The runner is killed before it has noted any confirm.
    KilledAfter,
}

pub(super) struct World {
    pub(super) desk: Desk,
    pub(super) now: Timestamp,
    /// What a batch meets, in turn.
    pub(super) fates: Vec<Fate>,
    /// How long after its publish a worker comes to a job, in turn.
    pub(super) delays: Vec<Duration>,
    /// From then until then no worker launches anything.
    pub(super) gate: Option<(Timestamp, Timestamp)>,
    /// Everything that the broker was given, and when.
    pub(super) published: Vec<(Timestamp, Job)>,
    /// Every launch, with the row's key.
    pub(super) launches: Vec<(Timestamp, String)>,
    /// How often nobody knew whether the broker had it, by the row's key.
    pub(super) doubts: BTreeMap<String, usize>,
    lane: Vec<(Timestamp, Job)>,
    log: Vec<Told>,
    heard: usize,
    batches: usize,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

const FLOW: &str = "5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b";
/// Nobody waits longer for a look at the clock; the runner looks every second.
const LOOK: SignedDuration = SignedDuration::from_mins(15);
/// A publish takes a moment.
const MOMENT: SignedDuration = SignedDuration::from_millis(20);

impl World {
    /// A row for each of these zones.
    pub(super) fn new(schedule: Schedule, zones: &[&str], now: Timestamp) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("campaigns.db");
        let mut journal = Journal::open(&path).unwrap();
        let rows = zones.iter().enumerate().map(|(n, zone)| {
            Ok::<_, JournalError>(Loaded::Row(NewRow {
                line: n as u64 + 2,
                key: format!("row-{n}"),
                flow_id: FLOW.to_owned(),
                inputs: format!(r#"{{"n":{n}}}"#),
                zone: Some((*zone).to_owned()),
            }))
        });
        let run = NewRun {
            name: "spring".to_owned(),
            digest: "d".to_owned(),
            source: "rows.csv".to_owned(),
            settings: "{}".to_owned(),
        };
        journal.begin(&run, rows).unwrap();
        let terms = Terms {
            schedule,
            zone: TimeZone::UTC,
            lane: Lane::Bulk,
            flow: Some(FLOW.to_owned()),
            track: false,
            on_unknown: None,
            on_unknown_else: OnUnknown::Relaunch,
            max_attempts: None,
            pause_on_failures: 0,
        };
        let run = journal.latest("spring").unwrap().unwrap();
        Self {
            desk: Desk::new(journal, run, terms, None).unwrap(),
            now,
            fates: vec![Fate::Confirmed],
            delays: vec![Duration::from_secs(1)],
            gate: None,
            published: Vec::new(),
            launches: Vec::new(),
            doubts: BTreeMap::new(),
            lane: Vec::new(),
            log: Vec::new(),
            heard: 0,
            batches: 0,
            path,
            _dir: dir,
        }
    }

    /// Killed, and started again with the same command.
    pub(super) fn restart(&mut self) {
        let journal = Journal::open(&self.path).unwrap();
        let run = journal.latest("spring").unwrap().unwrap();
        self.heard = usize::try_from(run.results_after).unwrap();
        self.desk = Desk::new(journal, run, self.desk.terms().clone(), None).unwrap();
    }

    /// What the worker does by now, what the runner hears of it, and what it publishes; then the clock goes to where
    /// something happens next.
    pub(super) fn step(&mut self) -> Option<Timestamp> {
        self.work();
        let told = self.log.split_off(self.heard);
        self.heard += told.len();
        self.desk.take_in(&told, self.heard as u64).unwrap();
        self.log.extend(told);
        let room = Room {
            rows: 200,
            ahead: Duration::ZERO,
        };
        let batch = self.desk.next(self.now, room).unwrap();
        let (wake, empty) = (batch.wake, batch.jobs.is_empty());
        if !empty {
            self.publish(batch.jobs);
        }
        let works = self.lane.iter().map(|(when, _)| *when).min();
        let soonest = [wake, works].into_iter().flatten().min();
        let next = soonest.map_or(self.now + LOOK, |soonest| soonest.min(self.now + LOOK));
        self.now = next.max(self.now + MOMENT);
        wake.filter(|_| empty)
    }

    pub(super) fn run_to_its_end(&mut self) {
        let begun = self.now;
        while !self.desk.is_over() {
            self.step();
            let days = self.now.duration_since(begun).as_hours() / 24;
            assert!(
                days < 30,
                "after {days} days there are rows left: {:?}",
                self.desk.counts()
            );
        }
    }

    fn publish(&mut self, jobs: Vec<(u64, Job)>) {
        let fate = self.fates[self.batches % self.fates.len()];
        self.batches += 1;
        let lines = jobs.iter().map(|(line, _)| *line).collect();
        if matches!(
            fate,
            Fate::Unanswered | Fate::Lost | Fate::KilledBefore | Fate::KilledAfter
        ) {
            for (_, job) in &jobs {
                *self.doubts.entry(key(job)).or_default() += 1;
            }
        }
        if matches!(fate, Fate::Confirmed | Fate::Unanswered | Fate::KilledAfter) {
            for (_, job) in jobs {
                let delay = self.delays[self.published.len() % self.delays.len()];
                let comes = schedule::later(self.now, delay);
                let comes = self
                    .gate
                    .filter(|(from, until)| (*from..*until).contains(&comes))
                    .map_or(comes, |(_, until)| until);
                self.published.push((self.now, job.clone()));
                self.lane.push((comes, job));
            }
        }
        let sent = match fate {
            Fate::Confirmed => Sent {
                confirmed: lines,
                ..Sent::default()
            },
            Fate::Withdrawn => Sent {
                withdrawn: lines,
                ..Sent::default()
            },
            Fate::Unanswered | Fate::Lost => Sent {
                doubtful: lines,
                ..Sent::default()
            },
            Fate::KilledBefore | Fate::KilledAfter => return self.restart(),
        };
        self.desk.sent(&sent).unwrap();
    }

    /// Launches what it comes to, and lets expire what is too late.
    fn work(&mut self) {
        let now = self.now;
        let (mut due, lane): (Vec<_>, Vec<_>) = self.lane.drain(..).partition(|(when, _)| *when <= now);
        self.lane = lane;
        due.sort_by_key(|(when, _)| *when);
        for (when, job) in due {
            let expired = job.expires_at.is_some_and(|expires| expires <= when);
            if !expired {
                self.launches.push((when, key(&job)));
            }
            let told = |state| Told {
                key: key(&job),
                state,
                execution_id: None,
                attempts: 1,
                reason: None,
                error: None,
                finished: when,
            };
            self.log
                .push(told(if expired { RowState::Expired } else { RowState::Launched }));
            if job.track && !expired {
                self.log.push(told(RowState::Completed));
            }
        }
    }

    /// How often each row was launched.
    pub(super) fn times(&self) -> BTreeMap<&str, usize> {
        let mut times = BTreeMap::new();
        for (_, key) in &self.launches {
            *times.entry(key.as_str()).or_default() += 1;
        }
        times
    }

    pub(super) fn assert_each_launched_once(&self) {
        assert_eq!(self.times().len() as u64, self.desk.counts().total());
        assert!(self.times().values().all(|times| *times == 1), "{:?}", self.times());
    }
}

/// The row's key, if the job's id is what it always is.
fn key(job: &Job) -> String {
    job.id.strip_prefix("spring:1:").unwrap().to_owned()
}
