//! Waiting with a clock that stands still while the broker takes no publishes.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Link;

/// What comes of `sending`; or, when `limit` has passed first, how the link was then. While the link is blocked the clock
/// stands still.
pub(super) async fn within<T>(
    limit: Duration,
    link: &watch::Receiver<Link>,
    sending: impl Future<Output = T>,
) -> Result<T, Link> {
    let mut sending = pin!(sending);
    let mut link = link.clone();
    let mut left = limit;
    loop {
        let now = link.borrow_and_update().clone();
        let blocked = matches!(now, Link::Blocked(_));
        let since = Instant::now();
        tokio::select! {
            biased;
            sent = &mut sending => return Ok(sent),
            changed = link.changed() => if changed.is_err() {
                return Err(Link::Down("shut down".to_owned()));
            },
            () = sleep(left), if !blocked => return Err(now),
        }
        if !blocked {
            left = left.saturating_sub(since.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_stands_still_while_the_broker_blocks_publishers() {
        let (tx, link) = watch::channel(Link::Up);
        let limit = Duration::from_secs(10);
        let began = Instant::now();
        let telling = async {
            sleep(Duration::from_secs(4)).await;
            tx.send_replace(Link::Blocked("memory".to_owned()));
            sleep(Duration::from_secs(3600)).await;
            tx.send_replace(Link::Up);
        };
        let (waited, ()) = tokio::join!(within(limit, &link, std::future::pending::<()>()), telling);
        assert_eq!(waited, Err(Link::Up));
        assert_eq!(began.elapsed(), Duration::from_secs(3610));
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_nobody_can_change_any_more_is_waited_for_and_not_asked_again_and_again() {
        let (tx, mut link) = watch::channel(Link::Up);
        let (limit, began) = (Duration::from_secs(60), Instant::now());
        tx.send_replace(Link::Blocked("memory".to_owned()));
        Link::change(&mut link, limit).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        drop(tx);
        Link::change(&mut link, limit).await;
        assert_eq!(began.elapsed(), limit);
    }
}
