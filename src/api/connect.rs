//! The way to a server: TCP, TLS, and the proxy that the environment names.
//!
//! Made of the parts that reqwest is made of, so that a launch goes the way that the reads and the login go.

use std::error::Error;
use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Uri};
use hyper::rt::{Read, Write};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tower_service::Service;
use url::{Host, Url};

use super::Settings;
use super::transport::{BuildError, OURSELVES, reason};

/// What bytes go through. Whatever is wrapped around one has to pass on vectored writes: without them hyper's buffer could
/// be full with a large body, and the head flushed before the last look (see `last_look`).
pub(super) trait Stream: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin> Stream for T {}

/// TCP, with TLS where the scheme says so.
type Tls<T> = HttpsConnector<T>;

/// How a server is reached.
pub(super) enum Way {
    /// Straight.
    Direct(Tls<HttpConnector>),
    /// Through the proxy, which reads and passes on each request: plain HTTP.
    Forward(Intercept, Tls<HttpConnector>),
    /// Through the proxy, which sees nothing of it: TLS.
    Tunnel(Tls<Tunnel<Tls<HttpConnector>>>),
}

impl Way {
    /// The way to `target`, past the proxies that `matcher` knows; of several addresses each has its share of `limit`.
    pub(super) fn new(target: &Uri, matcher: &Matcher, tls: ClientConfig, limit: Duration) -> Self {
        let tls = Arc::new(tls);
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(limit));
        let straight = HttpsConnector::from((tcp, tls.clone()));
        match matcher.intercept(target) {
            None => Self::Direct(straight),
            Some(proxy) if target.scheme_str() == Some("https") => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), straight);
                tunnel = tunnel.with_headers(HeaderMap::from_iter([(USER_AGENT, OURSELVES)]));
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                Self::Tunnel(HttpsConnector::from((tunnel, tls)))
            }
            Some(proxy) => Self::Forward(proxy, straight),
        }
    }

    /// What the proxy wants to be told with each request: the whole address, and who asks.
    pub(super) fn forward(&self) -> Option<Option<&HeaderValue>> {
        match self {
            Self::Forward(proxy, _) => Some(proxy.basic_auth()),
            Self::Direct(_) | Self::Tunnel(_) => None,
        }
    }

    /// A connection to `target`.
    ///
    /// # Errors
    /// Why there is none; never with a URL of a proxy in it, which may hold a password.
    pub(super) async fn connect(&self, target: &Uri) -> Result<Box<dyn Stream>, String> {
        match self {
            Self::Direct(tls) => call(tls.clone(), target.clone()).await,
            Self::Forward(proxy, tls) => call(tls.clone(), proxy.uri().clone()).await,
            Self::Tunnel(tunnel) => call(tunnel.clone(), target.clone()).await,
        }
    }
}

async fn call<C>(mut connector: C, target: Uri) -> Result<Box<dyn Stream>, String>
where
    C: Service<Uri, Error = Box<dyn Error + Send + Sync>>,
    C::Response: Stream + 'static,
{
    let connected = async {
        poll_fn(|cx| connector.poll_ready(cx)).await?;
        connector.call(target).await
    };
    match connected.await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(reason(&*error)),
    }
}

/// The proxies of the environment, but for a server on this machine: a simulator is never behind one, whatever NO_PROXY
/// forgot.
pub(super) fn proxies(target: &Url) -> Matcher {
    if is_loopback(target) {
        Matcher::builder().build()
    } else {
        Matcher::from_system()
    }
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whom we trust: this machine's certificates, and those of `ca_file`. HTTP/1.1 is all that is offered.
pub(super) fn tls(settings: &Settings, target: &Url) -> Result<ClientConfig, BuildError> {
    let unfit = |error: rustls::Error| BuildError::Http(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(unfit)?;
    let mut config = if target.scheme() == "http" {
        // Without TLS no roots are loaded: reading them takes a while, and a bare container has none.
        builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth()
    } else {
        let extra = settings.ca_file.as_deref().map_or(Ok(Vec::new()), certificates)?;
        let verifier = Verifier::new_with_extra_roots(extra, provider).map_err(unfit)?;
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth()
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let path = || path.to_owned();
    let pem = std::fs::read(path()).map_err(|source| BuildError::CaFile { path: path(), source })?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(BuildError::NoCertificate { path: path() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::settings;

    #[test]
    fn a_ca_file_is_there_and_holds_certificates() {
        let mut settings = settings("https://api.x.org");
        settings.ca_file = Some("/nonexistent/ca.pem".into());
        let missing = tls(&settings, &settings.base_url).unwrap_err();
        assert!(matches!(missing, BuildError::CaFile { .. }), "{missing}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        settings.ca_file = Some(empty.path().to_owned());
        let empty = tls(&settings, &settings.base_url).unwrap_err();
        assert!(matches!(empty, BuildError::NoCertificate { .. }), "{empty}");
    }
}
