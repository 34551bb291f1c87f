//! Holding a test until something is true. The deadlines are there to end a test that hangs, not to measure anything.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// For what takes a moment on an idle machine.
pub const SOON: Duration = Duration::from_secs(60);

/// For what takes a while even there: a broker that starts, thousands of jobs.
pub const LONG: Duration = Duration::from_secs(300);

const PAUSE: Duration = Duration::from_millis(50);

/// Looks until `look` answers `Ok`; what it answers as `Err` is what it saw instead, and is named when time runs out.
///
/// # Panics
/// When it does.
pub async fn eventually<T, S: Debug>(what: &str, deadline: Duration, look: impl AsyncFnMut() -> Result<T, S>) -> T {
    match within(deadline, look).await {
        Ok(found) => found,
        Err(seen) => panic!("waited {deadline:?} for {what}; {seen}"),
    }
}

/// `eventually` for what need not come: what it saw last, when time runs out.
pub async fn within<T, S: Debug>(deadline: Duration, mut look: impl AsyncFnMut() -> Result<T, S>) -> Result<T, String> {
    let begun = Instant::now();
    let mut last = None;
    loop {
        // A look that hangs must not outlive the deadline either.
        let left = deadline.saturating_sub(begun.elapsed());
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(seen)) => last = Some(seen),
            Err(_) => return Err(format!("the last look did not end; before it: {last:?}")),
        }
        if begun.elapsed() >= deadline {
            return Err(format!("last seen: {last:?}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// `eventually` for a plain yes or no.
pub async fn until(what: &str, deadline: Duration, mut look: impl AsyncFnMut() -> bool) {
    eventually(what, deadline, async || if look().await { Ok(()) } else { Err("no") }).await;
}
