//! What is too large, the digest, and a whole pass.

use super::*;

#[test]
fn what_is_too_large_for_a_job_is_a_bad_row_however_large_it_is() {
    let megabyte = "x".repeat(1 << 20);
    let file = format!("a,b\n1,2\n{megabyte},2\n3,\"{}\"\n4,5\n", megabyte.repeat(5));
    let told_ = told(&read_with(file, |_| {}).unwrap());
    assert!(
        told_[1].starts_with("line 3, column a: would make a job of about 1049616 bytes; at most 512000"),
        "{}",
        told_[1]
    );
    assert_eq!(
        told_[2],
        "line 4: is longer than 2 MiB: is a quote opened in it that is never closed?"
    );
    assert_eq!(told_[3], r#"5: {"a":"4","b":"5"}"#);
    let file = format!("{{\"a\":\"{0}\"}}\n{{\"a\":\"{0}{0}\"}}\n{{\"a\":1}}\n", megabyte);
    let told = told(&read_with(file, |_| {}).unwrap());
    assert!(told[0].starts_with("line 1, column a: would make a job"), "{}", told[0]);
    assert_eq!(told[1..], ["line 2: is longer than 2 MiB", r#"3: {"a":1}"#]);
}

#[test]
fn the_largest_row_makes_a_job_that_can_be_launched() {
    let room = MAX_BYTES - FRAME_BYTES - "{\"a\":\"\"}".len();
    let entries = read_with(format!("a\n{}\n{}\n", "x".repeat(room), "x".repeat(room + 1)), |_| {}).unwrap();
    let job = Job {
        id: format!("{}:{}:{}", "c".repeat(128), u32::MAX, "\"".repeat(MAX_KEY_BYTES)),
        id_given: true,
        inputs: Some(row(&entries[0]).inputs.clone()),
        campaign: Some("c".repeat(128)),
        not_before: Some("2026-12-01T09:00:00.123456789Z".parse().unwrap()),
        expires_at: Some("2026-12-01T09:00:00.123456789Z".parse().unwrap()),
        max_attempts: Some(100),
        on_unknown: Some(OnUnknown::Relaunch),
        track: true,
        ..Job::new(FLOW)
    };
    assert!(job.encode().len() <= MAX_BYTES, "{} bytes", job.encode().len());
    assert!(matches!(entries[1], Entry::Bad(_)));
}

#[test]
fn a_file_is_read_as_often_as_wanted_and_known_by_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.csv");
    std::fs::write(&path, "a\n1\n2\n").unwrap();
    let source = Source::open(&path).unwrap();
    assert_eq!(
        source.digest(),
        "d4fa155a0784a2543c083ff5c36ec7a7d4810f08946220e5acf4c1f11006216e"
    );
    assert_eq!(Source::spool("-", &b"a\n1\n2\n"[..]).unwrap().digest(), source.digest());
    let open = || source.rows(&Layout::default(), &Arc::new(mapping(|_| {})), zones);
    let (mut one, two) = (open().unwrap(), open().unwrap());
    assert!(matches!(one.next(), Some(Ok(Entry::Row(_)))));
    assert_eq!(two.count(), 2);
    assert_eq!(one.count(), 1);
    std::fs::write(&path, "a\n1\n3\n").unwrap();
    let said = open().and_then(|rows| rows.collect::<Result<Vec<_>, _>>()).unwrap_err();
    assert!(format!("{:#}", anyhow::Error::from(said)).contains("changed while it was read"));
}

#[test]
fn a_summary_counts_and_writes_every_reject() {
    let source = Source::spool("list", &b"k,n\na,1\na,2\nb\nc,3\nd,4\n"[..]).unwrap();
    let keyed = Arc::new(mapping(|m| m.key = Some("k".to_owned())));
    let rows = source.rows(&Layout::default(), &keyed, zones).unwrap();
    let mut file = Vec::new();
    let refuse = |row: &Row| match row.key.as_str() {
        "d" => Err(BadRow {
            line: row.line,
            column: Some("n".to_owned()),
            message: "no, \"never\"".to_owned(),
        }),
        _ => Ok(()),
    };
    let summary = Summary::of(rows, &mut Rejects::new(&mut file), refuse).unwrap();
    assert_eq!(
        (summary.rows, summary.bad, summary.repeated, summary.first.len()),
        (2, 2, 1, 3)
    );
    assert_eq!(
        String::from_utf8(file).unwrap(),
        "line,column,message\n3,,an earlier row has the key a too; that one counts\n4,,\"has 1 cell, and the header has 2\"\n\
         6,n,\"no, \"\"never\"\"\"\n"
    );
    let rows =
        Source::spool("list", &b"a\n1\n"[..])
            .unwrap()
            .rows(&Layout::default(), &Arc::new(mapping(|_| {})), zones);
    let mut file = Vec::new();
    Summary::of(rows.unwrap(), &mut Rejects::new(&mut file), |_| Ok(())).unwrap();
    assert!(file.is_empty());
}

#[test]
fn what_can_be_read_only_once_is_kept_and_read_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let source = std::thread::scope(|scope| {
        scope.spawn(|| std::fs::write(&path, "a\n1\n2\n").unwrap());
        Source::open(&path).unwrap()
    });
    for _ in 0..2 {
        let rows = source.rows(&Layout::default(), &Arc::new(mapping(|_| {})), zones);
        assert_eq!(rows.unwrap().count(), 2);
    }
}
