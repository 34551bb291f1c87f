//! `flowlaunch campaign report`: what became of every row.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{checked_name, journal, usage};
use crate::campaign::journal::RowState;
use crate::campaign::report::{FLOW, KEY, Report, Tally, ZONE};
use crate::campaign::source::Format;
use crate::cli::{Failed, out, told};
use crate::config::Config;

/// After a signal a file that is half written is cleared away within this.
const CLEARING: Duration = Duration::from_secs(2);

/// Arguments of `flowlaunch campaign report`.
#[derive(clap::Args, Debug)]
#[command(after_help = "  \
    flowlaunch campaign report spring -o report.csv\n  \
    flowlaunch campaign report spring --failed -o again.csv\n\n\
    A line for each row of the input, in its order, whatever became of it: line, key,\n\
    flowId, state, executionId, attempts, reason, error, publishedAt, finishedAt.\n\n\
    With --failed: the rows that are dead, expired, cancelled or failed, as they stand\n\
    in the input and ready to be run as a campaign of another name. The input file is\n\
    read again for it. With --format jsonl, and for what came from standard input,\n\
    they are made of what the journal knows: inputs, key and flow. Rows that may have\n\
    been launched (unknown, unaccounted) are among them with --uncertain alone.")]
pub(super) struct Args {
    /// What it is called.
    #[arg(value_parser = checked_name)]
    name: String,

    /// Which run; else the latest.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    run: Option<u32>,

    /// How it is written [default: csv].
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// Where to; it is there when all of it is. - for standard output.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    /// Only the rows that were not launched or whose execution failed, as they stand in the input.
    #[arg(long)]
    failed: bool,

    /// With --failed: also those of which nobody knows whether they were launched.
    #[arg(long, requires = "failed")]
    uncertain: bool,
}

pub(super) async fn run(config: Config, args: Args, stop: CancellationToken) -> Result<(), Failed> {
    if args.failed && args.format == Some(Format::Csv) {
        return Err(usage(anyhow!(
            "--failed writes rows as they stand in the input; only --format jsonl is another way"
        )));
    }
    let told = stop.clone();
    let mut writing = tokio::task::spawn_blocking(move || make(&config, &args, &told));
    let written = match stop.run_until_cancelled(&mut writing).await {
        Some(written) => written,
        // Nobody may be reading the other end of a pipe.
        None => match timeout(CLEARING, writing).await {
            Ok(written) => written,
            Err(_) => return Err(Failed::Work(anyhow!("interrupted: the report is not whole"))),
        },
    };
    written.context("the report died")?
}

fn make(config: &Config, args: &Args, stop: &CancellationToken) -> Result<(), Failed> {
    let journal = journal::open(config)?;
    let run = journal::run(&journal, config, &args.name, args.run)?;
    let report = Report {
        journal: &journal,
        run: &run,
        uncertain: args.uncertain,
        stopped: &|| stop.is_cancelled(),
    };
    if report.has_file() && same_file(&args.output, Path::new(&run.source)) {
        return Err(usage(anyhow!(
            "{} is the file of the campaign's rows: write to another one",
            args.output.display()
        )));
    }
    if !args.failed {
        let format = args.format.unwrap_or(Format::Csv);
        let written = out::stream(&args.output, |into| Ok(report.all(format, into)?))?;
        let Some(tally) = written else { return Ok(()) };
        let all = journal.counts(run.id)?.total();
        if tally.total() != all {
            return Err(Failed::Work(anyhow!("{} of {all} rows were reported", tally.total())));
        }
        told::hint(&summary(&tally, "rows"));
        return Ok(());
    }
    let as_known = args.format.is_some() || !report.has_file();
    let written = out::stream(&args.output, |into| {
        if as_known {
            let (tally, zoned) = report.missed_as_known(into)?;
            return Ok((tally, again(zoned, &args.output)));
        }
        let (tally, encoding) = report.missed_as_given(into)?;
        let utf8 = |from| format!("they are UTF-8 now, and not {from}: leave out --encoding");
        Ok((tally, encoding.map(utf8)))
    })?;
    if let Some((tally, how)) = written {
        told::hint(&summary(&tally, "rows to be launched again"));
        let counts = journal.counts(run.id)?;
        let doubt = counts.of(RowState::Unknown) + counts.of(RowState::Unaccounted);
        if !args.uncertain && doubt > 0 {
            told::hint(&format!(
                "{doubt} more may have been launched, nobody knows, and are not among them: look at each first; \
                 --uncertain writes them too"
            ));
        }
        let unfit = journal.unfit(run.id)?;
        if as_known && unfit > 0 {
            told::hint(&format!(
                "{unfit} bad rows are not among them: the journal does not have what they say; mend them in the input"
            ));
        }
        advise(&tally, how);
    }
    Ok(())
}

fn same_file(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    whole(one).is_some_and(|one| whole(other) == Some(one))
}

/// The flags that take rows back which were made of what the journal knows.
fn again(zoned: bool, output: &Path) -> Option<String> {
    let zone = if zoned {
        format!(" --timezone-column {ZONE} --skip {ZONE}")
    } else {
        String::new()
    };
    Some(format!(
        "their inputs are as they were sent, so --map, --input, --input-prefix and --skip give way to: {} --key {KEY} --skip \
         {KEY} --flow-column {FLOW} --skip {FLOW}{zone}",
        output.display()
    ))
}

/// How many rows, and how many of each kind.
fn summary(tally: &Tally, what: &str) -> String {
    let mut text = format!("{} {what}", tally.total());
    let there = RowState::ALL.into_iter().filter(|state| tally.of(*state) > 0);
    for (at, state) in there.enumerate() {
        let mark = if at == 0 { ":" } else { "," };
        let _ = write!(text, "{mark} {} {}", tally.of(state), state.as_str());
    }
    text
}

/// What to know before they are launched again.
fn advise(tally: &Tally, how: Option<String>) {
    if tally.total() == 0 {
        return;
    }
    let doubt = tally.of(RowState::Unknown) + tally.of(RowState::Unaccounted);
    let failed = tally.of(RowState::Failed);
    let doubt = (doubt > 0).then(|| {
        format!(
            "nobody knows whether {doubt} of them were launched (unknown, unaccounted): look before you run them again"
        )
    });
    let failed = (failed > 0).then(|| format!("{failed} of them were launched, and their execution failed"));
    for said in [doubt, failed, how].into_iter().flatten() {
        told::hint(&said);
    }
}
