//! What is shown while a campaign runs: a bar on a terminal, a line now and then elsewhere.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::campaign::journal::{RowState, RunState};
use crate::campaign::run::Progress;
use crate::cli::told::hint;

/// Between two lines where nothing can be drawn.
const LINE: Duration = Duration::from_secs(10);
/// What keeps it from going on is told when it has done so for this long: a start takes a moment.
const NEWS: Duration = Duration::from_secs(2);
/// By what happened in this time it is told how fast it goes.
const LATELY: Duration = Duration::from_secs(60);

/// Where progress goes.
pub(super) struct Screen {
    bar: ProgressBar,
    lines: bool,
    told: Instant,
    /// What keeps it from going on, since when, and whether that was told.
    why: (Option<String>, Instant, bool),
    /// When, and how many were launched.
    past: VecDeque<(Instant, u64)>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{bar:10} {pos}/{len}  {wide_msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            bar,
            lines: !std::io::stderr().is_terminal(),
            told: Instant::now(),
            why: (None, Instant::now(), true),
            past: VecDeque::new(),
        }
    }

    pub(super) fn show(&mut self, progress: &Progress, now: Timestamp) {
        let ended = progress.counts.ended();
        let rate = self.rate(progress.counts.launched());
        let why = why(progress);
        if why != self.why.0 {
            self.why = (why, Instant::now(), false);
        }
        let lasts = self.why.0.as_deref().filter(|_| self.why.1.elapsed() >= NEWS);
        let text = line(progress, lasts, rate, now);
        let news = lasts.is_some() && !self.why.2;
        self.bar.set_length(progress.counts.total());
        self.bar.set_position(ended);
        self.bar.set_message(text.clone());
        if !self.lines {
            return;
        }
        if news || self.told.elapsed() >= LINE {
            self.told = Instant::now();
            self.why.2 = true;
            hint(&format!("{ended}/{}  {text}", progress.counts.total()));
        }
    }

    /// Rows that are launched in a minute.
    fn rate(&mut self, launched: u64) -> f64 {
        let now = Instant::now();
        if self
            .past
            .back()
            .is_none_or(|(at, _)| now.duration_since(*at) >= LATELY / 60)
        {
            self.past.push_back((now, launched));
        }
        while self
            .past
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) > LATELY)
        {
            self.past.pop_front();
        }
        let Some((since, before)) = self.past.front() else {
            return 0.0;
        };
        let minutes = now.duration_since(*since).as_secs_f64() / 60.0;
        launched.saturating_sub(*before) as f64 / minutes.max(0.01)
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn why(progress: &Progress) -> Option<String> {
    match progress.state {
        RunState::Paused => Some(format!("paused: {}", progress.reason.as_deref().unwrap_or_default())),
        RunState::Cancelled => Some("cancelled: what was published is accounted for".to_owned()),
        RunState::Loading | RunState::Running | RunState::Finished => progress.trouble.clone(),
    }
}

/// One line.
fn line(progress: &Progress, why: Option<&str>, rate: f64, now: Timestamp) -> String {
    let of = |state| progress.counts.of(state);
    let launched = progress.counts.launched();
    let mut text = format!("{launched} launched, {rate:.0}/min");
    let not = progress.counts.ended() - launched;
    for (count, what) in [
        (of(RowState::Published) + of(RowState::Sending), "on their way"),
        (u64::from(progress.delayed.unwrap_or(0)), "delayed"),
        (not, "not launched"),
        (progress.followed, "followed"),
    ] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    if let Some(why) = why {
        return format!("{text}; {why}");
    }
    let left = progress.counts.total() - progress.counts.ended();
    match progress.next.map(|next| next.duration_since(now)) {
        Some(wait) if wait.as_secs() >= 60 => {
            let next = progress.next.unwrap_or(now);
            text += &format!("; the next at {}", next.strftime("%Y-%m-%d %H:%M UTC"));
        }
        Some(_) | None if left > 0 && rate >= 1.0 => {
            let minutes = (left as f64 / rate).ceil() as u64;
            text += &match minutes {
                0..=1 => "; about a minute left".to_owned(),
                2..120 => format!("; about {minutes} min left"),
                _ => format!("; about {} h left", minutes.div_ceil(60)),
            };
        }
        Some(_) | None => {}
    }
    text
}
