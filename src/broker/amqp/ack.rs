//! Coalesced acknowledgements.
//!
//! One acknowledgement frame costs a quorum queue about as much as a delivery, and settles any number of deliveries when
//! it says `multiple`. So settled tags are gathered, and a contiguous run of them goes as one frame. A tag behind a
//! hole (an earlier delivery that is still being worked on) is held for 10 ms at most, then it goes singly.
//!
//! [`Ledger`] is the bookkeeping, without I/O; [`run`] is the task that writes.

use std::collections::VecDeque;
use std::time::Duration;

use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::super::Settlement;

/// How long a run is gathered.
const GATHER: Duration = Duration::from_millis(3);
/// How long a tag behind a hole is held: 10 ms at most, and it is looked after each time that a run was gathered.
const HOLD: Duration = Duration::from_millis(7);

/// What is sent to the task.
#[derive(Debug)]
pub(super) enum Order {
    /// The delivery with this tag is settled.
    Settle(u64, Settlement),
    /// Write all that is gathered, and say so.
    Flush(oneshot::Sender<()>),
}

/// A frame to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Ack { tag: u64, multiple: bool },
    Nack { tag: u64 },
}

/// What is known of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    /// Delivered, not settled (or not yet delivered).
    Open,
    /// To be acknowledged, since then.
    Acked(Instant),
    /// The broker knows.
    Told,
}

/// The tags of one channel: they count up from 1, so a deque indexed from the lowest unsettled one holds them.
#[derive(Debug)]
struct Ledger {
    /// The tag of `tags[0]`. Never 0: an acknowledgement of tag 0 would mean "everything".
    floor: u64,
    tags: VecDeque<Tag>,
    waiting: usize,
}

impl Ledger {
    fn new() -> Self {
        Self {
            floor: 1,
            tags: VecDeque::new(),
            waiting: 0,
        }
    }

    /// Notes a settlement; a return is to be written at once.
    fn settle(&mut self, tag: u64, how: Settlement, now: Instant) -> Option<Frame> {
        let index = usize::try_from(tag.checked_sub(self.floor)?).ok()?;
        if self.tags.len() <= index {
            self.tags.resize(index + 1, Tag::Open);
        }
        if self.tags[index] != Tag::Open {
            return None;
        }
        match how {
            Settlement::Ack => {
                self.tags[index] = Tag::Acked(now);
                self.waiting += 1;
                None
            }
            Settlement::Return => {
                self.tags[index] = Tag::Told;
                Some(Frame::Nack { tag })
            }
        }
    }

    /// The frames that are due: one for the contiguous run from the floor, one for each tag that waited too long behind
    /// a hole (all of them when `all`).
    fn due(&mut self, now: Instant, all: bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut last = None;
        while let Some(tag) = self.tags.front() {
            match tag {
                Tag::Open => break,
                // `multiple` must name a tag that the broker still waits for, so the run ends at an acknowledged one.
                Tag::Acked(_) => {
                    last = Some(self.floor);
                    self.waiting -= 1;
                }
                Tag::Told => {}
            }
            self.tags.pop_front();
            self.floor += 1;
        }
        if let Some(tag) = last {
            frames.push(Frame::Ack { tag, multiple: true });
        }
        if self.waiting > 0 {
            for (index, state) in self.tags.iter_mut().enumerate() {
                if let Tag::Acked(since) = state
                    && (all || now.duration_since(*since) >= HOLD)
                {
                    *state = Tag::Told;
                    self.waiting -= 1;
                    frames.push(Frame::Ack {
                        tag: self.floor + index as u64,
                        multiple: false,
                    });
                }
            }
        }
        frames
    }
}

/// Writes settlements until the channel's session ends (every sender dropped), or writing fails.
pub(super) async fn run(channel: Channel, mut orders: mpsc::UnboundedReceiver<Order>) -> Result<(), lapin::Error> {
    let mut ledger = Ledger::new();
    let mut flush_at: Option<Instant> = None;
    let mut batch = Vec::new();
    loop {
        let gathered = async {
            match flush_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            count = orders.recv_many(&mut batch, 256) => {
                if count == 0 {
                    return write(&channel, ledger.due(Instant::now(), true)).await;
                }
                let now = Instant::now();
                for order in batch.drain(..) {
                    match order {
                        Order::Settle(tag, how) => {
                            if let Some(frame) = ledger.settle(tag, how, now) {
                                write(&channel, vec![frame]).await?;
                            }
                        }
                        Order::Flush(done) => {
                            write(&channel, ledger.due(now, true)).await?;
                            let _ = done.send(());
                        }
                    }
                }
                if flush_at.is_none() && ledger.waiting > 0 {
                    flush_at = Some(now + GATHER);
                }
            }
            () = gathered => {
                let now = Instant::now();
                write(&channel, ledger.due(now, false)).await?;
                flush_at = (ledger.waiting > 0).then(|| now + GATHER);
            }
        }
    }
}

async fn write(channel: &Channel, frames: Vec<Frame>) -> Result<(), lapin::Error> {
    for frame in frames {
        match frame {
            Frame::Ack { tag, multiple } => channel.basic_ack(tag, BasicAckOptions { multiple }).await?,
            Frame::Nack { tag } => {
                channel
                    .basic_nack(
                        tag,
                        BasicNackOptions {
                            multiple: false,
                            requeue: true,
                        },
                    )
                    .await?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_run_goes_as_one_frame_and_a_tag_behind_a_hole_waits_then_goes_singly() {
        let start = Instant::now();
        let mut ledger = Ledger::new();
        for tag in [1, 2, 3, 5] {
            assert_eq!(ledger.settle(tag, Settlement::Ack, start), None);
        }
        assert_eq!(ledger.due(start, false), [Frame::Ack { tag: 3, multiple: true }]);
        assert_eq!(ledger.due(start + HOLD / 2, false), []);
        assert_eq!(
            ledger.due(start + HOLD, false),
            [Frame::Ack {
                tag: 5,
                multiple: false
            }]
        );
        assert_eq!(
            ledger.settle(4, Settlement::Return, start),
            Some(Frame::Nack { tag: 4 })
        );
        assert_eq!(ledger.due(start + HOLD, false), []);
        assert_eq!(ledger.floor, 6);
    }

    #[test]
    fn a_run_never_ends_at_a_tag_that_the_broker_has_forgotten() {
        let now = Instant::now();
        let mut ledger = Ledger::new();
        ledger.settle(1, Settlement::Ack, now);
        ledger.settle(2, Settlement::Return, now);
        assert_eq!(ledger.due(now, false), [Frame::Ack { tag: 1, multiple: true }]);
    }

    proptest! {
        /// Whatever the order of settling and flushing: each tag is told once, in the right way, and no `multiple`
        /// covers an open one.
        #[test]
        fn each_tag_is_told_exactly_once(order in Just((1_u64..=60).collect::<Vec<_>>()).prop_shuffle(),
                                         returned in proptest::collection::btree_set(1_u64..=60, 0..20),
                                         flush_every in 1_usize..8) {
            let start = Instant::now();
            let mut ledger = Ledger::new();
            let mut outstanding: BTreeSet<u64> = (1..=60).collect();
            let mut settled = BTreeSet::new();
            let mut told = Vec::new();
            for (step, tag) in order.iter().enumerate() {
                let now = start + Duration::from_millis(step as u64);
                let how = if returned.contains(tag) { Settlement::Return } else { Settlement::Ack };
                settled.insert(*tag);
                told.extend(ledger.settle(*tag, how, now));
                if step % flush_every == 0 {
                    told.extend(ledger.due(now, false));
                }
                for frame in told.drain(..) {
                    match frame {
                        Frame::Nack { tag } => {
                            prop_assert!(returned.contains(&tag));
                            prop_assert!(outstanding.remove(&tag));
                        }
                        Frame::Ack { tag, multiple } => {
                            prop_assert!(tag != 0 && outstanding.contains(&tag));
                            let covered: Vec<u64> = if multiple {
                                outstanding.iter().copied().filter(|t| *t <= tag).collect()
                            } else {
                                vec![tag]
                            };
                            for tag in covered {
                                prop_assert!(settled.contains(&tag) && !returned.contains(&tag));
                                outstanding.remove(&tag);
                            }
                        }
                    }
                }
            }
            for frame in ledger.due(start, true) {
                let Frame::Ack { tag, multiple } = frame else { unreachable!() };
                outstanding.retain(|t| !(*t == tag || (multiple && *t <= tag)));
            }
            prop_assert!(outstanding.is_empty());
        }
    }
}
