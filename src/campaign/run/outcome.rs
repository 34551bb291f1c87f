//! What a result says of a row.

use super::super::journal::{RowState, Told};
use crate::outcome::Reason;
use crate::result::{ResultOutcome, ResultRecord};

/// A result; `None` for something that is none.
pub(super) fn read(body: &[u8]) -> Option<ResultRecord> {
    serde_json::from_slice(body).ok()
}

/// What a result says of a row of this run; `None` when it is of something else.
pub(super) fn told(campaign: &str, run: u32, record: ResultRecord) -> Option<Told> {
    let key = record.job_id.strip_prefix(campaign)?.strip_prefix(':')?;
    let (number, key) = key.split_once(':')?;
    if record.campaign.as_deref() != Some(campaign) || number.parse() != Ok(run) {
        return None;
    }
    let state = match (record.outcome, record.reason) {
        (ResultOutcome::Launched, _) => RowState::Launched,
        (ResultOutcome::Completed, _) => RowState::Completed,
        (ResultOutcome::Failed, _) => RowState::Failed,
        (ResultOutcome::Cancelled, _) => RowState::Cancelled,
        (ResultOutcome::Dead, Some(Reason::Expired)) => RowState::Expired,
        (ResultOutcome::Dead, Some(Reason::Unknown)) => RowState::Unknown,
        (ResultOutcome::Dead, _) => RowState::Dead,
    };
    let error = record.error.map(|error| error.message);
    // How an execution failed is said in the API's own word.
    let word = record.state.filter(|_| state == RowState::Failed);
    Some(Told {
        key: key.to_owned(),
        state,
        execution_id: record.execution_id,
        attempts: record.attempts,
        reason: record.reason.map(|reason| reason.as_str().to_owned()).or(word),
        error,
        finished: record.finished_at,
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn result(id: &str, campaign: &str, outcome: &str, reason: &str) -> Vec<u8> {
        let finished = Timestamp::UNIX_EPOCH;
        format!(
            r#"{{"jobId":"{id}","outcome":"{outcome}","reason":{reason},"campaign":"{campaign}","attempts":1,"finishedAt":"{finished}","lane":"bulk"}}"#
        )
        .into_bytes()
    }

    #[test]
    fn a_result_is_of_this_run_or_of_something_else() {
        let launched = |id, campaign| told("spring", 2, read(&result(id, campaign, "launched", "null"))?);
        let ours = launched("spring:2:a:b", "spring").unwrap();
        assert_eq!((ours.key.as_str(), ours.state), ("a:b", RowState::Launched));
        for (id, campaign) in [
            ("spring:1:a", "spring"),
            ("spring:2", "spring"),
            ("springs:2:a", "springs"),
            ("order-1", "-"),
        ] {
            assert_eq!(launched(id, campaign), None, "{id}");
        }
        assert_eq!(read(b"no result"), None);
    }

    #[test]
    fn every_end_has_a_state() {
        for (outcome, reason, state) in [
            ("dead", r#""refused""#, RowState::Dead),
            ("dead", "null", RowState::Dead),
            ("dead", r#""expired""#, RowState::Expired),
            ("dead", r#""unknown""#, RowState::Unknown),
            ("cancelled", "null", RowState::Cancelled),
            ("completed", "null", RowState::Completed),
            ("failed", "null", RowState::Failed),
        ] {
            let record = read(&result("spring:2:a", "spring", outcome, reason)).unwrap();
            let told = told("spring", 2, record).unwrap();
            assert_eq!(told.state, state, "{outcome} {reason}");
        }
    }
}
