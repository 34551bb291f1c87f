//! `flowlaunch campaign status`: how it stands, on one screen.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, stdout};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::text::{cut, day, remedy};
use super::{checked_name, journal};
use crate::campaign::journal::{LATELY, Look, RowState, RunState, Trouble};
use crate::cli::{Failed, out};
use crate::config::Config;
use crate::units::format_duration;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Lines of a terminal; the last one is the prompt's.
const SCREEN: usize = 23;

/// Arguments of `flowlaunch campaign status`.
#[derive(clap::Args, Debug)]
#[command(after_help = "  \
    flowlaunch campaign status spring --watch\n\n\
    It only reads the journal (campaign.journal), while somebody runs the campaign as\n\
    well. With --watch: until the campaign has ended; a line for each change where\n\
    there is no terminal.\n\n\
    With --json: campaign, run, state (running, paused, cancelled, finished), reason,\n\
    trouble (what keeps it from going on), source, digest, createdAt, runsNow, rows, done, states (rows by state), failures\n\
    (state, reason, count, lastLine, lastError), launchedLastMinute, endsAbout.")]
pub(super) struct Args {
    /// What it is called.
    #[arg(value_parser = checked_name)]
    name: String,

    /// Which run; else the latest.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    run: Option<u32>,

    /// Look every second, until it has ended.
    #[arg(long)]
    watch: bool,

    /// Print it as JSON; with --watch a line for each change.
    #[arg(long)]
    json: bool,
}

/// How it stands now.
struct Seen {
    look: Look,
    now: bool,
    at: Timestamp,
}

pub(super) async fn run(config: Config, args: Args, stop: CancellationToken) -> Result<(), Failed> {
    let run = journal::run(&journal::open(&config)?, &config, &args.name, args.run)?;
    let see = || {
        // Anew each time: so that a watch holds nothing, and finds what was moved here.
        let journal = journal::open(&config)?;
        let at = Timestamp::now();
        let look = journal.look(run.id, at)?;
        let now = journal.is_run_now(&look.run);
        anyhow::Ok(Seen { look, now, at })
    };
    if !args.watch {
        let seen = see()?;
        if args.json {
            out::json(&seen.as_json())?;
        } else {
            out::print(seen.as_text())?;
        }
        return Ok(());
    }
    let draws = stdout().is_terminal() && !args.json;
    let mut told = None;
    loop {
        let seen = see()?;
        let news = Some((seen.look.run.clone(), seen.look.counts));
        if draws {
            // Over what stands there, to the end of each line and of the screen: a cleared one would flicker.
            let text = seen.as_text().replace('\n', "\u{1b}[K\n");
            let clear = if told.is_none() { "\u{1b}[2J" } else { "" };
            out::print(format!("{clear}\u{1b}[H{text}\u{1b}[J"))?;
        } else if told != news && args.json {
            out::print(format!("{}\n", seen.as_json()))?;
        } else if told != news {
            out::print(seen.as_line())?;
        }
        told = news;
        if matches!(seen.look.run.state, RunState::Cancelled | RunState::Finished) {
            return Ok(());
        }
        if stop.run_until_cancelled(sleep(LOOK)).await.is_none() {
            return Ok(());
        }
    }
}

impl Seen {
    fn left(&self) -> u64 {
        self.look.counts.total() - self.look.counts.ended()
    }

    /// What keeps it from going on, as whoever runs it saw it last.
    fn trouble(&self) -> Option<&str> {
        self.look.run.trouble.as_deref().filter(|_| self.now)
    }

    /// How long it takes still, if it goes on as it did lately.
    fn takes(&self) -> Option<SignedDuration> {
        let (left, lately) = (self.left(), self.look.lately);
        if self.look.run.state != RunState::Running || left == 0 || lately == 0 {
            return None;
        }
        let age = self.at.duration_since(self.look.run.created);
        let seconds = LATELY.min(age).as_secs_f64().max(1.0);
        SignedDuration::try_from_secs_f64(seconds * left as f64 / lately as f64).ok()
    }

    fn as_json(&self) -> Value {
        let Look {
            run,
            counts,
            troubles,
            last_minute,
            lately: _,
        } = &self.look;
        let states: Map<_, _> = RowState::ALL
            .into_iter()
            .map(|state| (state.as_str().to_owned(), counts.of(state).into()))
            .collect();
        let failure = |trouble: &Trouble| {
            json!({
                "state": trouble.state.as_str(),
                "reason": trouble.reason,
                "count": trouble.count,
                "lastLine": trouble.line,
                "lastError": trouble.error,
            })
        };
        json!({
            "campaign": run.name,
            "run": run.number,
            "state": run.state.as_str(),
            "reason": run.reason,
            "trouble": self.trouble(),
            "source": run.source,
            "digest": run.digest,
            "createdAt": run.created,
            "runsNow": self.now,
            "rows": counts.total(),
            "done": counts.ended(),
            "states": states,
            "failures": troubles.iter().map(failure).collect::<Vec<_>>(),
            "launchedLastMinute": last_minute,
            "endsAbout": self.takes().and_then(|takes| self.at.checked_add(takes).ok()),
        })
    }

    /// For a log: one line.
    fn as_line(&self) -> String {
        let counts = &self.look.counts;
        format!(
            "{}: {} of {} done, {} launched, {} not launched, {} published, {} planned\n",
            self.look.run.state.as_str(),
            counts.ended(),
            counts.total(),
            counts.launched(),
            counts.not_launched(),
            counts.of(RowState::Published) + counts.of(RowState::Sending),
            counts.of(RowState::Planned),
        )
    }

    /// For a terminal of 80 columns and 24 lines.
    fn as_text(&self) -> String {
        let run = &self.look.run;
        let mut text = format!("{}\n", cut(&format!("campaign {}, run {}", run.name, run.number), 80));
        let reason = run
            .reason
            .as_deref()
            .map_or_else(String::new, |reason| format!(": {reason}"));
        let _ = writeln!(text, "state    {}", cut(&format!("{}{reason}", run.state.as_str()), 71));
        if let Some(trouble) = self.trouble() {
            let _ = writeln!(text, "but      {}", cut(trouble, 71));
        }
        let _ = writeln!(text, "rows of  {}", cut(&run.source, 71));
        let _ = writeln!(text, "created  {}\n", day(run.created));
        self.rows(&mut text);
        let next = format!("\n{}\n", self.next());
        let room = SCREEN.saturating_sub(text.lines().count() + next.lines().count());
        self.failures(&mut text, room);
        text + &next
    }

    fn rows(&self, text: &mut String) {
        let counts = &self.look.counts;
        let all = counts.total();
        let shown = |state: &RowState| {
            matches!(state, RowState::Planned | RowState::Published | RowState::Launched) || counts.of(*state) > 0
        };
        for state in RowState::ALL.into_iter().filter(shown) {
            let row = format!("{:<11} {:>9}  {}", state.as_str(), counts.of(state), self.about(state));
            let _ = writeln!(text, "{}", cut(row.trim_end(), 80));
        }
        // Rounded down: 100 % is all of them.
        let share = (counts.ended() * 100).checked_div(all).unwrap_or(100);
        let _ = write!(
            text,
            "{:<11} {all:>9}  {share} % done; {} launched in the last minute",
            "all", self.look.last_minute
        );
        if let Some(takes) = self.takes() {
            let rough = if takes.as_secs() < 120 { 1 } else { 60 };
            let seconds = takes.as_secs().unsigned_abs().div_ceil(rough) * rough;
            let _ = write!(text, ", {} left", format_duration(Duration::from_secs(seconds)));
        }
        text.push('\n');
    }

    fn about(&self, state: RowState) -> String {
        match state {
            RowState::Sending => "being published".to_owned(),
            RowState::Published => "waiting, delayed, or being launched".to_owned(),
            RowState::Dead => {
                let dead = self.look.troubles.iter().filter(|trouble| trouble.state == state);
                let reasons: Vec<_> = dead
                    .map(|dead| format!("{} {}", dead.count, dead.reason.as_deref().unwrap_or("for no reason")))
                    .collect();
                reasons.join(", ")
            }
            RowState::Unknown => "may have been launched, or not".to_owned(),
            RowState::Unaccounted => "published long ago, and nothing was heard of them".to_owned(),
            RowState::Completed => "launched, and the execution ran to its end".to_owned(),
            RowState::Failed => "launched, and the execution failed".to_owned(),
            RowState::Planned | RowState::Launched | RowState::Expired | RowState::Cancelled => String::new(),
        }
    }

    /// The last of each kind, as far as there is room.
    fn failures(&self, text: &mut String, room: usize) {
        let troubles = &self.look.troubles;
        if troubles.is_empty() || room < 3 {
            return;
        }
        let fits = troubles.len().min(room - 2);
        text.push_str("\nlast failures");
        if fits < troubles.len() {
            let _ = write!(text, ", {fits} of {} kinds (--json has them all)", troubles.len());
        }
        text.push('\n');
        for trouble in troubles.iter().take(fits) {
            let why = match &trouble.reason {
                Some(reason) if reason != trouble.state.as_str() => format!("{} ({reason})", trouble.state.as_str()),
                Some(_) | None => trouble.state.as_str().to_owned(),
            };
            let said = trouble
                .error
                .as_deref()
                .map_or_else(String::new, |said| format!(": {said}"));
            let line = format!("{:>9}  {why}, as line {}{said}", trouble.count, trouble.line);
            let _ = writeln!(text, "{}", cut(&line, 80));
        }
    }

    /// What ends the pause.
    fn remedy(&self) -> String {
        remedy(&self.look.run)
    }

    /// What was missed, and what may not have been.
    fn missed(&self) -> String {
        let (name, counts) = (&self.look.run.name, &self.look.counts);
        let doubt = counts.of(RowState::Unknown) + counts.of(RowState::Unaccounted);
        let missed = counts.not_launched() - doubt;
        let mut text = String::new();
        if missed > 0 {
            text = format!(
                "{missed} were not launched; ready to be run again:\n\
                 `flowlaunch campaign report {name} --failed -o again.csv`\n"
            );
        }
        if doubt > 0 {
            let _ = writeln!(
                text,
                "{doubt} may have been launched, nobody knows: look at each before it is run again"
            );
        }
        if counts.of(RowState::Failed) > 0 {
            let _ = writeln!(
                text,
                "{} were launched, and their execution failed",
                counts.of(RowState::Failed)
            );
        }
        text.trim_end().to_owned()
    }

    /// What to do next.
    fn next(&self) -> String {
        let name = &self.look.run.name;
        let again = "nobody runs it now: the `flowlaunch campaign run` that began it goes on with it";
        match (self.look.run.state, self.now) {
            (RunState::Loading, _) => "its rows are being read".to_owned(),
            (RunState::Running, true) => format!("it goes on; `flowlaunch campaign pause {name}` stops it"),
            (RunState::Running, false) => again.to_owned(),
            (RunState::Paused, true) => format!("`{}` goes on with it", self.remedy()),
            (RunState::Paused, false) => format!("`{}` ends the pause;\n{again}", self.remedy()),
            (RunState::Cancelled, false) if self.left() > 0 => {
                "the `flowlaunch campaign run` that began it makes up its account; nothing more is launched".to_owned()
            }
            (RunState::Cancelled | RunState::Finished, _)
                if self.look.counts.launched() == self.look.counts.total()
                    && self.look.counts.of(RowState::Failed) == 0 =>
            {
                "every row was launched".to_owned()
            }
            (RunState::Cancelled | RunState::Finished, _) => self.missed(),
        }
    }
}
