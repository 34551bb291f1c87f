//! What one publishing session has in flight.
//!
//! Publishes are gathered: while a batch waits for its confirms, those that come meanwhile make the next one. Alone, each
//! would cost the broker a read, a write to disk and a confirm; a batch costs little more than one of them.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::super::PublishError;

/// When publishes that are meant to wait this long see no confirm of anything for as long, the session is no good, not
/// just slow.
pub(super) const SUSPICIOUS: Duration = Duration::from_secs(10);
/// The longest that a publish waits for the batch before it.
const GATHER: Duration = Duration::from_millis(10);

/// Where a message goes on the wire.
pub(super) struct Route {
    pub(super) exchange: String,
    pub(super) key: String,
    pub(super) mandatory: bool,
}

/// A publish on its way to the session.
pub(super) struct Request {
    pub(super) route: Route,
    pub(super) body: Bytes,
    pub(super) properties: BasicProperties,
    /// Whoever asked waits for [`SUSPICIOUS`] or longer.
    pub(super) patient: bool,
    /// Closed when whoever asked has given up: then it is not sent any more.
    pub(super) reply: oneshot::Sender<Result<(), PublishError>>,
}

/// What is not sent yet: it waits here for the next session, if need be.
pub(super) struct Inbox {
    requests: mpsc::UnboundedReceiver<Box<Request>>,
    /// The first of the next batch, and when it goes at the latest.
    first: Option<(Box<Request>, Instant)>,
}

impl Inbox {
    pub(super) fn new(requests: mpsc::UnboundedReceiver<Box<Request>>) -> Self {
        Self { requests, first: None }
    }
}

/// A publish that was sent: what came of it, and whether its sender is patient.
type Sent<'a> = Pin<Box<dyn Future<Output = (Option<Result<(), PublishError>>, bool)> + Send + 'a>>;

/// What one session has in flight.
pub(super) struct Batches<'a> {
    channel: &'a Channel,
    in_flight: FuturesUnordered<Sent<'a>>,
    /// How many of them are waited for by patient senders.
    patient: usize,
    /// When a confirm came, or the first patient publish was sent.
    progress: Instant,
}

impl<'a> Batches<'a> {
    pub(super) fn new(channel: &'a Channel) -> Self {
        Self {
            channel,
            in_flight: FuturesUnordered::new(),
            patient: 0,
            progress: Instant::now(),
        }
    }

    /// Sends and hears confirms until something is found that only a new session mends; says what. May be cut off at any
    /// await.
    pub(super) async fn step(&mut self, inbox: &mut Inbox) -> String {
        loop {
            if let Some((_, at)) = &inbox.first
                && (self.in_flight.is_empty() || *at <= Instant::now())
            {
                self.send_batch(inbox);
            }
            let goes_at = inbox.first.as_ref().map(|(_, at)| *at);
            let gathered = async {
                match goes_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // In this order: while confirms come, nothing else needs to be looked after.
                biased;
                Some((done, patient)) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    if let Some(broken) = self.heard(done, patient) {
                        return broken;
                    }
                }
                // The others of the batch stay in the inbox until it goes: nobody is woken for each of them.
                Some(request) = inbox.requests.recv(), if inbox.first.is_none() => {
                    inbox.first = Some((request, Instant::now() + GATHER));
                }
                () = gathered => {}
            }
        }
    }

    fn send_batch(&mut self, inbox: &mut Inbox) {
        let mut next = inbox.first.take().map(|(request, _)| request);
        while let Some(request) = next {
            // Whoever gave up has counted it as not sent, or will make it again.
            if !request.reply.is_closed() {
                if request.patient {
                    if self.patient == 0 {
                        self.progress = Instant::now();
                    }
                    self.patient += 1;
                }
                let Request {
                    route,
                    body,
                    properties,
                    patient,
                    reply,
                } = *request;
                // Boxed apart: what a message takes until it is written is much, and it then waits a hundred times as long.
                let written = Box::pin(write(self.channel, route, body, properties));
                self.in_flight.push(Box::pin(publish(written, patient, reply)));
            }
            next = inbox.requests.try_recv().ok();
        }
    }

    /// Notes what came of a publish. An exchange that is missing closes the channel, a binding that is missing only
    /// returns the message: both are mended by declaring anew, which a new session does.
    fn heard(&mut self, done: Option<Result<(), PublishError>>, patient: bool) -> Option<String> {
        self.patient -= usize::from(patient);
        match done {
            Some(Ok(()) | Err(PublishError::Refused)) => {
                self.progress = Instant::now();
                None
            }
            Some(Err(error @ PublishError::Unroutable(_))) => Some(error.to_string()),
            Some(Err(error)) if !self.channel.status().connected() => Some(error.to_string()),
            Some(Err(_)) | None => None,
        }
    }

    /// The broker takes publishes again: the clock of [`Self::is_stuck`] starts anew.
    pub(super) fn unblocked(&mut self) {
        self.progress = Instant::now();
    }

    /// Whether patient senders have waited for long, and nothing was confirmed meanwhile.
    pub(super) fn is_stuck(&self) -> bool {
        self.patient > 0 && self.progress.elapsed() >= SUSPICIOUS
    }

    /// Waits for the confirms of what is in flight.
    pub(super) async fn finish(&mut self) {
        while self.in_flight.next().await.is_some() {}
    }
}

/// Sends one message, waits for its confirm and tells whoever asked; `None` when that one gave up first.
async fn publish(
    written: Pin<Box<impl Future<Output = Result<PublisherConfirm, PublishError>>>>,
    patient: bool,
    mut reply: oneshot::Sender<Result<(), PublishError>>,
) -> (Option<Result<(), PublishError>>, bool) {
    let done = match written.await {
        Ok(confirm) => tokio::select! {
            biased;
            confirmation = confirm => answered(confirmation),
            () = reply.closed() => return (None, patient),
        },
        Err(error) => Err(error),
    };
    let _ = reply.send(done.clone());
    (Some(done), patient)
}

async fn write(
    channel: &Channel,
    route: Route,
    body: Bytes,
    properties: BasicProperties,
) -> Result<PublisherConfirm, PublishError> {
    let options = BasicPublishOptions {
        mandatory: route.mandatory,
        immediate: false,
    };
    // AMQP's names have 255 bytes at most; ours are far below, a campaign's name is checked when decoded.
    let short = |text| ShortString::try_new(text).map_err(|error| PublishError::Invalid(error.to_string()));
    channel
        .basic_publish(short(route.exchange)?, short(route.key)?, options, &body, properties)
        .await
        .map_err(|error| PublishError::Unconfirmed(error.to_string()))
}

/// What the broker said of a message.
fn answered(confirmation: Result<Confirmation, lapin::Error>) -> Result<(), PublishError> {
    match confirmation.map_err(|error| PublishError::Unconfirmed(error.to_string()))? {
        Confirmation::Ack(None) => Ok(()),
        // Confirmed *and* returned: no queue took it.
        Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => Err(PublishError::Unroutable(
            format!("exchange {} with key {}", returned.exchange, returned.routing_key),
        )),
        Confirmation::Nack(None) => Err(PublishError::Refused),
        Confirmation::NotRequested => Err(PublishError::Unconfirmed("confirms are off".to_owned())),
    }
}
