//! A question to the person at the terminal.

use std::io::{IsTerminal as _, stderr, stdin};

use anyhow::Context as _;

use super::told;

/// Whether there is somebody to ask.
pub(super) fn can_ask() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Yes, or anything else.
pub(super) async fn ask(question: &str) -> anyhow::Result<bool> {
    told::hint(&format!("{question} Say yes to go on:"));
    // On a thread of its own: a read must not keep a signal waiting.
    let read = || {
        let mut answer = String::new();
        stdin().read_line(&mut answer).map(|_| answer)
    };
    let answer = tokio::task::spawn_blocking(read).await.context("the question died")?;
    let answer = answer.context("cannot read the answer")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
