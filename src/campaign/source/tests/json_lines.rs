//! JSON Lines: values as they are written, and what is none.

use super::*;

#[test]
fn json_lines_keep_their_values_byte_for_byte() {
    let file = "\n{\"a\" : 1.10, \"b\": {\"x\" : [1,  2]},\"c\":\"\\u00e9\"}\r\n\n{\"a\":123456789012345678901234567890}\n{}\n";
    reads(
        file,
        |_| {},
        &[
            r#"2: {"a":1.10,"b":{"x" : [1,  2]},"c":"\u00e9"}"#,
            r#"4: {"a":123456789012345678901234567890}"#,
            "line 5: has nothing in it",
        ],
    );
    let mapped = |m: &mut Mapping| {
        m.map = vec!["A:integer=a".parse().unwrap(), "B=b".parse().unwrap()];
        m.constants = vec![("k".to_owned(), json("true"))];
    };
    reads(
        "{\"b\": null,\"a\": 1,\"c\":2}\n{\"a\": 1.5,\"b\":1}\n{\"a\": 1}\n{\"a\":2,\"b\":2,\"k\":3}",
        mapped,
        &[
            r#"1: {"B":null,"A":1,"c":2,"k":true}"#,
            "line 2, column a: is not an integer (digits alone, with a - before them or not, and no zero in front)",
            "line 3: there is no b; there are a",
            "line 4: the input k is given twice: a column becomes one under its own name unless it is mapped to another (--map) \
         or left out (--skip k)",
        ],
    );
}

#[test]
fn a_line_that_is_no_object_is_a_bad_row() {
    reads(
        "{\"a\":1}\n[1]\n7 secret\n{\"a\":1,\"a\":2}\n{\"\":1}\n{\"a\":}\n{\"a\":1} x\n{\"a\":\"b",
        |_| {},
        &[
            r#"1: {"a":1}"#,
            "line 2: is not a JSON object, {\"name\": value, …}",
            "line 3: is not a JSON object, {\"name\": value, …}",
            "line 4, column a: is given twice",
            "line 5: has a field without a name",
            "line 6: is not valid JSON at its byte 6: expected value",
            "line 7: is not valid JSON at its byte 9: trailing characters",
            "line 8: is not valid JSON at its byte 7: EOF while parsing a string",
        ],
    );
}

#[test]
fn a_field_that_no_row_has_is_told_at_the_end() {
    let file = "{\"name\":1,\"note\":2}\n{\"name\":1}\n";
    fails(
        file,
        |m| m.skip = vec!["nmae".to_owned()],
        "--skip: no row has a field nmae; did you mean name?",
    );
    reads(
        file,
        |m| m.skip = vec!["note".to_owned()],
        &[r#"1: {"name":1}"#, r#"2: {"name":1}"#],
    );
    fails(
        file,
        |m| m.timezone = Some("tz".to_owned()),
        "--timezone-column: no row has a field tz; there are name, note",
    );
}

#[test]
fn json_lines_are_known_by_their_name_or_their_first_byte() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, wanted) in [
        ("a.jsonl", &b"x\n"[..], "line 1: is not a JSON object"),
        ("a.NDJSON.gz", &gzip(b"x\n"), "line 1: is not a JSON object"),
        ("a.csv", b" {\"a\":1}\n", "1: {\"a\":1}"),
        ("a.txt", b"x\n{}\n", "2: {\"x\":\"{}\"}"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let source = Source::open(&path).unwrap();
        let rows = source
            .rows(&Layout::default(), &Arc::new(mapping(|_| {})), zones)
            .unwrap();
        let told = told(&rows.collect::<Result<Vec<_>, _>>().unwrap());
        assert!(told[0].starts_with(wanted), "{name}: {told:?}");
    }
    let csv = Layout {
        format: Some(Format::Csv),
        ..Layout::default()
    };
    assert_eq!(
        told(&read_as(b"{x}\n1\n", &csv, mapping(|_| {})).unwrap()),
        [r#"2: {"{x}":"1"}"#]
    );
}
