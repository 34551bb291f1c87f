//! Which column becomes what: inputs, keys, flows, zones.

use super::*;

#[test]
fn every_column_is_an_input_of_its_own_name_and_a_string() {
    reads(
        "name,age\nAnn,7\n\"B \"\"b\"\"\", 8 \n",
        |_| {},
        &[r#"2: {"name":"Ann","age":"7"}"#, r#"3: {"name":"B \"b\"","age":" 8 "}"#],
    );
    let entries = read_with("name\nAnn\n", |_| {}).unwrap();
    let row = row(&entries[0]);
    assert_eq!(
        (row.key.as_str(), row.flow_id.as_str(), &row.timezone),
        ("2", FLOW, &None)
    );
    assert!(!format!("{row:?}").contains("Ann"), "inputs are the customer's");
}

#[test]
fn a_mapped_column_has_its_new_name_and_type_in_its_own_place() {
    let file = "a,b,c,d,e,f\n1,12345678901234567890123,1.10,TRUE,\"[1, 2]\",x\n";
    reads(
        file,
        |m| {
            let map = [
                "F=f",
                "B:integer=b",
                "C:number=c",
                "D:boolean=d",
                "E:json=e",
                "F2:string=f",
            ];
            m.map = map.map(|map| map.parse().unwrap()).into();
            m.skip = vec!["a".to_owned()];
            m.constants = vec![("k".to_owned(), json("\"v\"")), ("n".to_owned(), json("1.0"))];
            m.prefix = "Flow.".to_owned();
        },
        &[
            r#"2: {"Flow.B":12345678901234567890123,"Flow.C":1.10,"Flow.D":true,"Flow.E":[1, 2],"Flow.F":"x","Flow.F2":"x","Flow.k":"v","Flow.n":1.0}"#,
        ],
    );
    reads(
        "a\nx\n",
        |m| {
            m.skip = vec!["a".to_owned()];
            m.constants = vec![("k".to_owned(), json("1"))]
        },
        &[r#"2: {"k":1}"#],
    );
    reads("a\nx\n", |m| m.skip = vec!["a".to_owned()], &["2: {}"]);
}

#[test]
fn a_cell_that_is_not_of_its_type_is_a_bad_row_that_names_line_and_column() {
    let typed = |m: &mut Mapping| m.map = vec!["n:integer=n".parse().unwrap()];
    reads(
        "k,n\na,1\nb,secret\nc,\n",
        typed,
        &[
            r#"2: {"k":"a","n":1}"#,
            "line 3, column n: is not an integer (digits alone, with a - before them or not, and no zero in front)",
            "line 4, column n: is empty, and has to be an integer (digits alone, with a - before them or not, and no zero in front)",
        ],
    );
}

#[test]
fn an_input_that_would_be_given_twice_is_refused() {
    let twice = "the input b is given twice";
    fails("a,b\n1,2\n", |m| m.map = vec!["b=a".parse().unwrap()], twice);
    fails("a,b\n1,2\n", |m| m.constants = vec![("b".to_owned(), json("1"))], twice);
    fails(
        "a\n1\n",
        |m| m.constants = vec![("b".to_owned(), json("1")), ("b".to_owned(), json("2"))],
        twice,
    );
}

#[test]
fn a_key_tells_rows_apart_and_the_first_good_row_with_it_counts() {
    let key = |m: &mut Mapping| {
        m.key = Some("id".to_owned());
        m.skip = vec!["id".to_owned()];
        m.map = vec!["n:integer=n".parse().unwrap()];
    };
    let file = format!(
        "id,n\nk1,x\nk1,1\nk1,2\n,3\n\"a\tb\",4\n{},5\n{0},6\n{0}x,7\nk2,8\n",
        "é".repeat(60)
    );
    let entries = read_with(&file, key).unwrap();
    let told = told(&entries);
    assert_eq!(
        told[1..],
        [
            r#"3: {"n":1}"#.to_owned(),
            "4: k1 again".to_owned(),
            "line 5, column id: is empty, and is the key of the row".to_owned(),
            "line 6, column id: has a control character in it (a line break or tab), and is the key of the row"
                .to_owned(),
            r#"7: {"n":5}"#.to_owned(),
            format!("8: {} again", "é".repeat(60)),
            "line 9, column id: has 121 bytes; a key has at most 120".to_owned(),
            r#"10: {"n":8}"#.to_owned(),
        ]
    );
    assert_eq!(row(&entries[1]).key, "k1");
    let entries = read_with("{\"id\":7}\n{\"id\":\"7\"}\n{\"id\":true}\n{\"n\":1}\n", |m| {
        m.key = Some("id".to_owned())
    })
    .unwrap();
    assert_eq!(row(&entries[0]).inputs.get(), r#"{"id":7}"#, "a key stays an input");
    assert_eq!(
        super::told(&entries)[1..],
        [
            "2: 7 again",
            "line 3, column id: has to be a string or a number",
            "line 4: there is no id; there are n",
        ]
    );
}

#[test]
fn each_row_can_name_its_flow_and_its_zone() {
    let other = "A0000000-0000-0000-0000-000000000000";
    let by_column = |m: &mut Mapping| {
        m.flow = Flow::Column("flow".to_owned());
        m.timezone = Some("tz".to_owned());
        m.skip = vec!["flow".to_owned()];
    };
    let file = format!("flow,tz\n{FLOW},Europe/Berlin\n {other} ,\nnone,Europe/Rome\n{FLOW},Mars\n");
    let entries = read_with(file, by_column).unwrap();
    assert_eq!(row(&entries[0]).timezone.as_deref(), Some("Europe/Berlin"));
    assert_eq!(
        (row(&entries[1]).flow_id.as_str(), &row(&entries[1]).timezone),
        (other, &None)
    );
    assert_eq!(
        told(&entries)[2..],
        [
            "line 4, column flow: must be the UUID of a flow, with its hyphens; this is `none`",
            "line 5, column tz: Mars is no zone",
        ]
    );
    let file = format!("{{\"flow\":\"{FLOW}\",\"tz\":null,\"x\":1}}\n{{\"flow\":\"{FLOW}\",\"x\":1}}\n");
    let entries = read_with(file, by_column).unwrap();
    assert!(entries.iter().all(|entry| row(entry).timezone.is_none()));
}

#[test]
fn an_unknown_column_is_an_error_of_usage() {
    fails(
        "name,mail\nx,y\n",
        |m| m.key = Some("nmae".to_owned()),
        "--key: there is no column nmae; did you mean name?",
    );
    let source = Source::spool("list", &b"a\n1\n"[..]).unwrap();
    let wrong = Arc::new(mapping(|m| m.skip = vec!["b".to_owned()]));
    assert!(matches!(
        source.rows(&Layout::default(), &wrong, zones),
        Err(SourceError::Mapping(_))
    ));
}
