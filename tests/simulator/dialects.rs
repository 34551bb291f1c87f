//! Both descriptions of the API.

use serde_json::{Value, json};

use crate::rig::{FLOW, OTHER_FLOW, header, json_of, rig};

#[tokio::test]
async fn the_users_documents_are_answered_with_state_and_start_time() {
    let rig = rig(json!({})).await;
    let answer = rig.launch().await;
    assert_eq!(answer.status(), 201);
    assert_eq!(header(&answer, "inin-correlation-id"), None);
    let body = json_of(answer).await;
    assert!(body["id"].as_str().unwrap().starts_with("exec-"), "{body}");
    assert_eq!((&body["flowId"], &body["state"]), (&json!(FLOW), &json!("Running")));
    assert!(
        body["startTime"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(),
        "{body}"
    );
    rig.patch(json!({ "launchStatus": 200 })).await;
    assert_eq!(rig.launch().await.status(), 200);
}

#[tokio::test]
async fn the_vendors_sdks_are_answered_with_name_version_and_uri() {
    let rig = rig(json!({ "dialect": "vendor" })).await;
    let body = json!({ "flowId": FLOW, "inputData": { "Flow.n": 1 }, "name": "mine", "flowVersion": "4.0" });
    let answer = rig.post(body.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(header(&answer, "inin-correlation-id").is_some());
    let body = json_of(answer).await;
    assert!(body["id"].as_str().unwrap().parse::<uuid::Uuid>().is_ok(), "{body}");
    assert_eq!(
        (&body["name"], &body["flowVersion"]["id"]),
        (&json!("mine"), &json!("4.0"))
    );
    assert_eq!(
        body["selfUri"],
        format!("/api/v2/flows/executions/{}", body["id"].as_str().unwrap())
    );
    assert_eq!(body.get("state"), None);
    assert_eq!(rig.launches().await[0]["inputs"], json!({ "Flow.n": 1 }));
}

#[tokio::test]
async fn each_ignores_the_others_key_of_the_inputs() {
    for (dialect, wrong) in [("user", "inputData"), ("vendor", "inputs")] {
        let rig = rig(json!({ "dialect": dialect })).await;
        let answer = rig
            .post(json!({ "flowId": FLOW, wrong: { "n": 1 } }).to_string())
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success());
        let launch = &rig.launches().await[0];
        assert_eq!(
            (&launch["inputs"], &launch["inputsText"]),
            (&Value::Null, &Value::Null),
            "{dialect}"
        );
    }
}

#[tokio::test]
async fn an_execution_runs_and_then_completes_or_fails_in_the_dialects_words() {
    for (dialect, key, words) in [
        ("user", "state", ["Running", "Completed", "Failed"]),
        ("vendor", "status", ["RUNNING", "COMPLETED", "FAILED"]),
    ] {
        let rig = rig(json!({ "dialect": dialect, "runSeconds": 3600 })).await;
        let id = json_of(rig.launch().await).await["id"].as_str().unwrap().to_owned();
        let path = format!("/api/v2/flows/executions/{id}");
        let running = json_of(rig.get(&path).await).await;
        assert_eq!((&running["id"], &running[key]), (&json!(id), &json!(words[0])));
        rig.patch(json!({ "runSeconds": 0 })).await;
        assert_eq!(json_of(rig.get(&path).await).await[key], words[1]);
        rig.patch(json!({ "failShare": 1 })).await;
        assert_eq!(json_of(rig.get(&path).await).await[key], words[2]);
        for unknown in [OTHER_FLOW, "exec-nothing", "x"] {
            assert_eq!(
                rig.get(&format!("/api/v2/flows/executions/{unknown}")).await.status(),
                404
            );
        }
    }
}

#[tokio::test]
async fn errors_have_the_shape_of_the_dialect() {
    let (user, vendor) = (rig(json!({})).await, rig(json!({ "dialect": "vendor" })).await);
    let of_user = json_of(user.post("{}").send().await.unwrap()).await;
    assert_eq!(
        (&of_user["status"], &of_user["code"]),
        (&json!(400), &json!("bad.request"))
    );
    let answer = vendor.post("{}").send().await.unwrap();
    let correlation = header(&answer, "inin-correlation-id").unwrap();
    let of_vendor = json_of(answer).await;
    assert_eq!(of_vendor["contextId"], correlation);
    assert!(of_vendor["errors"].is_array() && of_vendor["message"].is_string());
}

#[tokio::test]
async fn what_is_wrong_with_a_launch_is_refused_and_not_recorded() {
    let rig = rig(json!({})).await;
    let bodies = [
        ("not json".to_owned(), 400),
        ("{}".to_owned(), 400),
        ("[]".to_owned(), 400),
        (json!({ "flowId": "order-confirmation" }).to_string(), 400),
        (json!({ "flowId": 7 }).to_string(), 400),
        (json!({ "flowId": FLOW, "inputs": [1] }).to_string(), 400),
        (
            json!({ "flowId": FLOW, "inputs": { "text": "x".repeat(512_000) } }).to_string(),
            413,
        ),
    ];
    for (body, status) in bodies {
        let answer = rig.post(body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), status, "{}", &body[..body.len().min(80)]);
    }
    let url = rig.url("/api/v2/flows/executions");
    let plain = rig
        .client
        .post(&url)
        .bearer_auth(&rig.token)
        .body(json!({ "flowId": FLOW }).to_string());
    assert_eq!(plain.send().await.unwrap().status(), 415);
    assert_eq!(rig.get("/api/v2/flows/executions").await.status(), 405);
    assert_eq!(rig.get("/api/v2/users/me").await.status(), 404);
    assert!(rig.launches().await.is_empty());
}

#[tokio::test]
async fn known_flows_are_listed_and_others_are_not_found() {
    let rig = rig(json!({})).await;
    assert_eq!(json_of(rig.get("/api/v2/flows").await).await["total"], 3);
    assert_eq!(rig.get(&format!("/api/v2/flows/{OTHER_FLOW}")).await.status(), 200);
    let flows = json!([{ "id": FLOW, "name": "Reminder" }, { "id": "a", "name": "Chat", "type": "inboundchat" }]);
    rig.patch(json!({ "flows": flows })).await;

    assert_eq!(rig.launch().await.status(), 201);
    assert_eq!(rig.launch_flow(&FLOW.to_uppercase()).await.status(), 201);
    assert_eq!(rig.launch_flow(OTHER_FLOW).await.status(), 404);
    assert_eq!(rig.get(&format!("/api/v2/flows/{OTHER_FLOW}")).await.status(), 404);
    assert_eq!(
        json_of(rig.get(&format!("/api/v2/flows/{FLOW}")).await).await["name"],
        "Reminder"
    );

    let page = json_of(rig.get("/api/v2/flows?pageSize=1&pageNumber=2").await).await;
    assert_eq!(
        (&page["total"], &page["pageCount"], &page["entities"][0]["name"]),
        (&json!(2), &json!(2), &json!("Chat"))
    );
    for query in ["name=remind", "name=*Remind*", "type=workflow"] {
        let page = json_of(rig.get(&format!("/api/v2/flows?{query}")).await).await;
        assert_eq!(
            (&page["total"], &page["entities"][0]["id"]),
            (&json!(1), &json!(FLOW)),
            "{query}"
        );
        assert_eq!(page["entities"][0]["publishedVersion"]["id"], "1.0");
    }
    assert_eq!(rig.get("/api/v2/flows?pageSize=101").await.status(), 400);
}

#[tokio::test]
async fn a_flow_says_what_it_asks_for_and_one_does_not() {
    for (dialect, name) in [("user", "customerEmail"), ("vendor", "Flow.customerEmail")] {
        let rig = rig(json!({ "dialect": dialect })).await;
        let page = json_of(rig.get("/api/v2/flows").await).await;
        let id = page["entities"][0]["id"].as_str().unwrap();
        let flow = json_of(rig.get(&format!("/api/v2/flows/{id}")).await).await;
        let schema = &flow["inputSchema"];
        assert_eq!(schema["type"], "object");
        assert_eq!(schema["required"], json!([name]));
        assert_eq!(schema["properties"][name], json!({ "type": "string" }));
        assert_eq!(page["entities"][2]["inputSchema"], Value::Null);
        // One that is set is answered as it is.
        let own = json!({ "properties": { "x": {} }, "required": ["x"] });
        rig.patch(json!({ "flows": [{ "id": FLOW, "name": "f", "inputSchema": own }] }))
            .await;
        let flow = json_of(rig.get(&format!("/api/v2/flows/{FLOW}")).await).await;
        assert_eq!(flow["inputSchema"], own);
    }
}
