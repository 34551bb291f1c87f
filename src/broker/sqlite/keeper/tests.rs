use std::path::Path;
use std::sync::mpsc::channel;

use bytes::Bytes;

use super::super::super::{Destination, Publish as _};
use super::super::publisher::Publisher;
use super::*;
use crate::lane::Lane;

/// A keeper at work on a file, without a consumer.
struct Rig {
    publisher: Publisher,
    link: watch::Receiver<Link>,
}

impl Rig {
    fn start(path: &Path, keep: Duration, limit: Option<u32>) -> Self {
        let store = Store::open(path, true).unwrap();
        if let Some(pages) = limit {
            store.limit(pages);
        }
        let (orders, inbox) = channel();
        let (link_tx, link) = watch::channel(Link::Up);
        let keeper = Keeper::new(store, inbox, link_tx, Arc::default(), keep);
        std::thread::spawn(move || keeper.run());
        Self {
            publisher: Publisher::new(orders, link.clone()),
            link,
        }
    }

    async fn publish(&self, to: Destination, bytes: usize) -> Result<(), PublishError> {
        let message = Message {
            body: Bytes::from(vec![b'x'; bytes]),
            ..Message::default()
        };
        self.publisher.publish(to, message, Duration::from_secs(2)).await
    }
}

#[test]
fn a_keeper_that_dies_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let (_orders, inbox) = channel();
    let (link_tx, link) = watch::channel(Link::Up);
    let store = Store::open(&dir.path().join("jobs.db"), true).unwrap();
    let keeper = Keeper::new(store, inbox, link_tx, Arc::default(), Duration::from_secs(3600));
    let thread = std::thread::spawn(move || {
        let _keeper = keeper;
        panic!("as a bug would");
    });
    assert!(thread.join().is_err());
    assert!(matches!(&*link.borrow(), Link::Down(why) if why.contains("start this process again")));
}

#[tokio::test]
async fn a_full_disk_is_told_of_by_name_and_work_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jobs.db");
    let mut rig = Rig::start(&path, Duration::from_secs(3600), Some(100));
    let mut blocked = rig.link.clone();
    let filling = async {
        for there in 0_u32.. {
            let sent = rig.publish(Destination::Lane(Lane::Bulk), 50_000);
            tokio::select! {
                sent = sent => sent.unwrap(),
                // It waits, and its clock stands still.
                _ = blocked.wait_for(|link| matches!(link, Link::Blocked(_))) => return there,
            }
        }
        0
    };
    let there = filling.await;
    assert!((1..100).contains(&there), "{there}");
    let Link::Blocked(why) = rig.link.borrow().clone() else {
        panic!("not blocked");
    };
    assert!(why.contains("jobs.db is full: make room"), "{why}");

    let other = rusqlite::Connection::open(&path).unwrap();
    let count = || -> u32 {
        other
            .query_row("SELECT count(*) FROM message", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(count(), there, "what was confirmed, and nothing else");
    other.execute("DELETE FROM message", []).unwrap();
    // Without anybody asking for anything new.
    rig.link.wait_for(Link::is_up).await.unwrap();
    rig.publish(Destination::Lane(Lane::Bulk), 50_000).await.unwrap();
}

#[tokio::test]
async fn results_go_when_they_are_old_enough_however_many_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jobs.db");
    let rig = Rig::start(&path, Duration::from_millis(500), None);
    for _ in 0..30 {
        let telling = (0..100).map(|_| rig.publish(Destination::Results("launched.-".into()), 500));
        for told in futures_util::future::join_all(telling).await {
            told.unwrap();
        }
    }
    let store = Store::open(&path, false).unwrap();
    while store.oldest_result().unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
