//! `flowlaunch publish`: JSON Lines of jobs into a lane.
//!
//! Everything is read and checked before anything is sent. What was sent ends in one of three ways: confirmed, certainly
//! not there, or in doubt (sent, and no confirm came). An account that is to be gone on with must tell them apart:
//! sending a line again that is there calls a customer twice, passing over one that is not loses it.

mod account;
mod input;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use futures_util::{StreamExt, stream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::account::{Account, Fate, account, fate};
use self::input::{check, hint, lines, message, open};
use super::{Failed, out};
use crate::app;
use crate::broker::client::Client;
use crate::broker::{Destination, Link};
use crate::config::Config;
use crate::lane::Lane;
use crate::retry::Policy;

/// Publishes whose confirms are awaited at once.
const WINDOW: usize = 256;
/// How long one confirm may take; while the broker blocks publishers the clock stands still.
const CONFIRM_LIMIT: Duration = Duration::from_secs(30);
/// How long confirms are still awaited after a signal. A broker that blocks publishers might never send them.
const GRACE: Duration = Duration::from_secs(10);
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

pub(super) async fn run(config: Config, args: Args, stop: CancellationToken) -> Result<(), Failed> {
    let args = Arc::new(args);
    let (reader, policy) = (args.clone(), Policy::new(&config.retry));
    // On a thread of its own: a read of the standard input, or of a file of millions, must not keep a signal waiting.
    let reading = tokio::task::spawn_blocking(move || {
        let mut file = open(&reader.file)?;
        let jobs = check(&mut file, &reader.file, reader.from_line, &policy)?;
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
    let result = publish_all(file, &args, jobs, &broker, stop).await;
    broker.stop().await;
    result
}

async fn publish_all(
    mut file: File,
    args: &Args,
    jobs: usize,
    broker: &Client,
    stop: CancellationToken,
) -> Result<(), Failed> {
    let (publisher, mut link) = (broker.publisher(), broker.observed().publishing);
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
            // Clocks stand still meanwhile: without a word it would look as if it hung.
            Ok(()) = link.changed() => {
                if let Link::Blocked(why) = &*link.borrow_and_update() {
                    hint(&format!("waiting, for the broker takes nothing now: {why}. Ctrl-C ends it"));
                }
                continue;
            }
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

fn say(account: &Account, json: bool) -> anyhow::Result<()> {
    let Account {
        published, jobs, lane, ..
    } = account;
    out::print(if json {
        format!("{}\n", serde_json::to_string(account)?)
    } else if account.go_on_from_line.is_some() {
        format!(
            "{published} of {jobs} jobs published into lane {lane}, then interrupted. {}\n",
            account.advice()
        )
    } else {
        let jobs = if *published == 1 { "job" } else { "jobs" };
        format!("{published} {jobs} published into lane {lane}\n")
    })
}
