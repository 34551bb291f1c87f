//! How bytes get there and back: one way for the launch, the reads and the login.
//!
//! Nothing is ever sent twice by itself:
//! - HTTP/1.1 only: a connection carries one request at a time, so a dying one takes one request along, not hundreds, and
//!   there is no protocol-level refusal that reqwest would retry by default.
//! - reqwest's retry policy is off, redirects are not followed (a redirected POST can be sent twice).
//! - hyper-util takes another connection when a pooled one turns out closed, but only with a request that the connection
//!   handed back untouched, its body never polled (`TrySendError::take_message`).
//! - TLS early data, which can be replayed, stays off (the default of rustls).

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Certificate, Request, Response};
use tokio::time::{Instant, timeout_at};
use url::{Host, Position, Url};

use super::Settings;

/// An idle connection that the server closes in the same moment in which we write to it makes an unknown outcome. So we
/// close first: the shortest idle time-out in common use is 5 s (Apache httpd, Node.js; load balancers have 60 s and more).
const IDLE: Duration = Duration::from_secs(4);

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

/// A connection pool for `target`.
pub(super) fn pool(settings: &Settings, target: &Url) -> Result<reqwest::Client, BuildError> {
    // Process-wide and once; an Err says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = HeaderMap::new();
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("flowlaunch/", env!("CARGO_PKG_VERSION"))),
    );
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let mut builder = reqwest::Client::builder()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .tcp_nodelay(true)
        .pool_idle_timeout(IDLE)
        .connect_timeout(settings.connect_timeout)
        .default_headers(headers);
    if is_loopback(target) {
        // A simulator on this machine is never behind the proxy, whatever NO_PROXY forgot.
        builder = builder.no_proxy();
    }
    if target.scheme() == "http" {
        // Without TLS no roots are loaded: reading them takes a while, and a bare container has none.
        builder = builder.tls_certs_only([]);
    } else {
        builder = builder.tls_certs_merge(certificates(settings)?);
    }
    builder.build().map_err(|error| BuildError::Http(reason(error)))
}

fn certificates(settings: &Settings) -> Result<Vec<Certificate>, BuildError> {
    let Some(path) = &settings.ca_file else {
        return Ok(Vec::new());
    };
    let pem = std::fs::read(path).map_err(|source| BuildError::CaFile {
        path: path.clone(),
        source,
    })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(BuildError::NoCertificate { path: path.clone() }),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
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

/// Sends a request, once, and reads the answer.
///
/// # Errors
/// A sentence, when there is not even the head of an answer. A body that breaks off is no error: the status counts.
pub(super) async fn exchange(http: &reqwest::Client, request: Request, timeout: Duration) -> Result<Answer, String> {
    let deadline = Instant::now() + timeout;
    let mut response = timeout_at(deadline, http.execute(request))
        .await
        .map_err(|_| format!("no answer within {timeout:?}"))?
        .map_err(reason)?;
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    let (body, cut) = read(response, deadline).await;
    Ok(Answer {
        status,
        headers,
        body,
        cut,
    })
}

async fn read(mut response: Response, deadline: Instant) -> (Bytes, Option<String>) {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let cut = loop {
        match timeout_at(deadline, response.chunk()).await {
            Ok(Ok(None)) => break None,
            // Nearly every answer is one chunk; that one is not copied.
            Ok(Ok(Some(chunk))) if first.is_empty() => first = chunk,
            Ok(Ok(Some(chunk))) => {
                if all.is_empty() {
                    all.extend_from_slice(&first);
                }
                all.extend_from_slice(&chunk);
                if all.len() > MAX_ANSWER {
                    break Some("more than 1 MiB".to_owned());
                }
            }
            Ok(Err(error)) => break Some(reason(error)),
            Err(_) => break Some("it took too long".to_owned()),
        }
    };
    (if all.is_empty() { first } else { all.freeze() }, cut)
}

/// What went wrong, without the URL, which may hold a password.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = String::new();
    let mut source = error.source();
    while let Some(error) = source {
        let separator = if text.is_empty() { "" } else { ": " };
        let _ = write!(text, "{separator}{error}"); // writing to a String cannot fail
        source = error.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::settings;

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

    #[test]
    fn a_ca_file_is_there_and_holds_certificates() {
        let mut settings = settings("https://api.x.org");
        settings.ca_file = Some("/nonexistent/ca.pem".into());
        let missing = pool(&settings, &settings.base_url).unwrap_err();
        assert!(matches!(missing, BuildError::CaFile { .. }), "{missing}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        settings.ca_file = Some(empty.path().to_owned());
        let empty = pool(&settings, &settings.base_url).unwrap_err();
        assert!(matches!(empty, BuildError::NoCertificate { .. }), "{empty}");
    }
}
