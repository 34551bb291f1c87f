//! A launch that succeeds: what arrives, and what is printed.

use serde_json::{Value, json};

use super::rig::{FLOW, Place};

#[tokio::test]
async fn everything_that_is_given_arrives_in_both_dialects() {
    // Spaces, order, 1.10 and a 64-bit integer: byte for byte.
    let inputs = "{ \"amount\" : 1.10, \"id\":9007199254740993,\"name\":\"Zoë\" }";
    for (dialect, field, state) in [
        ("user", "inputs", json!("Running")),
        ("vendor", "inputData", Value::Null),
    ] {
        let place = Place::with(&["--rate", "unlimited", "--dialect", dialect]).await;
        place.write("inputs.json", inputs);
        let set = format!("api.inputs_field={field}");
        let said = place.launch(&[
            "--inputs",
            "inputs.json",
            "--name",
            "by hand",
            "--flow-version",
            "7.0",
            "--json",
            "--set",
            &set,
        ]);
        assert_eq!(said.code, 0, "{said:?}");
        let launches = place.sim.launches().await;
        let [launch] = launches.as_slice() else {
            panic!("{launches:?}")
        };
        assert_eq!(
            [&launch["flowId"], &launch["name"], &launch["flowVersion"]],
            [FLOW, "by hand", "7.0"]
        );
        let record = said.json();
        assert_eq!(
            record,
            json!({
                "flowId": FLOW, "executionId": record["executionId"], "state": state, "ended": false, "reason": null,
                "output": null, "error": null,
            })
        );
        assert!(!record["executionId"].as_str().unwrap().is_empty(), "{record}");
        assert!(place.raw_launches().await.contains(inputs), "{launches:?}");
    }
}

impl Place {
    /// The record as text: a number that was parsed is not what was sent any more.
    async fn raw_launches(&self) -> String {
        let url = self.sim.control_url() + "/_sim/launches";
        super::common::http::get(&url).await.unwrap().1
    }
}

#[tokio::test]
async fn single_inputs_are_texts_or_typed_and_go_before_those_of_the_standard_input() {
    let place = Place::new().await;
    let args = [
        "launch",
        "--flow-id",
        FLOW,
        "--inputs",
        "-",
        "--input",
        "a=1",
        "--input",
        "b:=[1.10]",
    ];
    let said = place.run_with(&args, "{\"a\":\"x\",\"c\":null}");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out.starts_with("launched: execution exec-") && said.out.ends_with(" (Running)\n"),
        "{said:?}"
    );
    assert_eq!(said.err, "");
    let launches = place.raw_launches().await;
    assert!(launches.contains(r#"{"a":"1","b":[1.10],"c":null}"#), "{launches}");
}

#[tokio::test]
async fn a_mistake_in_its_use_is_named_and_nothing_is_launched() {
    let place = Place::new().await;
    place.write("list.json", "[1]");
    for (args, wanted) in [
        (&["launch"][..], "--flow-id"),
        (&["launch", "--flow-id", "order-flow"][..], "must be a UUID"),
        (&["launch", "--flow-id", FLOW, "--input", "name"][..], "KEY=TEXT"),
        (&["launch", "--flow-id", FLOW, "--input", "a:=yes"][..], "is no JSON"),
        (
            &["launch", "--flow-id", FLOW, "--inputs", "none.json"][..],
            "cannot read none.json",
        ),
        (
            &["launch", "--flow-id", FLOW, "--inputs", "list.json"][..],
            "must hold one JSON object",
        ),
        (
            &["launch", "--flow-id", FLOW, "--inputs", "-"][..],
            "standard input is empty",
        ),
        (
            &["launch", "--flow-id", FLOW, "--set", "api.client_id="][..],
            "api.client_id",
        ),
        (
            &[
                "launch",
                "--flow-id",
                FLOW,
                "--set",
                "api.base_url=https://api.mypurecloud.de",
                "--set",
                "api.login_url=https://login.mypurecloud.de",
            ][..],
            "api.inputs_field",
        ),
    ] {
        let said = place.run(args);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}: {said:?}");
        said.complains(&[wanted]);
    }
    assert!(place.sim.requests().await.is_empty());
}
