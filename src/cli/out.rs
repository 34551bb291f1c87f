//! The command's result, on standard output or in a file.

use std::fs::Permissions;
use std::io::{BufWriter, ErrorKind, Write, stdout};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

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

/// Writes what is too long to be kept, to a file or, named `-`, to standard output; nothing when a reader has had enough.
/// The file is there when all of it is.
pub(super) fn stream<T>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    if path.as_os_str() == "-" {
        return unless_enough(through(stdout().lock(), write));
    }
    let cannot = || format!("cannot write {}", path.display());
    // Never renamed over: a device or a pipe.
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        let file = std::fs::File::options().write(true).open(path).with_context(cannot)?;
        return unless_enough(through(file, write));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // As any other file, and not for its owner alone.
    let file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder);
    let mut file = file.with_context(cannot)?;
    let written = through(&mut file, write)?;
    file.as_file().sync_all().with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    Ok(Some(written))
}

fn through<T>(into: impl Write, write: impl FnOnce(&mut dyn Write) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let mut buffered = BufWriter::with_capacity(1 << 16, into);
    let written = write(&mut buffered)?;
    buffered.flush()?;
    Ok(written)
}

fn unless_enough<T>(written: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    let enough = |error: &anyhow::Error| {
        let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
        causes.any(|cause| cause.kind() == ErrorKind::BrokenPipe)
    };
    match written {
        Err(error) if enough(&error) => Ok(None),
        written => written.map(Some),
    }
}
