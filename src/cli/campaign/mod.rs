//! `flowlaunch campaign`: many launches from a list.

mod inputs;
mod plan;
mod settings;

use clap::Subcommand;
use tokio_util::sync::CancellationToken;

use super::Failed;
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
}

pub(super) async fn run(config: Config, args: Args, stop: CancellationToken) -> Result<(), Failed> {
    match args.action {
        Action::Plan(args) => plan::run(config, *args, stop).await,
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
