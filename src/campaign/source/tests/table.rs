//! CSV: delimiters, headers, quotes, lines.

use super::*;

#[test]
fn the_delimiter_is_the_one_that_splits_header_and_rows_alike() {
    for (file, wanted) in [
        ("a;b\n1,5;2\n", r#"2: {"a":"1,5","b":"2"}"#),
        ("a\tb\n1,5\t2;\n", r#"2: {"a":"1,5","b":"2;"}"#),
        ("a|b\n1|2\n", r#"2: {"a":"1","b":"2"}"#),
        ("a,b\n\"x;y\",2\n", r#"2: {"a":"x;y","b":"2"}"#),
        ("a;\"b,c\"\n1;2\n", r#"2: {"a":"1","b,c":"2"}"#),
        ("phone\n+491701234567\n", r#"2: {"phone":"+491701234567"}"#),
        ("sep=;\na;b\n1;2\n", r#"3: {"a":"1","b":"2"}"#),
        ("a,b;c\n1,2;3\n", ""),
    ] {
        match wanted {
            "" => fails(
                file,
                |_| {},
                "\",\" makes 2 columns, \";\" makes 2 columns): say it with --delimiter",
            ),
            wanted => reads(file, |_| {}, &[wanted]),
        }
    }
    let given = Layout {
        delimiter: Some(b'#'),
        ..Layout::default()
    };
    assert_eq!(
        told(&read_as(b"a#b,c\n1#2\n", &given, mapping(|_| {})).unwrap()),
        [r#"2: {"a":"1","b,c":"2"}"#]
    );
    let long = format!("a;b,c\n{}", "1;2\n".repeat(100_000));
    assert_eq!(read_with(long, |_| {}).unwrap().len(), 100_000);
}

#[test]
fn a_delimiter_and_an_encoding_are_given_by_name() {
    for (text, sign) in [
        (",", b','),
        ("tab", b'\t'),
        ("\\t", b'\t'),
        ("\t", b'\t'),
        ("|", b'|'),
        ("^", b'^'),
    ] {
        assert_eq!(parse_delimiter(text), Ok(sign), "{text}");
    }
    for text in ["", "a", "\"", ",,", "é", " "] {
        assert!(parse_delimiter(text).is_err(), "{text}");
    }
    assert_eq!(parse_encoding("Windows-1252"), Ok(WINDOWS_1252));
    assert_eq!(parse_encoding("latin1"), Ok(WINDOWS_1252));
    assert_eq!(parse_encoding("utf8"), Ok(UTF_8));
    for name in ["utf-7", "ebcdic", "", "iso-2022-kr"] {
        assert!(
            parse_encoding(name).unwrap_err().contains("such as \"utf-8\""),
            "{name}"
        );
    }
}

#[test]
fn a_row_is_named_by_the_line_in_which_it_begins() {
    reads(
        "\n\na,b\r\n\r\n1,\"x\ny\r\nz\"\r\n2,3\r\n\n4\n5,6",
        |_| {},
        &[
            r#"5: {"a":"1","b":"x\ny\r\nz"}"#,
            r#"8: {"a":"2","b":"3"}"#,
            "line 10: has 1 cell, and the header has 2",
            r#"11: {"a":"5","b":"6"}"#,
        ],
    );
    reads("a\rx\r\ry\r", |_| {}, &[r#"2: {"a":"x"}"#, r#"4: {"a":"y"}"#]);
}

#[test]
fn a_ragged_row_and_one_with_nothing_in_it_are_bad() {
    reads(
        "a,b\n1\n1,2,3\n, \n1,\n",
        |_| {},
        &[
            "line 2: has 1 cell, and the header has 2",
            "line 3: has 3 cells, and the header has 2",
            "line 4: has nothing in it",
            r#"5: {"a":"1","b":""}"#,
        ],
    );
}

#[test]
fn quotes_that_do_not_match_are_bad_rows_and_not_swallowed_in_silence() {
    reads(
        "a,b\n\"x\"y,1\n5\" pipe,2\n\"x,3\n4,5\n",
        |_| {},
        &[
            "line 2: has text behind a closing quote: a quote within a quoted cell is written twice (\"\")",
            r#"3: {"a":"5\" pipe","b":"2"}"#,
            "line 4: opens a quote that is never closed: all that follows was read as part of it",
        ],
    );
}

#[test]
fn a_header_that_is_none_is_told() {
    for (file, wanted) in [
        ("a,,c\n1,2,3\n", "line 1, the header: column 2 has no name"),
        ("a,b, a\n1,2,3\n", "columns 1 and 3 are both named a"),
        ("Ann,42\nBob,43\n", "42 looks like data"),
        ("Ann,1.5\nBob,2\n", "1.5 looks like data"),
        ("Ann;1,5\nBob;2\n", "1,5 looks like data"),
        ("+49 (170) 12/34,Ann\n", "looks like data"),
        ("5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b,Ann\n", "looks like data"),
        (
            "\nann@example.com\n",
            "line 2, the header: ann@example.com looks like data",
        ),
        ("a,\"b\nc,d\n", "line 1, the header: opens a quote that is never closed"),
        (&"x,".repeat(3 << 20), "line 1, the header: is longer than 2 MiB"),
    ] {
        fails(file, |_| {}, wanted);
    }
    reads(
        " a , b2 ,inf,nan\n1,2,3,4\n",
        |_| {},
        &[r#"2: {"a":"1","b2":"2","inf":"3","nan":"4"}"#],
    );
}

#[test]
fn a_hundred_columns_are_read() {
    let names: Vec<_> = (0..100).map(|n| format!("c{n}")).collect();
    let cells: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let entries = read_with(format!("{}\n{}\n", names.join(","), cells.join(",")), |_| {}).unwrap();
    assert!(row(&entries[0]).inputs.get().ends_with(r#""c98":"98","c99":"99"}"#));
}
