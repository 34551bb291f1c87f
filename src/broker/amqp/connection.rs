//! Connecting, with a time limit and an error that a person can act on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use tokio::time::timeout;

use super::super::settings::Settings;

/// TCP, TLS and the AMQP handshake together.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// A dead peer is noticed within two of these.
const HEARTBEAT: u16 = 10;

/// Why nobody can even try to connect.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EndpointError {
    /// The URL cannot be used.
    #[error("is not an AMQP URL ({0}): it looks like amqp://user:password@host:5672/vhost")]
    Url(String),
    /// A certificate or key cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
}

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there, or not in AMQP.
    #[error("cannot reach the broker at {at}: {why}. {mend}")]
    Unreachable {
        /// Host and port.
        at: String,
        /// What happened.
        why: String,
        /// What to do about it.
        mend: &'static str,
    },
    /// The broker answers and does not know this user or password.
    #[error("the broker at {at} refuses the login of user {user}: check user and password in broker.url ({why})")]
    Login {
        /// Host and port.
        at: String,
        /// The user.
        user: String,
        /// The broker's words.
        why: String,
    },
    /// The broker knows the user, and has no such virtual host for it.
    #[error(
        "the broker at {at} refuses virtual host {vhost}: check the end of broker.url (%2f is the vhost /), or give user \
         {user} a permission there ({why})"
    )]
    Vhost {
        /// Host and port.
        at: String,
        /// The user.
        user: String,
        /// The virtual host.
        vhost: String,
        /// The broker's words.
        why: String,
    },
}

/// What to do when nobody answers.
const REACH: &str = "Is it running? Check host and port in broker.url, and the network";
/// What to do when somebody answers, and not in AMQP.
const SPEAK: &str = "Is that RabbitMQ's port: 5672 with amqp://, 5671 with amqps://?";
/// What to do when TLS fails.
const TRUST: &str = "Set broker.ca_file to the authority that signed its certificate; the host in broker.url must be the \
                     certificate's";

/// Where the broker is and how to log in.
#[derive(Clone)]
pub struct Endpoint {
    uri: AMQPUri,
    tls: OwnedTLSConfig,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({})", self.at())
    }
}

impl Endpoint {
    /// From the settings; reads the certificate files.
    pub fn new(settings: &Settings) -> Result<Self, EndpointError> {
        let mut uri: AMQPUri = settings
            .url
            .expose()
            .parse()
            .map_err(|why: String| EndpointError::Url(why))?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| EndpointError::File {
                path: path.to_owned(),
                why: error.to_string(),
            })
        };
        let identity = match (&settings.client_cert_file, &settings.client_key_file) {
            (Some(cert), Some(key)) => Some(OwnedIdentity::PKCS8 {
                pem: read(cert)?,
                key: read(key)?,
            }),
            _ => None,
        };
        let cert_chain = match &settings.ca_file {
            Some(path) => Some(String::from_utf8(read(path)?).map_err(|_| EndpointError::File {
                path: path.clone(),
                why: "it is not PEM text".to_owned(),
            })?),
            None => None,
        };
        Ok(Self {
            uri,
            tls: OwnedTLSConfig { identity, cert_chain },
        })
    }

    /// Host and port, for people; never the password.
    pub fn at(&self) -> String {
        let scheme = match self.uri.scheme {
            AMQPScheme::AMQP => "amqp",
            AMQPScheme::AMQPS => "amqps",
        };
        format!("{scheme}://{}:{}", self.uri.authority.host, self.uri.authority.port)
    }

    /// The same, for a connection on which only small messages go: lapin keeps room for 32 of the largest frames each way,
    /// 8 MB with frames of 128 KiB. A message's headers must find room in one of `largest` bytes.
    #[must_use]
    pub fn with_frames(&self, largest: u32) -> Self {
        let mut small = self.clone();
        small.uri.query.frame_max = Some(largest);
        small
    }

    /// Opens a connection; `role` is what the broker's tools show for it.
    pub async fn connect(&self, role: &str) -> Result<Connection, ConnectError> {
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("flowlaunch {role} (process {})", std::process::id()).into());
        let runtime = lapin::runtime::default_runtime().map_err(|error| self.unreachable(error.to_string(), REACH))?;
        let connecting = Connection::connect_uri_with_config(self.uri.clone(), properties, self.tls.clone(), runtime);
        match timeout(CONNECT_LIMIT, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.explain(&error)),
            Err(_) => Err(self.unreachable(format!("no answer within {} s", CONNECT_LIMIT.as_secs()), REACH)),
        }
    }

    fn unreachable(&self, why: String, mend: &'static str) -> ConnectError {
        ConnectError::Unreachable {
            at: self.at(),
            why,
            mend,
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign, non-exhaustive enum")]
    fn explain(&self, error: &lapin::Error) -> ConnectError {
        let (at, user) = (self.at(), self.uri.authority.userinfo.username.clone());
        match error.kind() {
            ErrorKind::ProtocolError(error) => {
                let why = plain(error.get_message().as_str());
                match error.kind() {
                    AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => ConnectError::Login { at, user, why },
                    AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => ConnectError::Vhost {
                        at,
                        user,
                        vhost: self.uri.vhost.clone(),
                        why,
                    },
                    AMQPErrorKind::Soft(_) | AMQPErrorKind::Hard(_) => self.unreachable(why, SPEAK),
                }
            }
            ErrorKind::IOError(error) => self.explain_io(error),
            _ => self.unreachable(error.to_string(), SPEAK),
        }
    }

    fn explain_io(&self, error: &std::io::Error) -> ConnectError {
        use std::io::ErrorKind::{ConnectionAborted, InvalidData, UnexpectedEof};

        let (kind, why) = (error.kind(), error.to_string());
        // rustls' words for what the other side, or its certificate, is.
        let mend = if kind == InvalidData && why.contains("certificate") {
            TRUST
        } else if matches!(kind, InvalidData | ConnectionAborted | UnexpectedEof) {
            SPEAK
        } else {
            REACH
        };
        self.unreachable(why, mend)
    }
}

/// RabbitMQ's sentence without what points to its own log, and without the full stop.
fn plain(message: &str) -> String {
    let message = message.split(" For details see").next().unwrap_or(message);
    message.trim_end_matches('.').to_owned()
}
