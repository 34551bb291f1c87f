//! `flowlaunch worker`.

use super::Failed;
use tokio_util::sync::CancellationToken;

use crate::app;
use crate::config::Config;

pub(super) async fn run(config: Config, stop: CancellationToken) -> Result<(), Failed> {
    let drained = app::worker(config, stop).await?;
    if drained.cut_short > 0 {
        tracing::warn!(
            jobs = drained.cut_short,
            "ended before everything in flight had finished: the broker redelivers these jobs, and some of them may be launched twice"
        );
    } else {
        tracing::info!("ended: everything in flight has finished, the rest was given back");
    }
    Ok(())
}
