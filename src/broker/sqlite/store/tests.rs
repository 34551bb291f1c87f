use bytes::Bytes;

use super::*;

struct Rig {
    store: Store,
    path: PathBuf,
    dir: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jobs.db");
        Self {
            store: Store::open(&path, true).unwrap(),
            path,
            dir,
        }
    }

    fn put(&mut self, lane: Lane, due_ms: i64, body: &str) {
        let message = Message {
            body: Bytes::copy_from_slice(body.as_bytes()),
            properties: Properties::default(),
        };
        let put = self
            .store
            .commit(|writing| writing.put(Queue::Lane(lane), due_ms, &message));
        put.unwrap();
    }

    fn claim(&mut self, lane: Lane, holder: i64, room: usize) -> Batch {
        self.store.commit(|writing| writing.claim(lane, holder, room)).unwrap()
    }
}

fn bodies(batch: &Batch) -> Vec<&[u8]> {
    batch.messages.iter().map(|claimed| &*claimed.message.body).collect()
}

#[test]
fn what_is_due_longest_comes_first_and_the_rest_says_when() {
    let mut rig = Rig::new();
    let now = now_ms();
    rig.put(Lane::Bulk, now - 10, "second");
    rig.put(Lane::Bulk, now - 20, "first");
    rig.put(Lane::Bulk, now + 3_600_000, "later");
    rig.put(Lane::Normal, now, "other lane");
    let batch = rig.claim(Lane::Bulk, 1, 1);
    assert_eq!((bodies(&batch), batch.more_at), (vec![&b"first"[..]], Some(now - 10)));
    let batch = rig.claim(Lane::Bulk, 1, 10);
    assert_eq!(
        (bodies(&batch), batch.more_at),
        (vec![&b"second"[..]], Some(now + 3_600_000))
    );
    let batch = rig.claim(Lane::Bulk, 1, 10);
    assert!(batch.messages.is_empty());
    let counts = rig.store.counts().unwrap();
    assert_eq!((counts.lanes, counts.delayed, counts.dead), ([1, 0], 1, 0));
}

#[test]
fn a_claim_is_cut_at_its_bytes_and_never_empty_for_that() {
    let mut rig = Rig::new();
    let large = "x".repeat(CLAIM_BYTES / 2 + 1);
    for _ in 0..3 {
        rig.put(Lane::Bulk, 0, &large);
    }
    assert_eq!(rig.claim(Lane::Bulk, 1, 100).messages.len(), 2);
    let batch = rig.claim(Lane::Bulk, 1, 100);
    assert_eq!((batch.messages.len(), batch.more_at), (1, None));
}

#[test]
fn only_who_holds_a_message_settles_it() {
    let mut rig = Rig::new();
    rig.put(Lane::Normal, 0, "one");
    let id = rig.claim(Lane::Normal, 1, 10).messages[0].id;
    rig.store.commit(|writing| writing.forget(id, 2)).unwrap();
    rig.store.commit(|writing| writing.give_back(id, 2)).unwrap();
    assert!(rig.claim(Lane::Normal, 2, 10).messages.is_empty(), "1 has it still");
    assert_eq!(rig.store.commit(|writing| writing.leave(1)).unwrap(), 1);
    let batch = rig.claim(Lane::Normal, 2, 10);
    assert_eq!((batch.messages[0].redelivered, batch.messages[0].returns), (true, 1));
    rig.store.commit(|writing| writing.forget(id, 2)).unwrap();
    assert_eq!(rig.store.commit(|writing| writing.leave(2)).unwrap(), 0);
}

#[test]
fn a_transaction_that_fails_leaves_nothing_of_itself() {
    let mut rig = Rig::new();
    let failed: Result<(), _> = rig.store.commit(|writing| {
        writing.put(Queue::Dead, 0, &Message::default())?;
        Err(rusqlite::Error::InvalidQuery)
    });
    failed.unwrap_err();
    assert_eq!(rig.store.counts().unwrap(), Counts::default());
}

#[test]
fn results_are_pruned_by_age_and_some_at_a_time() {
    let mut rig = Rig::new();
    for _ in 0..PRUNE + 10 {
        let told = rig
            .store
            .commit(|writing| writing.tell("launched.-", &Message::default()));
        told.unwrap();
    }
    let count = |rig: &Rig| rig.store.results(0, 10_000).unwrap().len();
    let later = now_ms() + 1000;
    rig.store.commit(|writing| writing.prune(0)).unwrap();
    assert_eq!(count(&rig), 510, "none is that old");
    rig.store.commit(|writing| writing.prune(later)).unwrap();
    assert_eq!(count(&rig), 10);
    rig.store.commit(|writing| writing.prune(later)).unwrap();
    assert_eq!((count(&rig), rig.store.oldest_result().unwrap()), (0, None));
    // Numbers are never used again: who reads on from one misses nothing.
    rig.store
        .commit(|writing| writing.tell("launched.-", &Message::default()))
        .unwrap();
    assert_eq!(rig.store.results(0, 10).unwrap()[0].0, 511);
}

#[test]
fn properties_that_somebody_spoiled_do_not_jam_the_lane() {
    let mut rig = Rig::new();
    rig.put(Lane::Normal, 0, "spoiled");
    rig.store
        .connection
        .execute("UPDATE message SET properties = x'ff'", [])
        .unwrap();
    assert_eq!(bodies(&rig.claim(Lane::Normal, 1, 10)), [b"spoiled"]);
}

#[test]
fn a_file_that_is_not_ours_is_named_and_left_alone() {
    let rig = Rig::new();
    let open = |path: &Path, create| Store::open(path, create).err();
    assert!(open(&rig.path, false).is_none());

    let missing = rig.dir.path().join("missing.db");
    assert!(matches!(open(&missing, false), Some(OpenError::Missing { .. })));
    assert!(!missing.exists());

    let text = rig.dir.path().join("text.db");
    std::fs::write(
        &text,
        "no database, but a text that is long enough to be read as one ".repeat(20),
    )
    .unwrap();
    assert!(matches!(open(&text, true), Some(OpenError::Stranger { .. })));

    let other = rig.dir.path().join("other.db");
    let stranger = Connection::open(&other).unwrap();
    stranger.execute_batch("CREATE TABLE photo (id)").unwrap();
    assert!(matches!(open(&other, true), Some(OpenError::Stranger { .. })));

    rig.store
        .connection
        .pragma_update(None, "user_version", VERSION + 1)
        .unwrap();
    let newer = open(&rig.path, true).unwrap();
    assert!(matches!(newer, OpenError::Newer { .. }), "{newer}");
    assert!(newer.to_string().contains("made by a newer flowlaunch"), "{newer}");

    let folder = open(rig.dir.path(), true).unwrap().to_string();
    assert!(folder.contains("cannot use"), "{folder}");
}

#[test]
fn a_file_that_is_locked_says_so() {
    let mut rig = Rig::new();
    let other = Connection::open(&rig.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    rig.store.connection.busy_timeout(Duration::from_millis(10)).unwrap();
    let locked = rig
        .store
        .commit(|writing| writing.put(Queue::Dead, 0, &Message::default()));
    let error = OpenError::of(&rig.path, &locked.unwrap_err());
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    other.execute_batch("COMMIT").unwrap();
    rig.store
        .commit(|writing| writing.put(Queue::Dead, 0, &Message::default()))
        .unwrap();
}

#[test]
fn a_delay_rounds_up_to_the_millisecond() {
    let before = Timestamp::now().as_microsecond();
    let due = due_ms(Duration::from_micros(1500));
    assert!(due * 1000 >= before + 1500, "early");
    assert!(due * 1000 < Timestamp::now().as_microsecond() + 2500);
}
