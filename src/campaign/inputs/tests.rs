use serde_json::json;

use super::*;

const FLOW: &str = "5F4E9A4E-3c0a-4c63-9a0f-0f7f8f1d2c3b";

fn known(schema: Value) -> FlowInputs {
    let flow = json!({ "id": FLOW, "name": "Call", "publishedVersion": {}, "inputSchema": schema });
    let mut known = FlowInputs::default();
    assert!(known.found(FLOW, &serde_json::from_value(flow).unwrap()));
    known
}

fn row(inputs: &str) -> Row {
    Row {
        line: 7,
        key: "7".to_owned(),
        flow_id: FLOW.to_lowercase(),
        inputs: RawValue::from_string(inputs.to_owned()).unwrap(),
        timezone: None,
    }
}

fn said(known: &FlowInputs, inputs: &str) -> Option<String> {
    known.check(&row(inputs)).err().map(|bad| bad.to_string())
}

fn order() -> FlowInputs {
    known(json!({
        "$schema": "http://json-schema.org/draft-04/schema#", "title": "Order", "type": "object",
        "required": ["Flow.email"],
        "properties": {
            "Flow.email": { "type": "string" },
            "Flow.count": { "type": "integer" },
            "Flow.amount": { "type": "number" },
            "Flow.vip": { "type": ["boolean", "null"] },
            "Flow.address": { "type": "object" },
            "Flow.lines": { "type": "array", "items": { "type": "string" } },
            "Flow.any": {},
            "Flow.odd": { "type": "duration" },
        },
    }))
}

#[test]
fn names_may_bear_the_prefix_or_not_and_types_are_those_of_json() {
    let known = order();
    for inputs in [
        r#"{"email":"a"}"#,
        r#"{"Flow.email":"a","count":3,"Flow.amount":1.50}"#,
        r#"{"email":"","count":-3.0,"amount":7,"vip":null,"address":{"a":1},"lines":[],"any":[1],"odd":7}"#,
        r#"{"email":"a","vip":true,"amount":12345678901234567890,"count":1e3}"#,
    ] {
        assert_eq!(said(&known, inputs), None, "{inputs}");
    }
    // What is plain in the schema may be qualified in the row.
    let plain = known_plain();
    assert_eq!(said(&plain, r#"{"Flow.email":"a"}"#), None);
}

fn known_plain() -> FlowInputs {
    known(json!({ "properties": { "email": { "type": "string" } }, "required": ["email"] }))
}

#[test]
fn what_is_wrong_is_said_with_the_nearest_name_and_never_with_a_value() {
    let known = order();
    for (inputs, wanted) in [
        (
            r#"{}"#,
            "line 7: the flow needs the input Flow.email, and there is none",
        ),
        (
            r#"{"emial":"secret"}"#,
            "line 7: the flow has no input emial; did you mean email?; the flow needs the input Flow.email, and there \
             is none",
        ),
        (
            r#"{"email":"a","zzz":"secret"}"#,
            "line 7: the flow has no input zzz; there are address, amount, any, count, email, lines, odd, vip",
        ),
        (
            r#"{"email":"a","Flow.contu":1}"#,
            "line 7: the flow has no input Flow.contu; did you mean Flow.count?",
        ),
        (
            r#"{"email":"a","amount":"12.50"}"#,
            "line 7: the input amount has to be of type number, and is of type string (--map INPUT:number=COLUMN makes a \
             cell one)",
        ),
        (
            r#"{"email":"a","count":1.5}"#,
            "line 7: the input count has to be of type integer, and is of type number",
        ),
        (
            r#"{"email":"a","vip":"yes"}"#,
            "line 7: the input vip has to be of type boolean or null, and is of type string (--map INPUT:boolean=COLUMN \
             makes a cell one)",
        ),
        (
            r#"{"email":null}"#,
            "line 7: the input email has to be of type string, and is of type null",
        ),
        (
            r#"{"email":1,"count":"a","amount":"a","lines":"a","address":"a"}"#,
            "line 7: the input address has to be of type object, and is of type string (--map INPUT:json=COLUMN makes a \
             cell one); the input amount has to be of type number, and is of type string (--map INPUT:number=COLUMN makes \
             a cell one); the input count has to be of type integer, and is of type string (--map INPUT:integer=COLUMN \
             makes a cell one); and 2 more",
        ),
    ] {
        assert_eq!(said(&known, inputs).as_deref(), Some(wanted), "{inputs}");
    }
}

#[test]
fn others_are_taken_where_the_flow_says_so_in_so_many_words() {
    let with = |others: Value| known(json!({ "properties": { "a": {} }, "additionalProperties": others }));
    for (others, taken) in [
        (json!(true), true),
        (json!({}), true),
        (json!({ "type": "string" }), true),
        (json!(false), false),
        (json!(null), false),
    ] {
        assert_eq!(said(&with(others.clone()), r#"{"b":1}"#).is_none(), taken, "{others}");
    }
    let none = known(json!({ "properties": {} }));
    assert_eq!(said(&none, "{}"), None);
    assert_eq!(
        said(&none, r#"{"b":1}"#).unwrap(),
        "line 7: the flow has no input b, and no other"
    );
}

#[test]
fn a_flow_of_which_the_api_says_nothing_is_launched_with_anything() {
    for schema in [
        json!(null),
        json!({}),
        json!("x"),
        json!({ "type": "object" }),
        json!({ "properties": [] }),
    ] {
        let flow = json!({ "name": "Call", "publishedVersion": { "id": "1" }, "inputSchema": schema });
        let mut known = FlowInputs::default();
        assert!(!known.found(FLOW, &serde_json::from_value(flow).unwrap()), "{schema}");
        assert_eq!(said(&known, r#"{"x":1}"#), None);
    }
    assert_eq!(said(&FlowInputs::default(), r#"{"x":1}"#), None, "nobody looked");
}

#[test]
fn a_flow_that_is_not_there_or_not_published_makes_its_rows_bad() {
    let mut known = FlowInputs::default();
    known.found(FLOW, &serde_json::from_value(json!({ "name": "Call" })).unwrap());
    assert!(
        said(&known, "{}")
            .unwrap()
            .contains("flow Call has no published version")
    );
    known.missing(FLOW);
    assert!(said(&known, "{}").unwrap().contains("no flow has the id"));
}
