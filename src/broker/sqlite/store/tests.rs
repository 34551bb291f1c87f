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
            .commit(|writing| writing.put(Queue::Source(Source::Lane(lane)), due_ms, &message));
        put.unwrap();
    }

    fn claim(&mut self, lane: Lane, holder: i64, room: usize) -> Batch {
        self.store
            .commit(|writing| writing.claim(Source::Lane(lane), holder, room))
            .unwrap()
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
fn a_commit_is_on_the_disk_when_it_returns() {
    let rig = Rig::new();
    let pragma = |name: &str| -> String {
        let value = rig
            .store
            .connection
            .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
        let value = value.map(|value| format!("{value:?}"));
        value.unwrap()
    };
    // Without FULL a commit in a WAL is safe from a crash of the process, not from one of the machine.
    assert_eq!(pragma("journal_mode"), r#"Text("wal")"#);
    assert_eq!(pragma("synchronous"), "Integer(2)");
}

#[test]
fn a_file_that_is_mostly_empty_gives_its_room_back() {
    let mut rig = Rig::new();
    let large = "x".repeat(20_000);
    for _ in 0..1000 {
        rig.put(Lane::Bulk, 0, &large);
    }
    let pages = |rig: &Rig| -> i64 {
        let count = rig
            .store
            .connection
            .pragma_query_value(None, "page_count", |row| row.get(0));
        count.unwrap()
    };
    let full = pages(&rig);
    let mut claimed = 0;
    while claimed < 1000 {
        let batch = rig.claim(Lane::Bulk, 1, 1000);
        claimed += batch.messages.len();
        let forget = rig.store.commit(|writing| {
            batch
                .messages
                .iter()
                .try_for_each(|message| writing.forget(message.id, 1))
        });
        forget.unwrap();
    }
    assert_eq!(pages(&rig), full, "what is free is used again");
    for _ in 0..6 {
        rig.store.shrink().unwrap();
    }
    assert!(pages(&rig) * 4 < full, "{} of {full} pages are left", pages(&rig));
}

#[test]
fn many_who_open_a_new_file_at_once_all_can() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let path = dir.path().join(format!("{round}.db"));
        let opening: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || Store::open(&path, true).map(drop))
            })
            .collect();
        for opened in opening {
            opened.join().unwrap().unwrap();
        }
    }
}

#[test]
fn dead_letters_are_read_without_sorting_them_all_for_each_page() {
    let rig = Rig::new();
    let plan: String = rig
        .store
        .connection
        .query_row(&format!("EXPLAIN QUERY PLAN {DEAD}"), params![0, 10], |row| row.get(3))
        .unwrap();
    assert!(plan.contains("USING INDEX dead"), "{plan}");
}

#[test]
fn what_is_in_somebodys_hands_is_counted() {
    let mut rig = Rig::new();
    rig.put(Lane::Bulk, 0, "one");
    rig.put(Lane::Bulk, 0, "two");
    rig.claim(Lane::Bulk, 1, 1);
    let counts = rig.store.counts().unwrap();
    assert_eq!((counts.lanes, counts.held), ([0, 1], 1));
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
    let mut prune = |before| rig.store.commit(|writing| writing.prune(before)).unwrap();
    assert!(!prune(0), "none is that old");
    assert!(prune(later), "there are more");
    assert!(!prune(later));
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

    // Nor is one that holds nothing, where nothing is to be made.
    let empty = rig.dir.path().join("empty.db");
    std::fs::write(&empty, "").unwrap();
    assert!(matches!(open(&empty, false), Some(OpenError::Stranger { .. })));
    assert_eq!(std::fs::read(&empty).unwrap(), b"");

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
