//! The command's result, on standard output.

use std::io::{ErrorKind, Write as _, stdout};

use anyhow::Context as _;

/// Prints it as it is. A reader that has had enough (`| head`) is no error, and no panic either.
pub(super) fn print(text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to standard output"),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The same, as JSON and with a line's end.
pub(super) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(format!("{}\n", serde_json::to_string_pretty(value)?))
}
