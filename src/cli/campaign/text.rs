//! What campaigns are shown with.

use jiff::Timestamp;

use crate::campaign::journal::Run;

/// One line that nothing draws on, of so many characters at most.
pub(super) fn cut(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    if text.chars().count() <= most {
        return text.chars().map(plain).collect();
    }
    let kept = text.chars().map(plain).take(most.saturating_sub(1));
    kept.chain(['…']).collect()
}

/// The command that ends a run's pause: of all, a lane or a flow, or its own.
pub(super) fn remedy(run: &Run) -> String {
    let paused = run.reason.as_deref().and_then(|reason| reason.split_once(" is paused"));
    match paused.and_then(|(scope, _)| scope.split_once(' ').or(Some((scope, "")))) {
        Some(("everything", "")) => "flowlaunch resume --all".to_owned(),
        Some((kind @ ("lane" | "flow"), which)) => format!("flowlaunch resume --{kind} {which}"),
        Some(_) | None => format!("flowlaunch campaign resume {}", run.name),
    }
}

/// To the minute.
pub(super) fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%MZ").to_string()
}
