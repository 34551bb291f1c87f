//! `flowlaunch publish`: JSON Lines of jobs into a lane.
//!
//! Everything is read and checked before anything is sent. What was sent ends in one of three ways: confirmed, certainly
//! not there, or in doubt (sent, and no confirm came). An account that is to be gone on with must tell them apart:
//! sending a line again that is there calls a customer twice, passing over one that is not loses it.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal as _, Read, Seek, SeekFrom, Write, stdin};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use futures_util::{StreamExt, stream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Failed;
use crate::app;
use crate::broker::{Destination, Message, Properties, Publish, PublishError};
use crate::config::Config;
use crate::job::{Job, Malformed, OnUnknown};
use crate::lane::Lane;
use crate::retry::Policy;

/// Publishes whose confirms are awaited at once.
const WINDOW: usize = 256;
/// How long one confirm may take; while the broker blocks publishers the clock stands still.
const CONFIRM_LIMIT: Duration = Duration::from_secs(30);
/// How long confirms are still awaited after a signal. A broker that blocks publishers might never send them.
const GRACE: Duration = Duration::from_secs(10);
/// Bad lines that are shown; the rest are counted.
const SHOWN: usize = 20;

/// Arguments of `flowlaunch publish`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Each line is one job. Only flowId is required:\n  \
    {\"flowId\": \"5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b\", \"id\": \"order-1001\",\n   \
    \"inputs\": {\"customerEmail\": \"ann@example.com\"}, \"campaign\": \"june\"}\n\
    (written here on two lines). Give each job an id: results and dead letters bear it.\n\n\
    All lines are checked before anything is sent; bad ones are named by number, and\n\
    then nothing is sent (exit code 2). A run that was interrupted says from which\n\
    line to go on: give it the same input again, with --from-line.\n\n  \
    flowlaunch publish jobs.jsonl --lane bulk\n  \
    some-program | flowlaunch publish -")]
pub(super) struct Args {
    /// The file, or - for standard input.
    #[arg(default_value = "-")]
    file: PathBuf,

    /// Where the jobs wait: normal for single urgent launches, bulk for many.
    #[arg(long, value_enum, default_value_t = Lane::Normal)]
    lane: Lane,

    /// Begin at this line: what an interrupted run told you to go on with.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = from_one)]
    from_line: usize,

    /// Print the account as JSON.
    #[arg(long)]
    json: bool,
}

fn from_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("lines are counted from 1".to_owned()),
        Ok(line) => Ok(line),
    }
}

/// What became of a line that was sent, or was to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Confirmed,
    /// Certainly not in the lane.
    Absent,
    /// Nobody can tell.
    Doubt,
}

/// What was published.
#[derive(Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    lane: &'static str,
    published: usize,
    jobs: usize,
    /// Present when not all of them are: the first line behind everything that may be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    go_on_from_line: Option<usize>,
    /// Lines before that one which may be there or not, as first and last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    in_doubt: Vec<(usize, usize)>,
    /// Lines before that one which are not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    absent: Vec<(usize, usize)>,
}

pub(super) async fn run(config: Config, args: Args, stop: CancellationToken) -> Result<(), Failed> {
    let args = Arc::new(args);
    let (reader, policy) = (args.clone(), Policy::new(&config.retry));
    // On a thread of its own: a read of the standard input, or of a file of millions, must not keep a signal waiting.
    let reading = tokio::task::spawn_blocking(move || {
        let mut file = open(&reader)?;
        let jobs = check(&mut file, &reader, &policy)?;
        Ok::<_, anyhow::Error>((file, jobs))
    });
    let Some(read) = stop.run_until_cancelled(reading).await else {
        return Ok(());
    };
    let (file, jobs) = read?.map_err(Failed::Usage)?;
    let Some(broker) = stop.run_until_cancelled(app::publisher(&config)).await else {
        return Ok(());
    };
    let broker = broker?;
    let result = publish_all(file, &args, jobs, broker.publisher(), stop).await;
    broker.stop().await;
    result
}

/// The file; standard input, or what can be read only once, spooled into one: everything is read before anything is sent.
fn open(args: &Args) -> anyhow::Result<File> {
    if args.file.as_os_str() == "-" {
        if stdin().is_terminal() {
            hint("reading jobs from the terminal, one a line; Ctrl-D ends them, Ctrl-C stops");
        }
        return spool(&mut stdin().lock()).context("cannot read standard input");
    }
    let cannot = || format!("cannot read {}", args.file.display());
    let mut file = File::open(&args.file).with_context(cannot)?;
    let kind = file.metadata().with_context(cannot)?.file_type();
    if kind.is_dir() {
        bail!("cannot read {}: it is a folder", args.file.display());
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
fn lines(
    file: &mut File,
    from: usize,
) -> anyhow::Result<impl Iterator<Item = std::io::Result<(usize, Vec<u8>)>> + use<>> {
    file.seek(SeekFrom::Start(0)).context("cannot read the input twice")?;
    let reader = BufReader::with_capacity(1 << 16, file.try_clone().context("cannot read the input twice")?);
    let numbered = reader.split(b'\n').enumerate().map(|(index, line)| {
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

/// Reads every line; the number of jobs from the wanted line on, or an error that names the bad lines.
fn check(file: &mut File, args: &Args, policy: &Policy) -> anyhow::Result<usize> {
    let mut jobs = 0;
    let mut bad = Vec::new();
    let mut bad_lines = 0;
    for line in lines(file, args.from_line)? {
        let (number, line) = line.with_context(|| format!("cannot read {}", args.file.display()))?;
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
    if jobs == 0 && args.from_line > 1 {
        bail!("--from-line {}: the input has no job from there on", args.from_line);
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

async fn publish_all(
    mut file: File,
    args: &Args,
    jobs: usize,
    publisher: Arc<dyn Publish>,
    stop: CancellationToken,
) -> Result<(), Failed> {
    // A failure ends the sending as a signal does; but it is no signal.
    let enough = stop.child_token();
    let told = enough.clone();
    let begun = Arc::new(AtomicUsize::new(0));
    let latest = begun.clone();
    let lane = args.lane;
    let sending = lines(&mut file, args.from_line)?
        // Told to stop, nothing new is begun; what is under way is awaited, so that the account is exact.
        .take_while(move |_| !told.is_cancelled())
        .map(|line| {
            let publisher = publisher.clone();
            let latest = latest.clone();
            async move {
                let (number, message) = match line.map_err(anyhow::Error::from).and_then(message) {
                    Ok(message) => message,
                    Err(error) => return (None, Err((Fate::Absent, error))),
                };
                latest.fetch_max(number, Ordering::Relaxed);
                let sent = publisher.publish(Destination::Lane(lane), message, CONFIRM_LIMIT).await;
                (Some(number), sent.map_err(|error| (fate(&error), error.into())))
            }
        });
    let mut confirms = stream::iter(sending).buffered(WINDOW);
    let mut fates: Vec<(usize, Fate)> = Vec::new();
    let mut last = args.from_line - 1;
    let mut published = 0;
    let mut failure: Option<(Option<usize>, anyhow::Error)> = None;
    let patience = async {
        stop.cancelled().await;
        sleep(GRACE).await;
    };
    tokio::pin!(patience);
    loop {
        let (number, sent) = tokio::select! {
            next = confirms.next() => match next {
                Some(next) => next,
                None => break,
            },
            () = &mut patience => break,
        };
        let fate = match sent {
            Ok(()) => {
                published += 1;
                Fate::Confirmed
            }
            Err((fate, error)) => {
                failure.get_or_insert((number, error));
                enough.cancel();
                fate
            }
        };
        if let Some(number) = number {
            last = number;
            // The long beginning, all of it confirmed, needs no list.
            if fate != Fate::Confirmed || !fates.is_empty() {
                fates.push((number, fate));
            }
        }
    }
    drop(confirms);
    // Begun, and not waited for any longer.
    fates.extend((last + 1..=begun.load(Ordering::Relaxed)).map(|number| (number, Fate::Doubt)));
    let account = account(lane, published, jobs, last, &fates);
    if failure.is_none() || args.json {
        say(&account, args.json)?;
    }
    match failure {
        Some((number, error)) => Err(Failed::Work(anyhow!(
            "{}{error}. {}",
            number.map_or_else(String::new, |number| format!("line {number}: ")),
            account.advice()
        ))),
        None => Ok(()),
    }
}

/// Whether a message that was not confirmed may be there all the same.
const fn fate(error: &PublishError) -> Fate {
    match error {
        PublishError::Unconfirmed(_) => Fate::Doubt,
        PublishError::Refused
        | PublishError::Unroutable(_)
        | PublishError::Disconnected(_)
        | PublishError::Invalid(_) => Fate::Absent,
    }
}

/// Goes on behind the last line that is there or may be: so nothing is published twice.
fn account(lane: Lane, published: usize, jobs: usize, last: usize, fates: &[(usize, Fate)]) -> Account {
    let behind = match fates {
        [] => last,
        [(first, _), ..] => {
            let there = fates.iter().rev().find(|(_, fate)| *fate != Fate::Absent);
            there.map_or(first - 1, |(number, _)| *number)
        }
    };
    let of = |wanted: Fate| {
        let numbers = fates
            .iter()
            .filter(|(number, fate)| *fate == wanted && *number <= behind);
        ranges(numbers.map(|(number, _)| *number))
    };
    Account {
        lane: lane.as_str(),
        published,
        jobs,
        go_on_from_line: (published < jobs).then_some(behind + 1),
        in_doubt: of(Fate::Doubt),
        absent: of(Fate::Absent),
    }
}

/// `1, 2, 3, 7` as 1 to 3 and 7 to 7.
fn ranges(numbers: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == number => *end = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

fn listed(ranges: &[(usize, usize)]) -> String {
    let texts: Vec<_> = ranges
        .iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    texts.join(", ")
}

impl Account {
    /// How to go on, in a sentence or three.
    fn advice(&self) -> String {
        let mut text = match self.go_on_from_line {
            Some(line) => format!("Go on with --from-line {line}"),
            None => "All jobs are published".to_owned(),
        };
        if !self.absent.is_empty() {
            text.push_str(&format!(
                "; lines {} before it are not in the lane: publish them by themselves",
                listed(&self.absent)
            ));
        }
        if !self.in_doubt.is_empty() {
            text.push_str(&format!(
                "; lines {} were sent and not confirmed: each may be in the lane or not, so look for its id among the \
                 results before you publish it again",
                listed(&self.in_doubt)
            ));
        }
        text
    }
}

/// The job's bytes as they are. A job without an id gets a message id, so that its result can be told from others.
fn message((number, line): (usize, Vec<u8>)) -> anyhow::Result<(usize, Message)> {
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
fn hint(text: &str) {
    eprintln!("flowlaunch: {text}");
}

#[expect(clippy::print_stdout, reason = "the command's result")]
fn say(account: &Account, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(account)?);
        return Ok(());
    }
    let Account {
        published, jobs, lane, ..
    } = account;
    if account.go_on_from_line.is_some() {
        println!(
            "{published} of {jobs} jobs published into lane {lane}, then interrupted. {}",
            account.advice()
        );
    } else {
        let jobs = if *published == 1 { "job" } else { "jobs" };
        println!("{published} {jobs} published into lane {lane}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_on_sends_nothing_twice_and_names_what_it_passes_over() {
        use Fate::{Absent, Confirmed, Doubt};
        let told = |fates: &[(usize, Fate)]| {
            let account = account(Lane::Bulk, 3, 10, fates.last().map_or(3, |(number, _)| *number), fates);
            (account.go_on_from_line.unwrap(), account.in_doubt, account.absent)
        };
        assert_eq!(told(&[]), (4, vec![], vec![]));
        assert_eq!(told(&[(4, Absent), (5, Absent)]), (4, vec![], vec![]));
        assert_eq!(told(&[(4, Doubt), (5, Doubt), (6, Absent)]), (6, vec![(4, 5)], vec![]));
        assert_eq!(
            told(&[(4, Absent), (5, Absent), (6, Confirmed), (8, Doubt), (9, Absent)]),
            (9, vec![(8, 8)], vec![(4, 5)])
        );
    }
}
