//! Encodings, compression, and what is no text.

use super::*;

#[test]
fn what_holds_no_rows_says_so() {
    for (file, wanted) in [
        (&b""[..], "list: is empty"),
        (b" \n\r\n", "list: is empty"),
        (b"\xef\xbb\xbf", "list: is empty"),
        (b"sep=;\n", "list: is empty"),
        (b"a,b\n", "list: has a header and no row"),
        (b"a,b\n\n\n", "list: has a header and no row"),
        (
            b"PK\x03\x04whatever",
            "Excel workbook or a ZIP archive: save the sheet as CSV",
        ),
        (b"a,b\n1,\x00\n", "is not text (line 2 has a zero byte in it)"),
        (b"\x7fELF\x02\x01\x01\x00", "is not text"),
        (b"\x89PNG\r\n", "column 1 is not UTF-8"),
        (b"\x1f\x8b\x08nonsense", "gzip data is damaged or cut off"),
        (b"[{\"a\": 1}]", "begins like a JSON array"),
    ] {
        fails(file, |_| {}, wanted);
    }
    let cut = gzip(&b"a,b\n1,2\n".repeat(1000));
    fails(&cut[..cut.len() - 9], |_| {}, "gzip data is damaged or cut off");
    let folder = tempfile::tempdir().unwrap();
    let said = Source::open(folder.path()).unwrap_err().to_string();
    assert!(said.ends_with("is a folder; name a file in it"), "{said}");
    let said = Source::open(&folder.path().join("none")).unwrap_err().to_string();
    assert!(said.starts_with("cannot read"), "{said}");
}

#[test]
fn a_zero_byte_behind_the_sample_makes_its_row_bad() {
    let rows = |bad: &[u8]| [b"a,b\n", &b"1,2\n".repeat(20_000)[..], bad, b"3,4\n"].concat();
    let entries = told(&read_with(rows(b"1,\x00\n"), |_| {}).unwrap());
    let bad = &entries[20_000];
    assert_eq!(bad, "line 20002, column b: has a zero byte in it: no text has one");
    assert_eq!(entries.last().unwrap(), r#"20003: {"a":"3","b":"4"}"#);
}

#[test]
fn every_encoding_is_read_by_its_mark_or_by_its_name() {
    let text = "näme;straße\nZoë 😀;x\n";
    let wanted = [r#"2: {"näme":"Zoë 😀","straße":"x"}"#];
    for bytes in [
        text.as_bytes().to_vec(),
        [b"\xef\xbb\xbf", text.as_bytes()].concat(),
        [b"\xff\xfe", &utf_16(text, true)[..]].concat(),
        [b"\xfe\xff", &utf_16(text, false)[..]].concat(),
        gzip(text.as_bytes()),
        [gzip("näme;straße\nZo".as_bytes()), gzip("ë 😀;x\n".as_bytes())].concat(),
        gzip(&[b"\xff\xfe", &utf_16(text, true)[..]].concat()),
    ] {
        reads(bytes, |_| {}, &wanted);
    }
    let with = |encoding, bytes: &[u8]| {
        let layout = Layout {
            encoding: Some(encoding),
            ..Layout::default()
        };
        read_as(bytes, &layout, mapping(|_| {})).map(|entries| told(&entries))
    };
    assert_eq!(with(UTF_16LE, &utf_16(text, true)).unwrap(), wanted);
    assert_eq!(with(UTF_16BE, &utf_16(text, false)).unwrap(), wanted);
    assert_eq!(with(WINDOWS_1252, b"n\xe4me\n\x80\n").unwrap(), [r#"2: {"näme":"€"}"#]);
    let said = with(WINDOWS_1252, b"\xef\xbb\xbfa\n1\n").unwrap_err();
    assert!(
        said.contains("byte-order mark of UTF-8, but the encoding that was given is windows-1252"),
        "{said}"
    );
}

#[test]
fn bytes_that_are_not_of_the_encoding_name_line_and_column_and_are_never_replaced() {
    let advice = "say which encoding the file has (--encoding windows-1252), or write all of it in one";
    reads(
        b"a,b\nx,y\nZo\xeb,y\nx,ok\n",
        |_| {},
        &[
            r#"2: {"a":"x","b":"y"}"#,
            &format!("line 3, column a: is not UTF-8 from its character 3 on: {advice}"),
            r#"4: {"a":"x","b":"ok"}"#,
        ],
    );
    fails(b"a,\xe4b\n1,2\n", |_| {}, "line 1, the header: column 2 is not UTF-8");
    let mut half = [b"\xff\xfe", &utf_16("a,b\nx,", true)[..]].concat();
    half.extend([0x00, 0xd8]);
    half.extend(utf_16("\nx,y\n", true));
    reads(
        half,
        |_| {},
        &[
            "line 2, column b: is not UTF-16LE from its character 1 on",
            r#"3: {"a":"x","b":"y"}"#,
        ],
    );
    let mut odd = [b"\xff\xfe", &utf_16("a\nxy", true)[..]].concat();
    odd.push(b'z');
    reads(
        odd,
        |_| {},
        &["line 2, column a: is not UTF-16LE from its character 3 on"],
    );
    reads(
        b"{\"a\": \"Zo\xeb\"}\n{\"a\": 1}\n",
        |_| {},
        &[
            &format!("line 1: is not UTF-8 from its character 10 on: {advice}"),
            r#"2: {"a":1}"#,
        ],
    );
}
