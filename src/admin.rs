//! The admin listener: metrics, probes, status. It knows nothing of what it reports about.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Exporter;

/// A process whose heart has not beaten for so long is stuck. The worker's loop beats every second; half a minute is
/// more than any hiccup, and less than what the broker waits before it gives the jobs to somebody else.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);

/// How often histogram samples are moved into their buckets when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Settings {
    /// Where it listens.
    #[serde(deserialize_with = "listen_address")]
    pub listen: SocketAddr,
}

fn listen_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong =
        |_| format!("must be an address and a port such as \"127.0.0.1:9464\" or \"0.0.0.0:9464\", not {text:?}");
    text.parse().map_err(wrong).map_err(serde::de::Error::custom)
}

/// What is reported about.
pub trait Health: Send + Sync {
    /// Whether it is able to work.
    fn ready(&self) -> Readiness;
    /// When its heart last beat.
    fn heartbeat(&self) -> Instant;
    /// Everything a person may want to know, for `/status`.
    fn status(&self) -> Value;
    /// Brings gauges up to date; called before metrics are read.
    fn refresh(&self) {}
}

/// Whether something is able to work, and what holds it up.
#[derive(Clone, Debug, PartialEq)]
pub struct Readiness {
    /// Able to work. A closed gate or a pause is no inability.
    pub ready: bool,
    /// Why not, or what it is waiting for; `ok` when nothing is to be said.
    pub reason: String,
    /// More about it, for programs.
    pub detail: Value,
}

impl Readiness {
    /// Able to work, with nothing to be said.
    pub fn ok() -> Self {
        Self {
            ready: true,
            reason: "ok".to_owned(),
            detail: Value::Null,
        }
    }
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Somebody else has the port.
    #[error(
        "admin.listen = \"{0}\": the port is in use, perhaps by another worker; set admin.listen \
         (FLOWLAUNCH_ADMIN__LISTEN) to another one, or stop what uses it"
    )]
    InUse(SocketAddr),
    /// It cannot be had for another reason.
    #[error(
        "admin.listen = \"{0}\": cannot listen there: {1}; set admin.listen (FLOWLAUNCH_ADMIN__LISTEN) to another address"
    )]
    Listen(SocketAddr, #[source] std::io::Error),
}

/// The listener, bound and not yet serving: a port in use is known before any work begins.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Takes the port.
    pub async fn bind(settings: &Settings) -> Result<Self, AdminError> {
        let wanted = settings.listen;
        let fail = |error: std::io::Error| {
            if error.kind() == std::io::ErrorKind::AddrInUse {
                AdminError::InUse(wanted)
            } else {
                AdminError::Listen(wanted, error)
            }
        };
        let listener = TcpListener::bind(wanted).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        Ok(Self { listener, address })
    }

    /// Where it listens; with port 0 in the settings, the port that was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, and keeps the metrics in order meanwhile.
    pub async fn serve(
        self,
        health: Arc<dyn Health>,
        exporter: Exporter,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let upkeep = upkeep(exporter.clone());
        let served = axum::serve(self.listener, router(health, exporter));
        tokio::select! {
            // A probe under way is cut off: nothing is lost with it, and an idle connection must not hold up the end.
            () = stop.cancelled() => Ok(()),
            () = upkeep => Ok(()),
            ended = served => ended,
        }
    }
}

/// Keeps the metrics in order where nobody listens.
pub async fn upkeep(exporter: Exporter) {
    let mut tick = tokio::time::interval(UPKEEP);
    loop {
        tick.tick().await;
        exporter.upkeep();
    }
}

#[derive(Clone)]
struct Reported {
    health: Arc<dyn Health>,
    exporter: Exporter,
}

/// The routes, for those who have a listener of their own.
pub fn router(health: Arc<dyn Health>, exporter: Exporter) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .with_state(Reported { health, exporter })
}

async fn metrics(State(reported): State<Reported>) -> impl IntoResponse {
    reported.health.refresh();
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        reported.exporter.render(),
    )
}

/// Fails only when the process is stuck: restarting it helps against nothing else.
async fn livez(State(reported): State<Reported>) -> Response {
    let silent = reported.health.heartbeat().elapsed();
    if silent <= STUCK_AFTER {
        return "ok\n".into_response();
    }
    let reason = format!("stuck: no heartbeat for {} s\n", silent.as_secs());
    (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
}

async fn readyz(State(reported): State<Reported>) -> Response {
    let Readiness { ready, reason, detail } = reported.health.ready();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({ "ready": ready, "reason": reason, "detail": detail })),
    )
        .into_response()
}

async fn status(State(reported): State<Reported>) -> Json<Value> {
    Json(reported.health.status())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::metrics::{Broker, Metrics};

    struct Fake {
        ready: Mutex<Readiness>,
        beat: Instant,
    }

    impl Health for Fake {
        fn ready(&self) -> Readiness {
            self.ready.lock().unwrap().clone()
        }

        fn heartbeat(&self) -> Instant {
            self.beat
        }

        fn status(&self) -> Value {
            json!({ "inFlight": 3 })
        }
    }

    fn local() -> Settings {
        Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
        }
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn probes_metrics_and_status() {
        let fake = Arc::new(Fake {
            ready: Mutex::new(Readiness::ok()),
            beat: Instant::now(),
        });
        let (_metrics, exporter) = Metrics::new(Broker::Sqlite);
        let admin = Admin::bind(&local()).await.unwrap();
        let address = admin.address();
        let stop = CancellationToken::new();
        let asked = async {
            assert!(get(address, "/metrics").await.contains("\nflowlaunch_in_flight 0\n"));
            assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
            assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
            assert!(get(address, "/status").await.ends_with(r#"{"inFlight":3}"#));
            assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
            let reason = "halted: the API refuses the credentials".to_owned();
            *fake.ready.lock().unwrap() = Readiness {
                ready: false,
                reason,
                detail: Value::Null,
            };
            let halted = get(address, "/readyz").await;
            assert!(
                halted.starts_with("HTTP/1.1 503") && halted.contains("refuses the credentials"),
                "{halted}"
            );
            // A connection that nobody closes does not hold up the end.
            let _idle = TcpStream::connect(address).await.unwrap();
            stop.cancel();
        };
        let (served, ()) = tokio::join!(admin.serve(fake.clone(), exporter, stop.clone()), asked);
        served.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_without_a_heartbeat_is_not_alive() {
        let fake = Arc::new(Fake {
            ready: Mutex::new(Readiness::ok()),
            beat: Instant::now(),
        });
        let (_metrics, exporter) = Metrics::new(Broker::Sqlite);
        let reported = Reported { health: fake, exporter };
        tokio::time::advance(STUCK_AFTER).await;
        assert_eq!(livez(State(reported.clone())).await.status(), StatusCode::OK);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(livez(State(reported)).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn a_port_in_use_says_what_to_do() {
        let first = Admin::bind(&local()).await.unwrap();
        let error = Admin::bind(&Settings {
            listen: first.address(),
        })
        .await
        .unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains(&first.address().to_string()) && said.contains("FLOWLAUNCH_ADMIN__LISTEN"),
            "{said}"
        );
    }
}
