//! Rows that cannot be launched, in a file of their own.

use std::fs::File;
use std::io::{Seek as _, copy};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Writes the rejects, if any were found; where.
pub(super) fn keep_rejects(
    path: Option<&Path>,
    campaign: &str,
    found: u64,
    rejects: &mut File,
) -> anyhow::Result<Option<PathBuf>> {
    if found == 0 {
        return Ok(None);
    }
    let path = path.map_or_else(|| format!("{campaign}-rejects.csv").into(), Path::to_owned);
    let write = |rejects: &mut File| {
        rejects.rewind()?;
        copy(rejects, &mut File::create(&path)?)
    };
    write(rejects).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Some(path))
}
