//! A broker that a test holds in its hand: the ports, without a server.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use flowlaunch::broker::{
    Appetite, BoxFuture, Delivery, Destination, Followed, Hold, Intake, Link, Message, Observed, Publish, PublishError,
    QueueReport, Settlement, Source,
};
use flowlaunch::lane::Lane;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// The bulk lane with its delays, and everything that is published.
#[derive(Debug)]
pub struct Scripted {
    this: Weak<Self>,
    state: Mutex<State>,
    bulk: mpsc::UnboundedSender<Delivery>,
    appetite: watch::Receiver<Appetite>,
    control: mpsc::UnboundedSender<Followed>,
    /// End never, so that the normal lane and what is followed stay open.
    _others: [mpsc::UnboundedSender<Delivery>; 2],
    _links: (watch::Sender<Link>, watch::Sender<QueueReport>),
}

/// What a test sees of it.
#[derive(Debug, Default)]
pub struct State {
    pub ready: VecDeque<(Message, u32)>,
    pub unacked: usize,
    pub acked: usize,
    pub returned: usize,
    pub published: Vec<(Destination, Message)>,
    /// How long one was unacknowledged at most: RabbitMQ ends the session over 30 minutes.
    pub longest: Duration,
}

impl Scripted {
    pub fn start(
        jobs: impl IntoIterator<Item = Message>,
    ) -> (Arc<Self>, Intake, Observed, mpsc::UnboundedReceiver<Followed>) {
        let (bulk, bulk_inbox) = mpsc::unbounded_channel();
        let (normal, normal_inbox) = mpsc::unbounded_channel();
        let (track, track_inbox) = mpsc::unbounded_channel();
        let (asked, appetite) = watch::channel(Appetite::Nothing);
        let (up, link) = watch::channel(Link::Up);
        let (control, followed) = mpsc::unbounded_channel();
        let _ = control.send(Followed::Began);
        let (report, queues) = watch::channel(QueueReport::default());
        let ready = jobs.into_iter().map(|message| (message, 0)).collect();
        let scripted = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            state: Mutex::new(State {
                ready,
                ..State::default()
            }),
            bulk,
            appetite,
            control,
            _others: [normal, track],
            _links: (up, report),
        });
        let intake = Intake {
            lanes: [normal_inbox, bulk_inbox],
            track: track_inbox,
            // What is asked is followed at once.
            taking: asked.subscribe(),
            appetite: asked,
        };
        let observed = Observed {
            consuming: link.clone(),
            publishing: link,
            queues,
        };
        (scripted, intake, observed, followed)
    }

    pub fn look(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn consumes(&self) -> bool {
        *self.appetite.borrow() != Appetite::Nothing
    }

    /// Delivers what is ready, as far as the consumer takes it, for ever.
    pub async fn run(self: Arc<Self>) {
        let mut appetite = self.appetite.clone();
        loop {
            self.deliver();
            if appetite.changed().await.is_err() {
                return;
            }
        }
    }

    /// The delay ladder. What says when a copy is due is dropped: that is by the wall clock, which does not follow a paused
    /// one.
    async fn delay(this: Weak<Self>, delay: Duration, mut message: Message) {
        tokio::time::sleep(delay).await;
        message
            .properties
            .headers
            .0
            .retain(|(name, _)| name != "x-flowlaunch-due");
        if let Some(broker) = this.upgrade() {
            broker.look().ready.push_back((message, 0));
            broker.deliver();
        }
    }

    fn deliver(self: &Arc<Self>) {
        // What is sent to a worker that is gone comes back at once.
        let prefetch = if self.bulk.is_closed() {
            0
        } else {
            usize::from(self.appetite.borrow().of(Source::Lane(Lane::Bulk)))
        };
        loop {
            let mut state = self.look();
            if state.unacked >= prefetch {
                return;
            }
            let Some((message, count)) = state.ready.pop_front() else {
                return;
            };
            state.unacked += 1;
            drop(state);
            let hold = Arc::new(Held {
                broker: self.clone(),
                message: message.clone(),
                count,
                since: Instant::now(),
            });
            let delivery = Delivery::new(message, count > 0, count, hold);
            let _ = self.bulk.send(delivery);
        }
    }
}

#[derive(Debug)]
struct Held {
    broker: Arc<Scripted>,
    message: Message,
    count: u32,
    since: Instant,
}

impl Hold for Held {
    fn is_alive(&self) -> bool {
        true
    }

    fn settle(&self, how: Settlement) {
        let mut state = self.broker.look();
        state.unacked -= 1;
        state.longest = state.longest.max(self.since.elapsed());
        match how {
            Settlement::Ack => state.acked += 1,
            Settlement::Return => {
                state.returned += 1;
                state.ready.push_back((self.message.clone(), self.count + 1));
            }
        }
        drop(state);
        self.broker.deliver();
    }
}

impl Publish for Scripted {
    fn publish(&self, to: Destination, message: Message, _: Duration) -> BoxFuture<'_, Result<(), PublishError>> {
        if to == Destination::Control {
            // The stream, as one who follows it sees it.
            let _ = self.control.send(Followed::Entry(message.body));
            return Box::pin(async { Ok(()) });
        }
        if let Destination::Delay(_, delay) = to {
            tokio::spawn(Self::delay(self.this.clone(), delay, message.clone()));
        }
        self.look().published.push((to, message));
        Box::pin(async { Ok(()) })
    }

    fn is_ready(&self) -> bool {
        true
    }
}
