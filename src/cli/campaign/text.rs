//! What campaigns are shown with.

use jiff::Timestamp;

/// One line that nothing draws on, of so many characters at most.
pub(super) fn cut(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    if text.chars().count() <= most {
        return text.chars().map(plain).collect();
    }
    let kept = text.chars().map(plain).take(most.saturating_sub(1));
    kept.chain(['…']).collect()
}

/// To the minute.
pub(super) fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%MZ").to_string()
}
