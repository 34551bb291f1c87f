//! The lines: read once to check them all, and again to send them.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal as _, Read, Seek, SeekFrom, Write, stdin};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};

use crate::broker::{Message, Properties};
use crate::job::{Job, MAX_BYTES, Malformed, OnUnknown};
use crate::retry::Policy;

/// Bad lines that are shown; the rest are counted.
const SHOWN: usize = 20;

/// The file; standard input, or what can be read only once, spooled into one: everything is read before anything is sent.
pub(super) fn open(path: &Path) -> anyhow::Result<File> {
    if path.as_os_str() == "-" {
        if stdin().is_terminal() {
            hint("reading jobs from the terminal, one a line; Ctrl-D ends them, Ctrl-C stops");
        }
        return spool(&mut stdin().lock()).context("cannot read standard input");
    }
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let kind = file.metadata().with_context(cannot)?.file_type();
    if kind.is_dir() {
        bail!("cannot read {}: it is a folder", path.display());
    }
    if kind.is_file() {
        return Ok(file);
    }
    spool(&mut file).with_context(cannot)
}

fn spool(from: &mut impl Read) -> anyhow::Result<File> {
    let mut spool = tempfile::tempfile().context("cannot make a temporary file to keep it in")?;
    std::io::copy(from, &mut spool)?;
    spool.flush()?;
    Ok(spool)
}

/// Lines with their numbers, from the first wanted one; empty ones are passed over.
pub(super) fn lines(
    file: &mut File,
    from: usize,
) -> anyhow::Result<impl Iterator<Item = std::io::Result<(usize, Vec<u8>)>> + use<>> {
    file.seek(SeekFrom::Start(0)).context("cannot read the input twice")?;
    let mut reader = BufReader::with_capacity(1 << 16, file.try_clone().context("cannot read the input twice")?);
    let numbered = std::iter::from_fn(move || next_line(&mut reader).transpose())
        .enumerate()
        .map(|(index, line)| {
            let mut line = line?;
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            Ok((index + 1, line))
        });
    Ok(numbered.filter(move |line| {
        line.as_ref().map_or(true, |(number, line)| {
            *number >= from && !line.iter().all(u8::is_ascii_whitespace)
        })
    }))
}

/// A line without its end. Of one that is too long for any job only so much is kept as shows that it is.
fn next_line(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    const MOST: u64 = MAX_BYTES as u64 + 2;
    let mut line = Vec::new();
    if reader.by_ref().take(MOST).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_none() && line.len() as u64 == MOST {
        reader.skip_until(b'\n')?;
    }
    Ok(Some(line))
}

/// Reads every line; the number of jobs from the wanted line on, or an error that names the bad lines.
pub(super) fn check(file: &mut File, path: &Path, from_line: usize, policy: &Policy) -> anyhow::Result<usize> {
    let mut jobs = 0;
    let mut bad = Vec::new();
    let mut bad_lines = 0;
    for line in lines(file, from_line)? {
        let (number, line) = line.with_context(|| format!("cannot read {}", path.display()))?;
        match Job::decode(&line, None, policy.on_unknown()) {
            Ok(_) => jobs += 1,
            Err(malformed) => {
                bad_lines += 1;
                if bad.len() < SHOWN {
                    bad.push(format!("  {}", complaint(number, &malformed)));
                }
            }
        }
    }
    if bad_lines > 0 {
        if bad_lines > bad.len() {
            bad.push(format!("  and {} more", bad_lines - bad.len()));
        }
        let all = jobs + bad_lines;
        bail!(
            "{bad_lines} of {all} lines cannot be published; nothing was sent:\n{}",
            bad.join("\n")
        );
    }
    if jobs == 0 && from_line > 1 {
        bail!("--from-line {}: the input has no job from there on", from_line);
    }
    Ok(jobs)
}

/// `line 3, column 11: flowId: must be …`
fn complaint(line: usize, malformed: &Malformed) -> String {
    let column = malformed
        .position
        .map_or_else(String::new, |position| format!(", column {}", position.column));
    let field = malformed
        .field
        .as_ref()
        .map_or_else(String::new, |field| format!("{field}: "));
    format!("line {line}{column}: {field}{}", malformed.message)
}

/// The job's bytes as they are. A job without an id gets a message id, so that its result can be told from others.
pub(super) fn message((number, line): (usize, Vec<u8>)) -> anyhow::Result<(usize, Message)> {
    let job = Job::decode(&line, None, OnUnknown::Relaunch).map_err(|_| {
        anyhow!("line {number} is not what it was when it was checked: was the file changed meanwhile?")
    })?;
    let message = Message {
        properties: Properties {
            message_id: Some(job.id),
            content_type: Some("application/json".to_owned()),
            timestamp: u64::try_from(jiff::Timestamp::now().as_second()).ok(),
            ..Properties::default()
        },
        body: line.into(),
    };
    Ok((number, message))
}

#[expect(clippy::print_stderr, reason = "a word to the person at the terminal")]
pub(super) fn hint(text: &str) {
    eprintln!("flowlaunch: {text}");
}
