//! The campaign file: read, merged with flags, written and read again.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::read::parse;
use super::write::SETTINGS;
use super::*;

const FLOW: &str = "5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b";

fn of(text: &str) -> CampaignFile {
    parse(text).unwrap()
}

/// The faults as they are told.
fn wrong(text: &str) -> String {
    let error = CampaignFileError {
        path: PathBuf::from("c.toml"),
        faults: parse(text).unwrap_err(),
    };
    error.to_string()
}

/// Every example taken at its word, but for those that exclude others.
fn all() -> String {
    let text = CampaignFile::default().to_toml();
    let commented = |line: &str| SETTINGS.iter().any(|s| line.starts_with(&format!("# {} = ", s.key)));
    let lines = text.lines().map(|line| if commented(line) { &line[2..] } else { line });
    let kept = lines.filter(|line| !["flow_column", "waves", "ramp"].iter().any(|key| line.starts_with(key)));
    kept.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_examples_are_valid_and_stand_for_every_setting() {
    let read = of(&all());
    assert_eq!(read.lane, Some(Lane::Bulk));
    assert_eq!(read.on_unknown, Some(OnUnknown::Park));
    assert_eq!(read.format, Some(Format::Csv));
    assert_eq!(read.windows, ["Mon-Fri 09:00-18:00"]);
    let set = read
        .to_toml()
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .count();
    assert_eq!(set, SETTINGS.len() - 3);
    assert_eq!(of(&CampaignFile::default().to_toml()), CampaignFile::default());
}

#[test]
fn one_text_is_a_list_too() {
    assert_eq!(of("skip = \"a\"").skip, ["a"]);
    assert_eq!(of("skip = [\"a\", \"b\"]").skip, ["a", "b"]);
}

#[test]
fn what_is_wrong_names_line_and_key_and_what_would_be_right() {
    for (text, wanted) in [
        (
            "\npcae = \"1/s\"",
            "c.toml: line 2: pcae: is not a setting of a campaign; did you mean pace?",
        ),
        (
            "colour = 1",
            "line 1: colour: is not a setting of a campaign; there are name, file, ",
        ),
        (
            "[windows]\na = 1",
            "line 1: windows: must be a text, or a list of texts",
        ),
        ("map = 7", "line 1: map: must be a text, or a list of texts"),
        ("max_attempts = 0", "line 1: max_attempts: must be 1 to 100, not 0"),
        ("max_attempts = \"x\"", "line 1: max_attempts: invalid type"),
        ("track = \"yes\"", "line 1: track: invalid type"),
        (
            "on_unknown = \"drop\"",
            "line 1: on_unknown: must be \"relaunch\" or \"park\"",
        ),
        ("lane = \"fast\"", "line 1: lane: must be \"normal\" or \"bulk\""),
        ("format = \"xlsx\"", "line 1: format: must be \"csv\" or \"jsonl\""),
        ("map = [\"a\"]", "line 1: map: \"a\": it looks like INPUT=COLUMN"),
        ("delimiter = \"xx\"", "line 1: delimiter: must be one sign"),
        (
            "encoding = \"ebcdic\"",
            "line 1: encoding: \"ebcdic\" is not the name of an encoding",
        ),
        ("flow_id = \"x\"", "line 1: flow_id: must be the UUID of a flow"),
        ("name = \"a.b\"", "line 1: name: must be a letter or digit"),
        ("expires_after = \"2\"", "line 1: expires_after: has no unit"),
        ("track = true\nx", "line 2: is not valid TOML"),
        ("track = true\ntrack = true", "is not valid TOML: duplicate key"),
    ] {
        let said = wrong(text);
        assert!(said.contains(wanted), "{text}: {said}");
    }
    let two = format!("flow_column = \"f\"\nflow_id = \"{FLOW}\"");
    assert_eq!(
        wrong(&two),
        "c.toml: line 1: flow_column: flow_id and flow_column exclude each other: give one of them"
    );
    assert_eq!(
        wrong("name = \"\"\nmax_attempts = 101"),
        "c.toml\n  line 1: name: must be a letter or digit and then up to 127 letters, digits, \"_\" or \"-\"\n  \
         line 2: max_attempts: must be 1 to 100, not 101"
    );
}

#[test]
fn a_flag_goes_before_the_file_and_puts_aside_what_it_excludes() {
    let file = of(&all());
    assert_eq!(file.clone().with(CampaignFile::default()), file);
    assert_eq!(CampaignFile::default().with(file.clone()), file);
    let flags = CampaignFile {
        map: vec!["x=y".to_owned()],
        ramp: Some("1/s..2/s:1m".to_owned()),
        flow_column: Some("f".to_owned()),
        track: Some(true),
        ..CampaignFile::default()
    };
    let both = file.clone().with(flags);
    assert_eq!(both.map, ["x=y"]);
    assert_eq!((&both.pace, both.ramp.as_deref()), (&None, Some("1/s..2/s:1m")));
    assert_eq!(both.flow(), Ok(Flow::Column("f".to_owned())));
    assert_eq!((both.track, both.skip), (Some(true), file.skip));
    assert!(CampaignFile::default().flow().unwrap_err().contains("--flow-id"));
}

#[test]
fn the_file_says_how_rows_are_read() {
    let file = of(&all());
    let layout = file.layout().unwrap();
    assert_eq!((layout.format, layout.delimiter), (Some(Format::Csv), Some(b';')));
    assert_eq!(layout.encoding.map(|encoding| encoding.name()), Some("windows-1252"));
    let mapping = file.mapping(Vec::new()).unwrap();
    assert_eq!(mapping.flow, Flow::Id(FLOW.to_owned()));
    assert_eq!(
        (mapping.prefix.as_str(), mapping.skip.as_slice()),
        ("Flow.", &["internal_note".to_owned()][..])
    );
    assert_eq!(
        (mapping.key.as_deref(), mapping.timezone.as_deref()),
        (Some("customer_id"), Some("tz"))
    );
    assert_eq!(mapping.map, ["amount:number=Betrag".parse().unwrap()]);
    let flags = CampaignFile {
        map: vec!["x".to_owned()],
        encoding: Some("x".to_owned()),
        ..CampaignFile::default()
    };
    assert!(
        flags
            .mapping(Vec::new())
            .unwrap_err()
            .starts_with("map x: it looks like")
    );
    assert!(flags.layout().unwrap_err().starts_with("encoding: \"x\" is not"));
}

#[test]
fn paths_are_relative_to_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, "file = \"rows/a.csv\"\nnot_on = \"/etc/days\"").unwrap();
    let read = CampaignFile::load(&path).unwrap();
    assert_eq!(read.file, Some(folder.path().join("rows/a.csv")));
    assert_eq!(read.not_on, Some(PathBuf::from("/etc/days")));

    let again = folder.path().join("again.toml");
    read.write(&again).unwrap();
    let text = std::fs::read_to_string(&again).unwrap();
    assert!(
        text.contains("\nfile = \"rows/a.csv\"\n") && text.contains("\nnot_on = \"/etc/days\"\n"),
        "{text}"
    );
    assert_eq!(CampaignFile::load(&again).unwrap(), read);
    assert_eq!(
        read.write(&again).unwrap_err().kind(),
        std::io::ErrorKind::AlreadyExists
    );

    std::fs::write(&path, "file = \"-\"").unwrap();
    assert_eq!(CampaignFile::load(&path).unwrap().file, Some(PathBuf::from("-")));
    let none = CampaignFile::load(Path::new("/none.toml")).unwrap_err().to_string();
    assert!(none.starts_with("/none.toml: cannot be read: "), "{none}");
    std::fs::write(&path, "track = true\npace = \"fast\"").unwrap();
    let said = CampaignFileError::of_key(&path, "pace", "is no pace").to_string();
    assert!(said.ends_with("c.toml: line 2: pace: is no pace"), "{said}");
}

proptest! {
    #[test]
    fn any_text_is_written_and_read_back(name in any::<String>(), list in proptest::collection::vec(any::<String>(), 0..3)) {
        let file = CampaignFile { key: Some(name), skip: list, ..CampaignFile::default() };
        prop_assert_eq!(of(&file.to_toml()), file);
    }

    #[test]
    fn any_file_is_a_campaign_or_a_reason(text in "[a-z_=\"\\[\\]\n 1.]{0,60}") {
        let _ = parse(&text);
    }
}
