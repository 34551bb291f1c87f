//! Takes what is due from lanes and executions, as the appetite says, and hands it on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::super::{Appetite, Delivery, Hold, Settlement, Source};
use super::keeper::Order;
use super::store::{Batch, now_ms};

/// The wall clock can be set; so nobody sleeps longer than this towards a time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How a delivery is settled here.
#[derive(Debug)]
struct Held {
    id: i64,
    in_hand: Arc<AtomicUsize>,
    shared: Arc<Shared>,
}

/// What all deliveries share.
#[derive(Debug)]
struct Shared {
    orders: Sender<Order>,
    alive: AtomicBool,
    settled: Notify,
}

impl Hold for Held {
    fn is_alive(&self) -> bool {
        self.shared.alive.load(Ordering::Acquire)
    }

    fn settle(&self, how: Settlement) {
        // An error means that the broker has stopped, and given the message back.
        let _ = self.shared.orders.send(Order::Settle { id: self.id, how });
        self.in_hand.fetch_sub(1, Ordering::AcqRel);
        self.shared.settled.notify_one();
    }
}

/// One source, as its consumer sees it.
struct Tap {
    source: Source,
    out: mpsc::UnboundedSender<Delivery>,
    in_hand: Arc<AtomicUsize>,
    /// When there is more to be had; `None`: when somebody publishes.
    more_at: Option<i64>,
}

impl Tap {
    fn room(&self, appetite: Appetite) -> usize {
        usize::from(appetite.of(self.source)).saturating_sub(self.in_hand.load(Ordering::Acquire))
    }
}

/// The consumer of all of them.
pub(super) struct Consumer {
    taps: [Tap; 3],
    appetite: watch::Receiver<Appetite>,
    taking: watch::Sender<Appetite>,
    news: Arc<Notify>,
    shared: Arc<Shared>,
}

impl Consumer {
    pub(super) fn new(
        outs: [mpsc::UnboundedSender<Delivery>; 3],
        appetite: watch::Receiver<Appetite>,
        taking: watch::Sender<Appetite>,
        orders: Sender<Order>,
        news: Arc<Notify>,
    ) -> Self {
        let [normal, bulk, track] = outs;
        let [of_normal, of_bulk, of_track] = Source::ALL;
        let tap = |source, out| Tap {
            source,
            out,
            in_hand: Arc::default(),
            more_at: Some(0),
        };
        Self {
            taps: [tap(of_normal, normal), tap(of_bulk, bulk), tap(of_track, track)],
            appetite,
            taking,
            news,
            shared: Arc::new(Shared {
                orders,
                alive: AtomicBool::new(true),
                settled: Notify::new(),
            }),
        }
    }

    /// Takes until told to stop; then gives back what is still in hand.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let appetite = *self.appetite.borrow_and_update();
            // Said before the claim: what it brings must not come to somebody who was told that nothing would.
            self.taking.send_replace(appetite);
            // Not to be cut off: what was claimed is ours.
            self.fill(appetite).await;
            let next = self.next_claim(appetite);
            tokio::select! {
                () = stop.cancelled() => break,
                changed = self.appetite.changed() => if changed.is_err() { break },
                () = self.news.notified() => self.taps.iter_mut().for_each(|tap| tap.more_at = Some(0)),
                () = self.shared.settled.notified() => {}
                () = sleep(next.unwrap_or(LOOK_AGAIN)), if next.is_some() => {}
            }
        }
        let (reply, left) = oneshot::channel();
        let asked = self.shared.orders.send(Order::Leave { reply }).is_ok();
        // From its commit on others can have them: nothing may be launched for them before that either.
        self.shared.alive.store(false, Ordering::Release);
        if asked {
            let _ = left.await;
        }
        self.taking.send_replace(Appetite::Nothing);
    }

    /// Claims what there is room for, of each source that has something.
    async fn fill(&mut self, appetite: Appetite) {
        let now = now_ms();
        let mut claims = Vec::new();
        for (index, tap) in self.taps.iter_mut().enumerate() {
            let room = tap.room(appetite);
            if room == 0 || tap.more_at.is_none_or(|at| at > now) {
                continue;
            }
            let (reply, claimed) = oneshot::channel();
            let order = Order::Claim {
                source: tap.source,
                room,
                reply,
            };
            match self.shared.orders.send(order) {
                Ok(()) => claims.push((index, claimed)),
                Err(_) => tap.more_at = None,
            }
        }
        for (index, claimed) in claims {
            match claimed.await {
                Ok(batch) => self.hand_on(index, batch),
                // The keeper is gone, as the link says: nothing comes any more.
                Err(_) => self.taps[index].more_at = None,
            }
        }
    }

    fn hand_on(&mut self, index: usize, batch: Batch) {
        let tap = &mut self.taps[index];
        tap.more_at = batch.more_at;
        for claimed in batch.messages {
            tap.in_hand.fetch_add(1, Ordering::AcqRel);
            let hold = Held {
                id: claimed.id,
                in_hand: tap.in_hand.clone(),
                shared: self.shared.clone(),
            };
            let delivery = Delivery::new(claimed.message, claimed.redelivered, claimed.returns, Arc::new(hold));
            // Nobody listens any more only while the process ends; then the delivery's drop returns it.
            let _ = tap.out.send(delivery);
        }
    }

    /// When the next claim can bring something, as far as that is a matter of time.
    fn next_claim(&self, appetite: Appetite) -> Option<Duration> {
        let now = now_ms();
        let waits = self.taps.iter().filter_map(|tap| {
            let wait = u64::try_from(tap.more_at?.saturating_sub(now)).unwrap_or(0);
            (tap.room(appetite) > 0).then(|| Duration::from_millis(wait).min(LOOK_AGAIN))
        });
        waits.min()
    }
}
