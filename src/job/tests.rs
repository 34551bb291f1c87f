use proptest::prelude::*;

use super::*;

const FLOW: &str = "3f1c2b7a-90ab-4cde-8f01-23456789abcd";

fn decode(body: &str) -> Result<Job, Malformed> {
    Job::decode(body.as_bytes(), None, OnUnknown::Relaunch)
}

/// A body with these members besides its flow.
fn with(members: &str) -> String {
    format!(r#"{{"flowId":"{FLOW}",{members}}}"#)
}

fn refusal(members: &str) -> String {
    decode(&with(members)).expect_err(members).to_string()
}

#[test]
fn the_smallest_job() {
    let job = decode(&format!(r#" {{"flowId":"{FLOW}"}} "#)).unwrap();
    assert_eq!(job.flow_id, FLOW);
    assert!(!job.id_given);
    assert_eq!(job.id.len(), 36);
    assert!(job.inputs.is_none() && !job.track);
}

#[test]
fn every_field() {
    let job = decode(&with(
        r#""id":"order-1","inputs":{"a":1.10},"flowVersion":"3.0","name":"a \"name\"","campaign":"spring_24",
           "notBefore":"2030-01-01T09:00:00+01:00","expiresAt":"2030-01-01T09:00:00.5Z","maxAttempts":100,
           "onUnknown":"park","track":true"#,
    ))
    .unwrap();
    assert_eq!((job.id.as_str(), job.id_given), ("order-1", true));
    assert_eq!(job.inputs.unwrap().get(), r#"{"a":1.10}"#);
    assert_eq!(job.flow_version.as_deref(), Some("3.0"));
    assert_eq!(job.name.as_deref(), Some(r#"a "name""#));
    assert_eq!(job.campaign.as_deref(), Some("spring_24"));
    assert_eq!(job.not_before.unwrap().to_string(), "2030-01-01T08:00:00Z");
    assert_eq!(job.expires_at.unwrap().to_string(), "2030-01-01T09:00:00.5Z");
    assert_eq!(
        (job.max_attempts, job.on_unknown, job.track),
        (Some(100), Some(OnUnknown::Park), true)
    );
}

#[test]
fn inputs_pass_through_byte_for_byte() {
    for inputs in [
        "{}",
        "{ \"a\" : 1.10 ,\n\t\"b\":[9223372036854775807, -0, 1E+2] }",
        r#"{"dup":1,"dup":2,"esc":"\u0041\/\ud800"}"#,
        r#"{"huge":1e999999,"long":123456789012345678901234567890.000}"#,
        r#"{"ü":"日本 🦀 \u0000"}"#,
    ] {
        let job = decode(&with(&format!("\"inputs\": {inputs} "))).unwrap();
        assert_eq!(job.inputs.unwrap().get(), inputs);
    }
}

#[test]
fn however_deep_inputs_nest_the_stack_holds() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(
        decode(&with(&format!("\"inputs\":{deep}")))
            .unwrap()
            .inputs
            .unwrap()
            .get(),
        deep
    );
    let open = with(&format!("\"inputs\":{}", "{\"a\":".repeat(90_000)));
    assert!(decode(&open).is_err());
    assert!(decode(&"[".repeat(400_000)).is_err());
}

#[test]
fn inputs_are_an_object_or_not_there() {
    for (value, found) in [
        ("null", "null"),
        ("[]", "an array"),
        ("\"{}\"", "a string"),
        ("3", "a number"),
    ] {
        let said = refusal(&format!("\"inputs\":{value}"));
        assert!(
            said.starts_with("inputs: must be an object") && said.contains(found),
            "{said}"
        );
    }
}

#[test]
fn an_unknown_field_names_the_one_that_was_meant() {
    for (given, meant) in [
        ("inputData", "inputs"),
        ("Inputs", "inputs"),
        ("input", "inputs"),
        ("imputs", "inputs"),
        ("variables", "inputs"),
        ("flow_id", "flowId"),
        ("jobId", "id"),
        ("not_before", "notBefore"),
        ("expiresAT", "expiresAt"),
        ("retries", "maxAttempts"),
        ("campain", "campaign"),
        ("onUnknwon", "onUnknown"),
    ] {
        let said = refusal(&format!("\"{given}\":{{}}"));
        assert!(
            said.starts_with(given) && said.contains(&format!("did you mean `{meant}`?")),
            "{said}"
        );
    }
    let far = refusal("\"zzz\":1");
    assert!(far.contains("`flowId`, `id`, `inputs`"), "{far}");
}

#[test]
fn a_misspelt_field_is_found_where_it_stands() {
    let body = format!("{{\n  \"flowId\": \"{FLOW}\",\n  \"ünputs\": {{}}\n}}");
    let malformed = decode(&body).unwrap_err();
    let position = malformed.position.unwrap();
    assert_eq!((position.line, position.column), (3, 4));
    assert!(body[position.offset..].starts_with("ünputs"));
}

#[test]
fn a_field_given_twice_is_malformed() {
    assert!(refusal(r#""id":"a","id":"a""#).starts_with("id: is given twice"));
    assert!(refusal(r#""track":null,"track":true"#).starts_with("track: is given twice"));
    assert!(refusal(r#""\u0066lowId":"x""#).starts_with("flowId: is given twice"));
}

#[test]
fn null_is_absent_for_what_is_optional() {
    let job = decode(&with(
        r#""id":null,"flowVersion":null,"name":null,"campaign":null,"notBefore":null,"expiresAt":null,
           "maxAttempts":null,"onUnknown":null,"track":null"#,
    ))
    .unwrap();
    assert!(!job.id_given && job.campaign.is_none() && job.max_attempts.is_none() && !job.track);
    assert!(
        decode(r#"{"flowId":null}"#)
            .unwrap_err()
            .to_string()
            .starts_with("flowId: is required")
    );
}

#[test]
fn the_flow_id_is_a_uuid_as_given() {
    let upper = FLOW.to_uppercase();
    assert_eq!(decode(&format!(r#"{{"flowId":"{upper}"}}"#)).unwrap().flow_id, upper);
    for id in [
        "",
        "flow-1",
        "{3f1c2b7a-90ab-4cde-8f01-23456789abcd}",
        "3f1c2b7a90ab4cde8f0123456789abcd",
        "日本",
    ] {
        let said = decode(&format!(r#"{{"flowId":"{id}"}}"#)).unwrap_err().to_string();
        assert!(said.starts_with("flowId: must be a UUID"), "{said}");
    }
    assert!(decode("{}").unwrap_err().to_string().starts_with("flowId: is required"));
    assert!(
        decode(r#"{"flowId":7}"#)
            .unwrap_err()
            .to_string()
            .contains("must be a string, this is a number")
    );
}

#[test]
fn the_id_and_the_message_id_agree() {
    let decode = |body: &str, property| Job::decode(body.as_bytes(), property, OnUnknown::Relaunch);
    let bare = format!(r#"{{"flowId":"{FLOW}"}}"#);
    let own = with(r#""id":"a""#);
    assert_eq!(decode(&bare, Some("a")).unwrap().id, "a");
    assert!(decode(&bare, Some("a")).unwrap().id_given);
    assert!(!decode(&bare, Some("")).unwrap().id_given);
    assert_eq!(decode(&own, Some("a")).unwrap().id, "a");
    let clash = decode(&own, Some("b")).unwrap_err();
    assert!(
        clash.message.contains("`a`") && clash.message.contains("`b`"),
        "{clash}"
    );
    let long = "x".repeat(201);
    assert!(decode(&bare, Some(&long)).is_err());
    assert!(decode(&with(&format!("\"id\":\"{}\"", "x".repeat(200))), None).is_ok());
    assert!(decode(&with(&format!("\"id\":\"{}\"", "é".repeat(101))), None).is_err());
    assert!(decode(&with(r#""id":"""#), None).is_err());
    assert!(
        decode(&with(r#""id":"\ud800""#), None)
            .unwrap_err()
            .message
            .contains("escape")
    );
}

#[test]
fn park_needs_an_id() {
    let bare = format!(r#"{{"flowId":"{FLOW}"}}"#);
    assert!(
        Job::decode(bare.as_bytes(), None, OnUnknown::Park)
            .unwrap_err()
            .to_string()
            .starts_with("id: is required")
    );
    assert!(Job::decode(bare.as_bytes(), Some("a"), OnUnknown::Park).is_ok());
    assert!(decode(&with(r#""onUnknown":"park""#)).is_err());
    let own = with(r#""onUnknown":"relaunch""#);
    assert!(Job::decode(own.as_bytes(), None, OnUnknown::Park).is_ok());
}

#[test]
fn times_are_rfc_3339() {
    for good in [
        "2030-01-31T09:00:00Z",
        "2030-01-31t09:00:00.123456789z",
        "2030-01-31 09:00:00-05:30",
        "2016-12-31T23:59:60Z",
    ] {
        assert!(decode(&with(&format!("\"notBefore\":\"{good}\""))).is_ok(), "{good}");
    }
    for (bad, why) in [
        ("2030-01-31T09:00:00", "no time zone"),
        ("2030-01-31T09:00:00.5", "no time zone"),
        ("2030-02-30T09:00:00Z", "not a time that exists"),
        ("2030-01-31T09:00Z", "must be RFC 3339"),
        ("2030-01-31", "must be RFC 3339"),
        ("2030-01-31T09:00:00.Z", "must be RFC 3339"),
        ("2030-01-31T09:00:00+0100", "must be RFC 3339"),
        ("2030-01-31T09:00:00Z[UTC]", "must be RFC 3339"),
        ("tomorrow", "must be RFC 3339"),
    ] {
        let said = refusal(&format!("\"expiresAt\":\"{bad}\""));
        assert!(said.contains(why), "{bad}: {said}");
    }
    assert!(refusal("\"notBefore\":1893456000").contains("must be a string, this is a number"));
    let times = |to: &str| {
        with(&format!(
            "\"notBefore\":\"2030-01-01T00:00:00Z\",\"expiresAt\":\"{to}\""
        ))
    };
    assert!(
        decode(&times("2030-01-01T01:00:00+01:00"))
            .unwrap_err()
            .message
            .contains("later than `notBefore`")
    );
    assert!(decode(&times("2030-01-01T00:00:00.001Z")).is_ok());
}

#[test]
fn numbers_words_and_labels() {
    for bad in ["0", "101", "-1", "1.0", "1e1", "99999999999999999999", "\"3\"", "true"] {
        assert!(
            refusal(&format!("\"maxAttempts\":{bad}")).starts_with("maxAttempts: must be a whole number"),
            "{bad}"
        );
    }
    assert!(refusal("\"onUnknown\":\"retry\"").contains("`relaunch` or `park`"));
    assert!(refusal("\"track\":\"true\"").contains("`true` or `false`"));
    assert!(refusal("\"flowVersion\":3").contains("must be a string"));
    for label in ["a", "0_-", &"x".repeat(128)] {
        assert!(decode(&with(&format!("\"campaign\":\"{label}\""))).is_ok(), "{label}");
    }
    for label in ["", "-a", "a.b", "a b", "é", &"x".repeat(129)] {
        assert!(decode(&with(&format!("\"campaign\":\"{label}\""))).is_err(), "{label}");
    }
}

#[test]
fn what_is_not_json_says_where() {
    let at = |body: &[u8]| {
        let malformed = Job::decode(body, None, OnUnknown::Relaunch).unwrap_err();
        (malformed.offset(), malformed.message)
    };
    assert_eq!(at(b""), (None, "the body is empty; a job is a JSON object".to_owned()));
    assert_eq!(at(b"  [1]").0, Some(2));
    assert_eq!(at(b"{\"a\xff\":1}").0, Some(3));
    assert!(at(b"\xef\xbb\xbf{}").1.contains("byte-order mark"));
    assert!(at(b"\xff\xfe{\0").1.contains("not UTF-8"));
    assert_eq!(at(b"{\n\"track\": NaN}").0, Some(11));
    assert_eq!(at(b"{} x").0, Some(3));
    assert_eq!(at(b"{\"track\": tru").0, Some(13));
    assert_eq!(at(b"{\"track\": true,}").0, Some(15));
    assert!(at(b"{\"name\":\"a\nb\"}").1.contains("control character"));
    assert!(at(b"{\"track\": 'x'}").1.starts_with("not valid JSON: expected value"));
}

#[test]
fn a_job_too_long_to_launch_is_malformed() {
    let fit = |length: usize| {
        let empty = with(r#""inputs":{"a":""}"#);
        with(&format!(r#""inputs":{{"a":"{}"}}"#, "x".repeat(length - empty.len())))
    };
    assert!(decode(&fit(MAX_BYTES)).is_ok());
    let malformed = decode(&fit(MAX_BYTES + 1)).unwrap_err();
    assert!(malformed.message.contains("512001 bytes"), "{malformed}");
    assert_eq!(malformed.partial.flow_id.as_deref(), Some(FLOW));
}

#[test]
fn what_could_be_read_is_kept_for_the_result() {
    let malformed = decode(r#"{"inputData":{},"campaign":"c","id":"a","flowId":"f"}"#).unwrap_err();
    let partial = Partial {
        id: Some("a".into()),
        flow_id: Some("f".into()),
        campaign: Some("c".into()),
    };
    assert_eq!(*malformed.partial, partial);
    let cut = decode(r#"{"id":"a","campaign":"no.dots","flowId":"f","inputs":{"#).unwrap_err();
    assert_eq!(
        *cut.partial,
        Partial {
            campaign: None,
            ..partial
        }
    );
    let binary = Job::decode(b"\xff", Some("m"), OnUnknown::Relaunch).unwrap_err();
    assert_eq!(binary.partial.id.as_deref(), Some("m"));
}

#[test]
fn what_is_said_is_short_and_shows_no_input() {
    let long = refusal(&format!("\"{}\":1", "z\\n".repeat(1000)));
    assert!(long.len() < 600 && !long.contains('\n'), "{long}");
    let secret = with(r#""inputs":{"pin":"hunter2"},"maxAttempts":0"#);
    assert!(!format!("{:?}", decode(&secret).unwrap_err()).contains("hunter2"));
    let job = decode(&with(r#""inputs":{"pin":"hunter2"}"#)).unwrap();
    assert!(!format!("{job:?}").contains("hunter2"));
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn job()(
        id in prop::option::of("\\PC{1,50}"),
        inputs in prop::option::of(prop::collection::hash_map(any::<String>(), json(), 0..5)),
        texts in prop::array::uniform2(prop::option::of(any::<String>())),
        campaign in prop::option::of("[A-Za-z0-9][A-Za-z0-9_-]{0,127}"),
        from in prop::option::of(0_i64..4_000_000_000_000),
        life in prop::option::of(1_i64..1_000_000_000),
        max_attempts in prop::option::of(1_u32..=100),
        on_unknown in prop::option::of(prop_oneof![Just(OnUnknown::Relaunch), Just(OnUnknown::Park)]),
        track in any::<bool>(),
    ) -> Job {
        let [flow_version, name] = texts;
        let time = |ms| Timestamp::from_millisecond(ms).unwrap();
        let mut job = Job::new(FLOW);
        job.id_given = id.is_some();
        job.id = id.unwrap_or(job.id);
        job.inputs = inputs.map(|inputs| RawValue::from_string(serde_json::to_string(&inputs).unwrap()).unwrap());
        job.not_before = from.map(time);
        job.expires_at = life.map(|life| time(from.unwrap_or(0) + life));
        // Parking without an id is refused, rightly.
        job.on_unknown = on_unknown.filter(|_| job.id_given);
        Job { flow_version, name, campaign, max_attempts, track, ..job }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_job_or_a_reason(body in prop::collection::vec(any::<u8>(), 0..200), id in prop::option::of(".{0,9}")) {
        if let Err(malformed) = Job::decode(&body, id.as_deref(), OnUnknown::Relaunch) {
            prop_assert!(malformed.offset().unwrap_or(0) <= body.len());
            prop_assert!(!malformed.to_string().is_empty());
        }
    }

    #[test]
    fn any_bytes_in_a_job_are_a_job_or_a_reason(at in 0_usize..100, with in prop::collection::vec(any::<u8>(), 0..6)) {
        let mut body = format!(r#"{{"flowId":"{FLOW}","inputs":{{"a":1}},"maxAttempts":3,"track":true}}"#).into_bytes();
        let at = at.min(body.len());
        body.splice(at..(at + with.len() / 2).min(body.len()), with);
        if let Err(malformed) = Job::decode(&body, None, OnUnknown::Relaunch) {
            prop_assert!(malformed.offset().unwrap_or(0) <= body.len());
        }
    }

    #[test]
    fn encode_and_decode_are_inverse(job in job()) {
        let read = Job::decode(&job.encode(), None, OnUnknown::Relaunch).unwrap();
        prop_assert_eq!(read.encode(), job.encode());
        prop_assert_eq!(read.id_given, job.id_given);
        prop_assert_eq!(read.inputs.map(|inputs| inputs.to_string()), job.inputs.map(|inputs| inputs.to_string()));
        prop_assert_eq!((read.flow_version, read.name, read.campaign), (job.flow_version, job.name, job.campaign));
        prop_assert_eq!((read.not_before, read.expires_at), (job.not_before, job.expires_at));
    }
}

#[test]
fn what_many_write_for_never_is_a_time() {
    let never = format!(r#"{{"flowId":"{FLOW}","expiresAt":"9999-12-31T23:59:59Z"}}"#);
    let job = Job::decode(never.as_bytes(), None, OnUnknown::Relaunch).unwrap();
    assert_eq!(job.expires_at, Some(jiff::Timestamp::MAX));
}
