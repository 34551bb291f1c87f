//! What flows ask for, as a campaign's pass over its rows wants to know it: read from the API, from the thread of that pass.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::api::Flow;
use crate::app;
use crate::campaign::file::CampaignFile;
use crate::campaign::inputs::FlowInputs;
use crate::cli::told;
use crate::config::Config;
use crate::direct::{Direct, Ended};

/// Between two flows, whatever the limit: with a flow in each row there are many, and workers want the quota too.
const EVERY: Duration = Duration::from_millis(200);
/// From so many flows on it takes long enough to say so.
const MANY: usize = 25;
/// Flows that are named of those that do not say what they ask for.
const NAMED: usize = 5;

/// Reads flows; made only when a campaign wants it.
pub(super) struct Reader(Option<Direct>);

impl Reader {
    /// Connects to nothing yet.
    pub(super) fn new(config: &Config, file: &CampaignFile, stop: &CancellationToken) -> anyhow::Result<Self> {
        let wanted = file.check_inputs == Some(true);
        let direct = wanted.then(|| app::direct(config, stop.clone(), told::waiting));
        Ok(Self(direct.transpose()?))
    }

    /// Each of these once. Blocks.
    pub(super) fn read(&self, ids: &BTreeSet<String>) -> Result<FlowInputs, String> {
        let Some(direct) = &self.0 else {
            return Ok(FlowInputs::default());
        };
        if ids.len() >= MANY {
            let seconds = (EVERY * u32::try_from(ids.len()).unwrap_or(u32::MAX)).as_secs();
            told::hint(&format!(
                "looking at {} flows: that takes {seconds} s at least",
                ids.len()
            ));
        }
        let (known, silent) = Handle::current().block_on(read(direct, ids))?;
        for flow in silent.iter().take(NAMED) {
            told::hint(&format!(
                "the API does not say what flow {} ({}) asks for: its inputs are not checked",
                flow.name.as_deref().unwrap_or("-"),
                flow.id
            ));
        }
        if silent.len() > NAMED {
            told::hint(&format!("nor of {} more flows", silent.len() - NAMED));
        }
        Ok(known)
    }
}

/// What the flows ask for, and those of which nobody can tell.
async fn read(direct: &Direct, ids: &BTreeSet<String>) -> Result<(FlowInputs, Vec<Flow>), String> {
    let (mut known, mut silent) = (FlowInputs::default(), Vec::new());
    let mut turn = interval(EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for id in ids {
        turn.tick().await;
        match direct.flow(id).await {
            Ok(flow) if known.found(id, &flow) => {}
            Ok(flow) => silent.push(flow),
            Err(Ended::Failed { failure, .. }) if matches!(failure.status, Some(404 | 410)) && !failure.from_login => {
                known.missing(id);
            }
            Err(Ended::Failed { failure, tries }) => {
                return Err(told::read(&format!("cannot look at flow {id}"), &failure, tries));
            }
            Err(Ended::Stopped) => return Err("interrupted".to_owned()),
        }
    }
    Ok((known, silent))
}
