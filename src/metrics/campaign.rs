//! The rows of a campaign: one series for each state, of the one campaign that this process runs.

use metrics::{Gauge, Key, Label, Recorder};

use super::family::Handle as _;

/// Its name, and its help text.
const NAME: &str = "flowlaunch_campaign_rows";
const HELP: &str = "Rows of the campaign that this process runs, by how they stand.";

/// The series.
#[derive(Debug)]
pub struct CampaignRows(Vec<(&'static str, Gauge)>);

impl CampaignRows {
    pub(super) fn register(
        recorder: &dyn Recorder,
        campaign: &str,
        states: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        Gauge::describe(recorder, NAME, HELP.to_owned());
        let series = states.into_iter().map(|state| {
            let labels = vec![Label::new("campaign", campaign.to_owned()), Label::new("state", state)];
            (state, Gauge::register(recorder, &Key::from_parts(NAME, labels)))
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
