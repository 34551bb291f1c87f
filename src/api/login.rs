//! One request for a token, and what its answer means.
//!
//! A refusal of this client halts the worker, and so does something that is no token endpoint at all (a redirect, a page with
//! 200, a 404): waiting mends neither. Everything else that goes wrong here is an outage. Nothing was launched in any case,
//! so no job may die of it.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::connect;
use super::transport::{self, Answer};
use super::{BuildError, Settings, classify, retry_after};
use crate::outcome::{Class, Failure};

const CLIENT: &str = "Check api.client_id and api.client_secret, that the OAuth client is of the type Client Credentials, and that api.region is its own";
const ENDPOINT: &str = "Check api.region or api.login_url, and the network";
const ELSEWHERE: &str = "This is not the token endpoint: check api.region or api.login_url";

/// Without `expires_in` the shortest life that the vendor lets one configure.
const LIFE_UNSAID: Duration = Duration::from_secs(300);
/// The longest that the vendor lets one configure; a greater number is an error of somebody's.
const LONGEST_LIFE: Duration = Duration::from_secs(172_800);

/// A token, fresh from the endpoint.
pub(super) struct Minted {
    pub(super) token: SecretString,
    pub(super) life: Duration,
}

/// The token endpoint.
pub(super) struct Login {
    http: reqwest::Client,
    url: Url,
    client_id: String,
    client_secret: SecretString,
    timeout: Duration,
}

impl Login {
    pub(super) fn new(settings: &Settings) -> Result<Self, BuildError> {
        let url = transport::endpoint("login_url", &settings.login_url, "oauth/token")?;
        Ok(Self {
            http: transport::pool(settings, &url, connect::tls(settings, &url)?)?,
            url,
            client_id: settings.client_id.clone(),
            client_secret: settings.client_secret.clone(),
            timeout: settings.timeout,
        })
    }

    /// Asks for a token, once.
    pub(super) async fn mint(&self) -> Result<Minted, Failure> {
        // Basic auth as the vendor takes it, plain base64 of id and secret: RFC 6749 would have both form-encoded first, which
        // makes no difference for the characters that the vendor uses in them. reqwest marks the header as sensitive.
        let request = self
            .http
            .post(self.url.clone())
            .basic_auth(&self.client_id, Some(self.client_secret.expose_secret()))
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            )
            .body("grant_type=client_credentials")
            .build()
            .map_err(|_| unreachable("the request for a token cannot be built".to_owned()))?;
        let basic = request.headers().get(AUTHORIZATION).cloned();
        let mut answer = transport::exchange(&self.http, request, self.timeout)
            .await
            .map_err(|reason| {
                let at = transport::at(&self.url);
                unreachable(format!("the token endpoint at {at} cannot be reached: {reason}"))
            })?;
        token(&answer).ok_or_else(|| {
            answer.hide(self.client_secret.expose_secret().as_bytes());
            answer.hide(basic.as_ref().map_or(&[], HeaderValue::as_bytes));
            refusal(&answer)
        })
    }
}

fn unreachable(message: String) -> Failure {
    Failure {
        fix: Some(ENDPOINT),
        from_login: true,
        ..Failure::new(Class::Unreachable, message)
    }
}

fn token(answer: &Answer) -> Option<Minted> {
    let body: Value = answer
        .status
        .is_success()
        .then(|| serde_json::from_slice(&answer.body).ok())??;
    let token = body["access_token"].as_str().filter(|token| !token.is_empty())?;
    let said = &body["expires_in"];
    let seconds = said.as_f64().or_else(|| said.as_str()?.trim().parse().ok());
    // An error here is a negative number or none (no life at all), or one too great to be a duration.
    let life = seconds.map_or(LIFE_UNSAID, |s| {
        let none = if s > 0.0 { LONGEST_LIFE } else { Duration::ZERO };
        Duration::try_from_secs_f64(s).unwrap_or(none).min(LONGEST_LIFE)
    });
    Some(Minted {
        token: token.into(),
        life,
    })
}

/// What an answer without a token means.
fn refusal(answer: &Answer) -> Failure {
    let now = Timestamp::now();
    let said = classify::failure(answer.status, &answer.headers, &answer.body, now);
    let (class, fix) = meaning(answer.status, said.code.as_deref(), &said.message);
    let message = if answer.status.is_success() {
        "the answer holds no access token".to_owned()
    } else {
        said.message
    };
    let retry_after = if class == Class::Throttled {
        retry_after::throttled(&answer.headers, &message, now)
    } else {
        retry_after::header(&answer.headers, now)
    };
    Failure {
        class,
        fix,
        message,
        retry_after,
        from_login: true,
        ..said
    }
}

fn meaning(status: StatusCode, code: Option<&str>, message: &str) -> (Class, Option<&'static str>) {
    match status.as_u16() {
        // The vendor's rate limit comes as a 400 of any code; a refusal it is not.
        400 if message.to_ascii_lowercase().contains("rate limit exceeded") => (Class::Throttled, None),
        400 => match code {
            // RFC 6749, section 5.2: those that say something about this client. `invalid_request` says something about us,
            // and a 400 without a code comes from something else on the way.
            Some(
                "invalid_client" | "unauthorized_client" | "unsupported_grant_type" | "invalid_grant" | "invalid_scope",
            ) => (Class::Unauthorized, Some(CLIENT)),
            Some(_) | None => (Class::Unreachable, Some(ENDPOINT)),
        },
        401 | 403 => (Class::Unauthorized, Some(CLIENT)),
        429 => (Class::Throttled, None),
        // 2xx: with a token in it, it would be none of these.
        200..=399 | 404 | 405 | 410 => (Class::Misdirected, Some(ELSEWHERE)),
        _ => (Class::Unreachable, Some(ENDPOINT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{Peer, answer, settings};

    async fn mint(bytes: &str) -> (Result<Minted, Failure>, String) {
        let peer = Peer::bind().await;
        let login = Login::new(&settings(&peer.url())).unwrap();
        tokio::join!(login.mint(), peer.serve(bytes))
    }

    async fn life(body: &str) -> u64 {
        mint(&answer(200, body)).await.0.ok().unwrap().life.as_secs()
    }

    #[tokio::test]
    async fn the_request_is_the_vendors() {
        let (minted, request) = mint(&answer(
            200,
            r#"{"access_token":"t","token_type":"bearer","expires_in":86400}"#,
        ))
        .await;
        assert_eq!(minted.ok().unwrap().life.as_secs(), 86_400);
        let request = request.to_lowercase();
        assert!(request.starts_with("post /oauth/token http/1.1\r\n"), "{request}");
        assert!(
            request.contains("authorization: basic dghllwnsawvuddpzm2nyzxq=\r\n"),
            "{request}"
        ); // the-client:s3cret
        assert!(
            request.contains("content-type: application/x-www-form-urlencoded\r\n"),
            "{request}"
        );
        assert!(request.ends_with("\r\n\r\ngrant_type=client_credentials"), "{request}");
    }

    #[tokio::test]
    async fn a_life_in_any_form() {
        assert_eq!(life(r#"{"access_token":"t"}"#).await, 300);
        assert_eq!(life(r#"{"access_token":"t","expires_in":"3"}"#).await, 3);
        assert_eq!(life(r#"{"access_token":"t","expires_in":-3}"#).await, 0);
        assert_eq!(life(r#"{"access_token":"t","expires_in":1e300}"#).await, 172_800);
        assert_eq!(life(r#"{"access_token":"t","expires_in":null}"#).await, 300);
    }

    #[tokio::test]
    async fn what_the_endpoint_says_and_what_it_means() {
        let not_found = r#"{"error":"invalid_client","description":"client not found"}"#;
        let wrong_secret = r#"{"error":"invalid_client","error_description":"authentication failed"}"#;
        let limited = r#"{"error":"invalid_request","description":"rate limit exceeded; try again"}"#;
        for (status, body, class) in [
            (400, not_found, Class::Unauthorized),
            (400, r#"{"error":"unauthorized_client"}"#, Class::Unauthorized),
            (401, wrong_secret, Class::Unauthorized),
            (401, "", Class::Unauthorized),
            (403, "{}", Class::Unauthorized),
            (400, limited, Class::Throttled),
            (
                400,
                r#"{"error":"invalid_request","error_description":"Rate limit exceeded; x"}"#,
                Class::Throttled,
            ),
            (429, "", Class::Throttled),
            (301, "", Class::Misdirected),
            (
                400,
                r#"{"error":"invalid_request","description":"no grant_type"}"#,
                Class::Unreachable,
            ),
            (400, "<html>", Class::Unreachable),
            (404, not_found, Class::Misdirected),
            (200, "<html>Sign in</html>", Class::Misdirected),
            (200, r#"{"access_token":""}"#, Class::Misdirected),
            (200, "[]", Class::Misdirected),
            (204, "", Class::Misdirected),
            (408, "", Class::Unreachable),
            (500, "{}", Class::Unreachable),
            (503, "{}", Class::Unreachable),
        ] {
            let failure = mint(&answer(status, body)).await.0.err().unwrap();
            assert_eq!(failure.class, class, "{status} {body}");
            assert!(failure.from_login);
            assert_eq!(failure.status, Some(status));
            assert!(failure.fix.is_some() || class == Class::Throttled, "{failure}");
        }
    }

    #[tokio::test]
    async fn it_may_say_when_to_come_back() {
        let answer = "HTTP/1.1 400 Bad\r\nretry-after: 9\r\ncontent-length: 37\r\n\r\n{\"description\":\"rate limit exceeded\"} ";
        let failure = mint(answer).await.0.err().unwrap();
        assert_eq!(
            (failure.class, failure.retry_after),
            (Class::Throttled, Some(Duration::from_secs(9)))
        );
    }

    #[tokio::test]
    async fn no_answer_at_all_is_unreachable() {
        assert_eq!(mint("").await.0.err().unwrap().class, Class::Unreachable);
        let nobody = Peer::bind().await.url();
        let login = Login::new(&settings(&nobody)).unwrap();
        let failure = login.mint().await.err().unwrap();
        assert!(failure.message.contains("refused"), "{failure}");
        assert_eq!((failure.class, failure.status), (Class::Unreachable, None));
    }

    #[tokio::test]
    async fn an_endpoint_that_echoes_the_secret_does_not_get_it_into_a_message() {
        let page = "you sent s3cret as Basic dGhlLWNsaWVudDpzM2NyZXQ=";
        let failure = mint(&answer(500, page)).await.0.err().unwrap();
        assert_eq!(failure.message, "you sent [redacted] as [redacted]");
    }
}
