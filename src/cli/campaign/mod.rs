//! `flowlaunch campaign`: many launches from a list.

mod control;
mod inputs;
mod journal;
mod list;
mod plan;
mod rejects;
mod report;
mod run;
mod screen;
mod settings;
mod status;
mod text;

use clap::Subcommand;
use tokio_util::sync::CancellationToken;

use super::{Failed, until_told};
use crate::config::Config;
use crate::job;

/// `<campaign>:<run>:<key>` has to fit a job's id: 200 bytes, 120 of them for the key.
const NAME_BYTES: usize = 64;

/// Arguments of `flowlaunch campaign`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Read every row and say what a campaign would do. Launches nothing.
    Plan(Box<plan::Args>),
    /// Launch every row, when it is due, and account for it.
    Run(Box<run::Args>),
    /// Every run there was.
    List(list::Args),
    /// How a campaign stands: one screen, or watched to its end.
    Status(status::Args),
    /// What became of every row, or the rows to be launched again.
    Report(report::Args),
    /// Launch nothing more of it, until it is resumed.
    Pause(control::PauseArgs),
    /// Go on with it.
    Resume(control::ResumeArgs),
    /// Launch nothing more of it, for good.
    Cancel(control::CancelArgs),
}

pub(super) async fn run(config: Config, args: Args, stop: CancellationToken) -> Result<(), Failed> {
    match args.action {
        Action::Plan(args) => plan::run(config, *args, stop).await,
        // Boxed: it is as large as a worker, and made once.
        Action::Run(args) => Box::pin(run::run(config, *args, stop)).await,
        Action::List(args) => list::run(&config, &args),
        Action::Status(args) => status::run(config, args, stop).await,
        Action::Report(args) => report::run(config, args, stop).await,
        Action::Pause(args) => until_told(&stop, control::pause(config, args)).await,
        Action::Resume(args) => until_told(&stop, control::resume(config, args)).await,
        Action::Cancel(args) => until_told(&stop, control::cancel(config, args)).await,
    }
}

fn checked_name(text: &str) -> Result<String, String> {
    if job::is_campaign(text) && text.len() <= NAME_BYTES {
        return Ok(text.to_owned());
    }
    Err(format!(
        "must be a letter or digit, then letters, digits, - and _, {NAME_BYTES} at most"
    ))
}

fn usage(error: impl Into<anyhow::Error>) -> Failed {
    Failed::Usage(error.into())
}
