//! Any table comes back cell by cell; any bytes are rows or reasons.

use super::*;

/// What the csv crate writes, in this encoding.
fn written(table: &[Vec<String>], delimiter: u8, crlf: bool, encoding: &'static Encoding) -> Vec<u8> {
    let terminator = if crlf {
        csv::Terminator::CRLF
    } else {
        csv::Terminator::Any(b'\n')
    };
    let mut writer = csv::WriterBuilder::new()
        .delimiter(delimiter)
        .terminator(terminator)
        .from_writer(Vec::new());
    for row in table {
        writer.write_record(row).unwrap();
    }
    let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
    match encoding {
        e if e == UTF_8 => text.into_bytes(),
        e if e == WINDOWS_1252 => text.chars().map(|c| if c == '€' { 0x80 } else { c as u8 }).collect(),
        e => utf_16(&text, e == UTF_16LE),
    }
}

prop_compose! {
    /// Cells with everything that needs a quote, and letters that windows-1252 has too.
    fn table()(columns in 1..6_usize, rows in 1..8_usize)
        (cells in proptest::collection::vec(proptest::collection::vec("[a-z\",;|\t\r\nàé€ ]{0,9}", columns), rows))
        -> Vec<Vec<String>> {
        let header = (0..cells[0].len()).map(|n| format!("c\"{n},")).collect();
        [vec![header], cells].concat()
    }
}

proptest! {
    #[test]
    fn any_table_is_read_back_cell_by_cell(
        table in table(),
        delimiter in proptest::sample::select(&b",;\t|"[..]),
        crlf: bool,
        encoding in proptest::sample::select(vec![UTF_8, WINDOWS_1252, UTF_16LE, UTF_16BE]),
        zip: bool,
    ) {
        let bytes = written(&table, delimiter, crlf, encoding);
        let bytes = if zip { gzip(&bytes) } else { bytes };
        let layout = Layout { delimiter: Some(delimiter), encoding: Some(encoding), format: Some(Format::Csv) };
        let entries = read_as(&bytes, &layout, mapping(|_| {})).unwrap();
        prop_assert_eq!(entries.len(), table.len() - 1);
        for (entry, cells) in entries.iter().zip(&table[1..]) {
            if cells.iter().all(|cell| cell.trim().is_empty()) {
                prop_assert!(matches!(entry, Entry::Bad(_)));
                continue;
            }
            let members = table[0].iter().zip(cells).map(|(name, cell)| {
                format!("{}:{}", serde_json::to_string(name).unwrap(), serde_json::to_string(cell).unwrap())
            });
            let wanted = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
            prop_assert_eq!(row(entry).inputs.get(), wanted);
        }
    }

    #[test]
    fn any_bytes_are_rows_or_reasons(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        text in "[a-c\",;\r\n{}:\\[\\]1 ]{0,60}",
        encoding in proptest::option::of(proptest::sample::select(vec![UTF_8, WINDOWS_1252, UTF_16LE, encoding_rs::SHIFT_JIS])),
        format in proptest::option::of(proptest::sample::select(vec![Format::Csv, Format::Jsonl])),
        key: bool,
    ) {
        let layout = Layout { encoding, format, delimiter: None };
        for bytes in [&bytes[..], text.as_bytes(), &[b"a,b\n", &bytes[..]].concat(), &[b"\x1f\x8b\x08\0", &bytes[..]].concat()] {
            let change = |m: &mut Mapping| m.key = key.then(|| "a".to_owned());
            let _ = read_as(bytes, &layout, mapping(change));
        }
    }

    #[test]
    fn any_text_after_map_is_a_map_or_a_reason(text in "[a-z:= ]{0,20}") {
        let _ = text.parse::<Mapped>();
    }
}
