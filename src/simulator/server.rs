//! Listeners and connections: accept, close, open again, reset, stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::serve::{Wire, serve, serve_control};
use super::state::Shared;

/// How long a connection may take to finish when the simulator stops; a slow answer is then cut off.
const GRACE: Duration = Duration::from_secs(1);
/// Between two attempts to accept, or to have the port back.
const PAUSE: Duration = Duration::from_millis(50);

/// What every task of the simulator has in hand.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Data,
    Control,
}

impl Server {
    /// Serves the data port, closing and opening it as told, until stopped.
    pub(crate) async fn run_data(self, mut listener: TcpListener, address: SocketAddr) {
        let door = &self.shared.door;
        loop {
            // Its connections end with the listener: a server that is down keeps none.
            let open = self.stop.child_token();
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = door.closing() => {}
                () = self.accept(&listener, Role::Data, &open) => {}
            }
            drop(listener);
            open.cancel();
            door.is_open.send_replace(false);
            listener = tokio::select! {
                () = self.stop.cancelled() => return,
                listener = self.reopen(address) => listener,
            };
            door.is_open.send_replace(true);
        }
    }

    /// Serves the control port until stopped.
    pub(crate) async fn run_control(self, listener: TcpListener) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.accept(&listener, Role::Control, &self.stop) => {}
        }
    }

    async fn reopen(&self, address: SocketAddr) -> TcpListener {
        self.shared.door.opening().await;
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn accept(&self, listener: &TcpListener, role: Role, open: &CancellationToken) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    self.tasks.spawn(self.clone().converse(stream, role, open.clone()));
                }
                // Out of file descriptors, mostly: those who hold them must get a chance to finish.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn converse(self, stream: TcpStream, role: Role, open: CancellationToken) {
        // Without it small answers wait for the client's delayed acknowledgement; failing that they are only slow.
        let _ = stream.set_nodelay(true);
        let wire = Arc::new(Wire::default());
        match role {
            Role::Data => {
                let (shared, on) = (self.shared.clone(), wire.clone());
                let service = service_fn(move |request| serve(shared.clone(), on.clone(), request));
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                self.see_to_its_end(connection, &wire, &open).await;
            }
            Role::Control => {
                let (shared, on) = (self.shared.clone(), wire.clone());
                let service = service_fn(move |request| serve_control(shared.clone(), on.clone(), request));
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                self.see_to_its_end(connection, &wire, &open).await;
            }
        }
    }

    async fn see_to_its_end<S>(
        &self,
        mut connection: http1::Connection<TokioIo<TcpStream>, S>,
        wire: &Wire,
        open: &CancellationToken,
    ) where
        S: hyper::service::HttpService<hyper::body::Incoming, ResBody = super::answer::Body> + Unpin,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        tokio::select! {
            // An error is the client's leaving, or a fault that a rule asked for.
            _ = std::pin::Pin::new(&mut connection) => {}
            () = open.cancelled() => {
                if self.stop.is_cancelled() || wire.controls.load(Ordering::Relaxed) {
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                    let _ = tokio::time::timeout(GRACE, &mut connection).await;
                }
            }
        }
        if wire.resets.load(Ordering::Relaxed) {
            // With no time to linger the close that follows sends RST instead of FIN.
            let _ = connection.into_parts().io.inner().set_zero_linger();
        }
    }
}
