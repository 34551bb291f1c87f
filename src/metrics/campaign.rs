//! The rows of a campaign: one series for each state, of the one campaign that this process runs.

use metrics::{Gauge, Key, Label, Recorder};

use super::family::Handle as _;

const HELP: &str = "Rows of the campaign that this process runs, by how they stand.";

/// The series.
#[derive(Debug)]
pub struct CampaignRows(Vec<(&'static str, Gauge)>);

impl CampaignRows {
    /// What they are called.
    pub const NAME: &'static str = "flowlaunch_campaign_rows";

    pub(super) fn register(
        recorder: &dyn Recorder,
        campaign: &str,
        states: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        Gauge::describe(recorder, Self::NAME, HELP.to_owned());
        let series = states.into_iter().map(|state| {
            let labels = vec![Label::new("campaign", campaign.to_owned()), Label::new("state", state)];
            (state, Gauge::register(recorder, &Key::from_parts(Self::NAME, labels)))
        });
        Self(series.collect())
    }

    /// So many are in this state.
    pub fn set(&self, state: &str, rows: u64) {
        if let Some((_, gauge)) = self.0.iter().find(|(known, _)| *known == state) {
            gauge.set(rows as f64);
        }
    }
}
