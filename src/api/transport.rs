//! How the reads and the login get there and back: requests that may be repeated, so they take reqwest as it is, with all
//! that repeats by itself switched off. And what they share with the launch, which has connections of its own (`wire`).

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Uri;
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Request, Response};
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};
use url::{Position, Url};

use super::Settings;
use super::connect::is_loopback;

/// An idle connection that the server closes in the same moment in which we write to it makes an unknown outcome. So we
/// close first: the shortest idle time-out in common use is 5 s (Apache httpd, Node.js; load balancers have 60 s and more).
pub(super) const IDLE: Duration = Duration::from_secs(4);
/// Who asks.
pub(super) const OURSELVES: HeaderValue = HeaderValue::from_static(concat!("flowlaunch/", env!("CARGO_PKG_VERSION")));
/// What is sent and wanted.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// More than this of an answer is not read; the API's answers are a few hundred bytes.
pub(super) const MAX_ANSWER: usize = 1024 * 1024;

/// Why a client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A URL that cannot be one of the API.
    #[error("{which}: {problem}")]
    Url {
        /// `base_url` or `login_url`.
        which: &'static str,
        /// What is wrong with it; never the URL itself, which may hold a password.
        problem: &'static str,
    },
    /// The file of certificates cannot be read.
    #[error("ca_file {path}: {source}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file of certificates holds none.
    #[error("ca_file {path}: no certificate in PEM format in it")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// TLS or a proxy cannot be set up.
    #[error("cannot set up HTTP: {0}")]
    Http(String),
}

/// What keeps a URL from being an address of the API. The URL itself is never shown: it may hold a password.
pub fn wrong_address(url: &Url) -> Option<&'static str> {
    let path = url.path().trim_end_matches('/');
    if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
        Some("must be https://HOST, or http://HOST for a simulator")
    } else if !url.username().is_empty() || url.password().is_some() {
        Some("must not hold a user or a password: they are api.client_id and api.client_secret")
    } else if url.query().is_some() || url.fragment().is_some() {
        Some("must not hold a query or a fragment")
    } else if path.ends_with("/api/v2") || path.ends_with("/oauth/token") {
        Some("must be the host alone, without /api/v2 or /oauth/token: the path is added")
    } else {
        None
    }
}

/// The URL of `path` below `base`.
pub(super) fn endpoint(which: &'static str, base: &Url, path: &str) -> Result<Url, BuildError> {
    if let Some(problem) = wrong_address(base) {
        return Err(BuildError::Url { which, problem });
    }
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    Ok(url)
}

/// Host and port, for people; never a user or a password.
pub(super) fn at(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}

/// The same as what the HTTP libraries go by.
pub(super) fn uri(which: &'static str, url: &Url) -> Result<Uri, BuildError> {
    let problem = "is no address that a request can be sent to";
    url.as_str().parse().map_err(|_| BuildError::Url { which, problem })
}

/// A connection pool for `target`.
pub(super) fn pool(settings: &Settings, target: &Url, tls: ClientConfig) -> Result<reqwest::Client, BuildError> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, OURSELVES);
    headers.insert(ACCEPT, JSON);
    let mut builder = reqwest::Client::builder()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .tcp_nodelay(true)
        .pool_idle_timeout(IDLE)
        .connect_timeout(settings.connect_timeout)
        .default_headers(headers)
        .tls_backend_preconfigured(tls);
    if is_loopback(target) {
        // As for launches: see `connect::proxies`.
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| BuildError::Http(failed(error)))
}

/// An answer, as far as it came.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Why the body is not whole, when it is not.
    pub(super) cut: Option<String>,
}

impl Answer {
    /// Takes a secret out of the body, before anything is read from it: a debugging page that shows the request's own
    /// headers must not bring one into our messages.
    pub(super) fn hide(&mut self, secret: &[u8]) {
        if !secret.is_empty() && self.body.windows(secret.len()).any(|window| window == secret) {
            let secret = String::from_utf8_lossy(secret);
            self.body = String::from_utf8_lossy(&self.body)
                .replace(&*secret, "[redacted]")
                .into();
        }
    }
}

/// An answer that comes.
pub(super) struct Gathered {
    status: StatusCode,
    headers: HeaderMap,
    first: Bytes,
    all: BytesMut,
}

impl Gathered {
    pub(super) fn new(status: StatusCode, headers: HeaderMap) -> Self {
        Self {
            status,
            headers,
            first: Bytes::new(),
            all: BytesMut::new(),
        }
    }

    /// Adds a piece of the body.
    ///
    /// # Errors
    /// Why no more of it is read.
    pub(super) fn add(&mut self, chunk: Bytes) -> Result<(), String> {
        // Nearly every answer is one chunk; that one is not copied.
        if self.first.is_empty() {
            self.first = chunk;
            return Ok(());
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&chunk);
        if self.all.len() > MAX_ANSWER {
            return Err("more than 1 MiB".to_owned());
        }
        Ok(())
    }

    /// It ended as it should.
    pub(super) fn whole(self) -> Answer {
        let body = if self.all.is_empty() {
            self.first
        } else {
            self.all.freeze()
        };
        Answer {
            status: self.status,
            headers: self.headers,
            body,
            cut: None,
        }
    }

    /// It broke off.
    pub(super) fn cut(self, why: String) -> Answer {
        Answer {
            cut: Some(why),
            ..self.whole()
        }
    }
}

/// Sends a request, once, and reads the answer.
///
/// # Errors
/// A sentence, when there is not even the head of an answer. A body that breaks off is no error: the status counts.
pub(super) async fn exchange(http: &reqwest::Client, request: Request, timeout: Duration) -> Result<Answer, String> {
    let deadline = Instant::now() + timeout;
    let mut response = timeout_at(deadline, http.execute(request))
        .await
        .map_err(|_| format!("no answer within {timeout:?}"))?
        .map_err(failed)?;
    let headers = std::mem::take(response.headers_mut());
    let mut answer = Gathered::new(response.status(), headers);
    match timeout_at(deadline, read(response, &mut answer)).await {
        Ok(Ok(())) => Ok(answer.whole()),
        Ok(Err(why)) => Ok(answer.cut(why)),
        Err(_) => Ok(answer.cut("it took too long".to_owned())),
    }
}

async fn read(mut response: Response, answer: &mut Gathered) -> Result<(), String> {
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        answer.add(chunk)?;
    }
    Ok(())
}

/// What went wrong, without the URL, which may hold a password.
fn failed(error: reqwest::Error) -> String {
    let error = error.without_url();
    error.source().map_or_else(|| error.to_string(), reason)
}

/// What went wrong, down to its causes.
pub(super) fn reason(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(text, ": {error}"); // writing to a String cannot fail
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(base: &str) -> Result<String, String> {
        let base = Url::parse(base).unwrap();
        endpoint("base_url", &base, "api/v2/flows")
            .map(String::from)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_path_is_added_below_a_prefix_too() {
        assert_eq!(url("https://api.x.org").unwrap(), "https://api.x.org/api/v2/flows");
        assert_eq!(
            url("http://x.org:81/gateway/").unwrap(),
            "http://x.org:81/gateway/api/v2/flows"
        );
    }

    #[test]
    fn a_url_that_cannot_be_the_apis_is_refused_without_showing_it() {
        for base in [
            "ftp://x.org",
            "https://user:pa55@x.org",
            "https://x.org/?pa55",
            "https://x.org/#pa55",
            "https://x.org/api/v2/",
            "https://x.org/oauth/token",
            "data:pa55",
        ] {
            let problem = url(base).unwrap_err();
            assert!(
                problem.starts_with("base_url: must ") && !problem.contains("pa55"),
                "{base}: {problem}"
            );
        }
    }
}
