//! A test per row of the table.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const ERROR: &str = r#"{"message":"the message","code":"the.code","contextId":"from-body"}"#;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect()
}

fn launch(status: u16, pairs: &[(&'static str, &str)], body: &str) -> Result<Receipt, Failure> {
    let now = "2026-03-01T12:00:00Z".parse().unwrap();
    classify(
        StatusCode::from_u16(status).unwrap(),
        &headers(pairs),
        body.as_bytes(),
        now,
    )
}

fn failed(status: u16) -> Failure {
    let failure = launch(status, &[], ERROR).unwrap_err();
    assert_eq!(failure.status, Some(status));
    assert_eq!(failure.code.as_deref(), Some("the.code"));
    assert!(!failure.from_login);
    failure
}

fn fix(status: u16) -> &'static str {
    failed(status).fix.unwrap()
}

#[test]
fn launched() {
    for status in [200, 201, 202] {
        let receipt = launch(status, &[], r#"{"id":"exec-1","state":"Running"}"#).unwrap();
        assert_eq!(
            receipt,
            Receipt {
                execution_id: Some("exec-1".into()),
                state: Some("Running".into())
            }
        );
    }
    assert_eq!(launch(200, &[], "{}"), Ok(Receipt::default()));
    // A body that speaks of an error under a 2xx is a launch still: a flow can start and fail at once.
    assert!(launch(200, &[], ERROR).is_ok());
}

#[test]
fn a_2xx_without_an_object_is_unknown() {
    for (status, body) in [
        (200, "<html>Sign in</html>"),
        (200, "[]"),
        (202, "OK"),
        (204, ""),
        (201, r#"{"id":"#),
    ] {
        let failure = launch(status, &[], body).unwrap_err();
        assert_eq!(failure.class, Class::Unknown, "{status} {body}");
        assert!(
            failure.message.starts_with("the answer is not a JSON object"),
            "{failure}"
        );
        assert!(failure.fix.unwrap().contains("may have been launched"));
    }
}

#[test]
fn a_redirect_is_misdirected_and_names_the_host() {
    for status in [300, 301, 302, 303, 304, 307, 308, 399] {
        let failure = launch(status, &[("location", "https://login.example.org/x?token=t")], "").unwrap_err();
        assert_eq!(
            (failure.class, failure.message.as_str()),
            (Class::Misdirected, "a redirect to login.example.org")
        );
        assert!(failure.fix.unwrap().contains("api.base_url"));
    }
    assert_eq!(
        launch(302, &[("location", "/elsewhere")], "").unwrap_err().message,
        "a redirect"
    );
}

#[test]
fn status_400_is_refused() {
    assert_eq!(failed(400).class, Class::Refused);
    assert!(fix(400).contains("flowId") && fix(400).contains("inputs"));
}

#[test]
fn status_401_is_unauthorized() {
    assert_eq!(failed(401).class, Class::Unauthorized);
    assert!(fix(401).contains("client_secret"));
}

#[test]
fn status_403_is_forbidden_and_names_both_forms() {
    assert_eq!(failed(403).class, Class::Forbidden);
    assert!(fix(403).contains("architect:flow:launch") && fix(403).contains("flow:execution:write"));
}

#[test]
fn status_404_is_refused() {
    assert_eq!(failed(404).class, Class::Refused);
    assert!(fix(404).contains("no flow with this id"));
}

#[test]
fn status_405_and_407_are_refused_and_blame_the_way() {
    assert_eq!((failed(405).class, failed(407).class), (Class::Refused, Class::Refused));
    assert!(fix(405).contains("api.base_url") && fix(407).contains("proxy"));
}

#[test]
fn status_408_is_unknown() {
    assert_eq!(failed(408).class, Class::Unknown);
    assert!(fix(408).contains("may have been launched"));
}

#[test]
fn status_409_410_and_415_are_refused() {
    for status in [409, 410, 415] {
        assert_eq!(failed(status).class, Class::Refused);
        assert!(!fix(status).is_empty());
    }
}

#[test]
fn status_413_is_refused_and_names_the_limit() {
    assert_eq!(failed(413).class, Class::Refused);
    assert!(fix(413).contains("512,000"));
}

#[test]
fn status_422_is_refused() {
    assert_eq!(failed(422).class, Class::Refused);
    assert!(fix(422).contains("types"));
}

#[test]
fn status_425_and_503_are_transient_with_retry_after() {
    for status in [425, 503] {
        assert_eq!(failed(status).class, Class::Transient);
        let later = launch(status, &[("retry-after", "7"), ("inin-ratelimit-reset", "61")], "").unwrap_err();
        assert_eq!(later.retry_after, Some(Duration::from_secs(7)));
        let unsaid = launch(status, &[("inin-ratelimit-reset", "61")], "").unwrap_err();
        assert_eq!(unsaid.retry_after, None);
    }
}

#[test]
fn status_429_is_throttled_until_the_time_it_names() {
    assert_eq!(failed(429).class, Class::Throttled);
    let body =
        r#"{"message":"Rate limit exceeded. Retry the request in [3] seconds","code":"too.many.requests.retry.after"}"#;
    let after = |pairs: &[_]| launch(429, pairs, body).unwrap_err().retry_after.unwrap().as_secs();
    assert_eq!(after(&[("retry-after", "58"), ("inin-ratelimit-reset", "40")]), 58);
    assert_eq!(after(&[("inin-ratelimit-reset", "40")]), 40);
    assert_eq!(after(&[]), 3);
    assert_eq!(launch(429, &[], "").unwrap_err().retry_after, None);
}

#[test]
fn any_other_4xx_is_refused() {
    for status in (400..500).filter(|s| ![401, 403, 408, 425, 429].contains(s)) {
        assert_eq!(failed(status).class, Class::Refused, "{status}");
    }
}

#[test]
fn any_other_5xx_is_unknown() {
    for status in (500..600).filter(|s| *s != 503) {
        assert_eq!(failed(status).class, Class::Unknown, "{status}");
        assert!(fix(status).contains("may have been launched"));
    }
}

#[test]
fn what_is_no_final_status_is_unknown() {
    for status in [100, 101, 199, 600, 999] {
        assert_eq!(launch(status, &[], "{}").unwrap_err().class, Class::Unknown, "{status}");
    }
}

#[test]
fn the_correlation_id_comes_from_a_header_or_the_body() {
    let id = |pairs: &[_]| launch(400, pairs, ERROR).unwrap_err().correlation_id.unwrap();
    assert_eq!(
        id(&[("ININ-Correlation-Id", "old"), ("Genesys-Correlation-Id", "new")]),
        "old"
    );
    assert_eq!(id(&[("Genesys-Correlation-Id", "new")]), "new");
    assert_eq!(id(&[("ININ-Correlation-Id", "not an id")]), "from-body");
}

#[test]
fn without_a_message_the_status_has_a_name() {
    assert_eq!(launch(404, &[], "").unwrap_err().message, "Not Found");
    assert_eq!(launch(502, &[], "<html>").unwrap_err().message, "an HTML page");
    assert_eq!(launch(499, &[], "").unwrap_err().message, "no reason given");
}

#[test]
fn a_log_line_never_holds_what_the_api_wrote() {
    let body = r#"{"message":"Invalid value +1 555 0100 for phone","code":"invalid.value"}"#;
    let failure = launch(400, &[("ININ-Correlation-Id", "c-1")], body).unwrap_err();
    assert!(failure.to_string().contains("555 0100"));
    let line = failure.for_log();
    assert!(!line.contains("555") && !line.contains("phone"), "{line}");
    assert!(
        line.contains("HTTP 400 (invalid.value)") && line.contains("flowId") && line.contains("c-1"),
        "{line}"
    );
}

proptest! {
    #[test]
    fn nothing_an_api_can_answer_fails_us(status in 100_u16..1000, body in ".{0,80}", value in "[ -~]{0,30}") {
        let pairs = [("retry-after", value.as_str()), ("inin-correlation-id", value.as_str())];
        if let Err(failure) = launch(status, &pairs, &body) {
            prop_assert!(!failure.message.is_empty());
            prop_assert!(!failure.for_log().chars().any(char::is_control));
        }
    }
}
