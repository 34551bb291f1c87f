//! The token: kept until shortly before it expires, and minted by one caller at a time.
//!
//! The vendor asks integrators to use one token; minting many can get a client shut down.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::login::{Login, Minted};
use super::{BuildError, Settings};
use crate::outcome::{Class, Failure};

/// A token stops being handed out this long before it expires, so that it is still good when a request that waited for its
/// turn arrives: the longest wait from here to there is a request's time-out, 15 s by default. A token that lives shorter
/// than ten times as long gives up a tenth of its life instead, or one of a few seconds would never be used.
const MARGIN: Duration = Duration::from_secs(60);
/// However short its life: a server that says 0 must not make us mint one per launch.
const SHORTEST_USE: Duration = Duration::from_secs(1);

/// A token, ready to be sent. It never shows itself.
#[derive(Clone)]
pub struct AccessToken {
    header: HeaderValue,
    serial: u64,
    asked_at: Instant,
}

impl AccessToken {
    fn new(token: &SecretString, serial: u64, asked_at: Instant) -> Option<Self> {
        let mut header = HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).ok()?;
        header.set_sensitive(true);
        Some(Self {
            header,
            serial,
            asked_at,
        })
    }

    /// Whether it was minted at `moment` or later: then a 401 for it, after one for another token at that moment, is no
    /// token's fault any more.
    pub fn is_minted_since(&self, moment: Instant) -> bool {
        self.asked_at >= moment
    }

    /// The value of the `Authorization` header: a cheap clone, marked as sensitive.
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// The token itself, to be looked for in what a server sends back.
    pub(super) fn secret(&self) -> &[u8] {
        let header = self.header.as_bytes();
        header.strip_prefix(b"Bearer ").unwrap_or(header)
    }

    #[cfg(test)]
    pub(super) fn for_tests(token: &str) -> Self {
        Self::new(&token.into(), 0, Instant::now()).unwrap()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessToken(#{})", self.serial)
    }
}

/// How a request for a token ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MintResult {
    /// There is a token.
    Ok,
    /// The endpoint refuses this client.
    Refused,
    /// The endpoint said: later.
    Throttled,
    /// Anything else.
    Failed,
}

impl MintResult {
    /// Every result, for a metric that starts at zero.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Refused, Self::Throttled, Self::Failed];

    /// The word for it in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::Failed => "failed",
        }
    }

    const fn of(outcome: &Result<AccessToken, Failure>) -> Self {
        let Err(failure) = outcome else { return Self::Ok };
        match failure.class {
            Class::Unauthorized => Self::Refused,
            Class::Throttled => Self::Throttled,
            Class::Unreachable
            | Class::Transient
            | Class::Unknown
            | Class::Refused
            | Class::Forbidden
            | Class::Misdirected => Self::Failed,
        }
    }
}

/// The tokens of one OAuth client: one at a time.
pub struct Tokens {
    login: Login,
    cached: RwLock<Option<Cached>>,
    /// Held while minting. What it guards is the last outcome, for those who waited for it.
    minting: Mutex<Option<Result<AccessToken, Failure>>>,
    /// How many mintings have ended; read before waiting, it tells an outcome that came meanwhile from an old one.
    ended: AtomicU64,
    on_mint: Box<dyn Fn(MintResult) + Send + Sync>,
}

struct Cached {
    token: AccessToken,
    usable_until: Instant,
    expires_at: Timestamp,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Tokens with these credentials; asks for none yet. `on_mint` is called after each request for one.
    ///
    /// # Errors
    /// When the URL or the certificates are of no use.
    pub fn new(settings: &Settings, on_mint: impl Fn(MintResult) + Send + Sync + 'static) -> Result<Self, BuildError> {
        Ok(Self {
            login: Login::new(settings)?,
            cached: RwLock::default(),
            minting: Mutex::default(),
            ended: AtomicU64::new(0),
            on_mint: Box::new(on_mint),
        })
    }

    /// A valid token: the cached one, or a new one.
    ///
    /// # Errors
    /// When the token endpoint gives none. Those who waited for the same request share its failure.
    pub async fn get(&self) -> Result<AccessToken, Failure> {
        match self.cached() {
            Some(token) => Ok(token),
            None => self.wait_or_mint().await,
        }
    }

    /// After a 401: a token newer than `stale`, which is not handed out any more.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn renew(&self, stale: &AccessToken) -> Result<AccessToken, Failure> {
        {
            let mut cached = self.cached.write().unwrap_or_else(PoisonError::into_inner);
            if cached
                .as_ref()
                .is_some_and(|cached| cached.token.serial <= stale.serial)
            {
                *cached = None;
            }
        }
        self.get().await
    }

    /// A token minted from here on, whatever is cached: to find out whether the credentials are good.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn fresh(&self) -> Result<AccessToken, Failure> {
        *self.cached.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.get().await
    }

    /// When the cached token expires, by what the endpoint said.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.cached
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(|cached| cached.expires_at)
    }

    fn cached(&self) -> Option<AccessToken> {
        let cached = self.cached.read().unwrap_or_else(PoisonError::into_inner);
        cached
            .as_ref()
            .filter(|cached| Instant::now() < cached.usable_until)
            .map(|cached| cached.token.clone())
    }

    /// One caller mints, the others wait. When the one who mints is dropped on the way, the lock is free with nothing ended,
    /// and the next in the queue mints.
    async fn wait_or_mint(&self) -> Result<AccessToken, Failure> {
        let before = self.ended.load(Ordering::Acquire);
        let mut last = self.minting.lock().await;
        let serial = self.ended.load(Ordering::Acquire);
        if serial > before
            && let Some(outcome) = &*last
        {
            return outcome.clone();
        }
        // It ended between the look at the cache and the look at the count.
        if let Some(token) = self.cached() {
            return Ok(token);
        }
        let outcome = self.mint(serial + 1).await;
        // No await from here on: who shares an outcome finds it in the cache too.
        *last = Some(outcome.clone());
        self.ended.store(serial + 1, Ordering::Release);
        (self.on_mint)(MintResult::of(&outcome));
        outcome
    }

    async fn mint(&self, serial: u64) -> Result<AccessToken, Failure> {
        // Its life began, at the latest, when it was asked for.
        let (asked, asked_at) = (Instant::now(), Timestamp::now());
        let Minted { token, life } = self.login.mint().await?;
        let token = AccessToken::new(&token, serial, asked).ok_or_else(|| Failure {
            from_login: true,
            ..Failure::new(
                Class::Unreachable,
                "the token endpoint gave a token that no header can carry",
            )
        })?;
        let cached = Cached {
            token: token.clone(),
            usable_until: asked + life.saturating_sub(MARGIN.min(life / 10)).max(SHORTEST_USE),
            expires_at: asked_at.checked_add(life).unwrap_or(asked_at),
        };
        *self.cached.write().unwrap_or_else(PoisonError::into_inner) = Some(cached);
        Ok(token)
    }
}

#[cfg(test)]
mod tests;
