//! The token endpoint, and tokens that die.

use std::time::Duration;

use serde_json::json;

use crate::rig::{json_of, rig};

#[tokio::test]
async fn a_token_is_minted_with_its_life() {
    let rig = rig(json!({ "tokenLifeSeconds": 300 })).await;
    let body = json_of(rig.ask_token("demo", "demo-secret", "client_credentials").await).await;
    assert_eq!(
        (&body["token_type"], &body["expires_in"]),
        (&json!("bearer"), &json!(300))
    );
}

#[tokio::test]
async fn wrong_credentials_are_refused_as_documented() {
    for (dialect, key) in [("user", "error_description"), ("vendor", "description")] {
        let rig = rig(json!({ "dialect": dialect })).await;
        let tries = [
            (
                ("nobody", "x", "client_credentials"),
                400,
                "invalid_client",
                "client not found",
            ),
            (
                ("demo", "x", "client_credentials"),
                401,
                "invalid_client",
                "authentication failed",
            ),
            (
                ("demo", "demo-secret", "password"),
                400,
                "unsupported_grant_type",
                "grant_type must be client_credentials",
            ),
        ];
        for ((id, secret, grant), status, error, text) in tries {
            let answer = rig.ask_token(id, secret, grant).await;
            assert_eq!(answer.status(), status);
            let body = json_of(answer).await;
            assert_eq!((&body["error"], &body[key]), (&json!(error), &json!(text)));
        }
        let bare = rig
            .client
            .post(rig.url("/oauth/token"))
            .form(&[("grant_type", "client_credentials")]);
        assert_eq!(bare.send().await.unwrap().status(), 400);
    }
}

#[tokio::test]
async fn the_endpoint_has_a_limit_of_its_own() {
    let rig = rig(json!({ "tokenRate": "2/min" })).await;
    assert_eq!(
        rig.ask_token("demo", "demo-secret", "client_credentials")
            .await
            .status(),
        200
    );
    let limited = rig.ask_token("demo", "demo-secret", "client_credentials").await;
    assert_eq!(limited.status(), 400);
    let body = json_of(limited).await;
    assert_eq!(body["error"], "invalid_request");
    assert!(
        body["error_description"]
            .as_str()
            .unwrap()
            .starts_with("rate limit exceeded; "),
        "{body}"
    );
}

#[tokio::test]
async fn a_token_expires_idles_out_and_can_be_revoked() {
    let mut rig = rig(json!({ "tokenLifeSeconds": 0 })).await;
    let code = async |rig: &crate::rig::Rig| {
        let answer = rig.launch().await;
        (
            answer.status().as_u16(),
            json_of(answer).await["code"].as_str().map(str::to_owned),
        )
    };
    let refused = |code: &str| (401, Some(code.to_owned()));
    assert_eq!(code(&rig).await, refused("credentials.expired"));

    rig.patch(json!({ "tokenLifeSeconds": 300, "tokenIdleSeconds": 0.2 }))
        .await;
    rig.token = rig.new_token().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(code(&rig).await, refused("credentials.expired"));

    rig.patch(json!({ "tokenIdleSeconds": null })).await;
    rig.token = rig.new_token().await;
    assert_eq!(rig.statuses(1).await, [201]);
    let revoked = json_of(rig.control("POST", "/revoke", None).await).await;
    assert_eq!(revoked["revoked"], 3);
    assert_eq!(code(&rig).await, refused("bad.credentials"));

    let bare = rig.client.get(rig.url("/api/v2/flows")).send().await.unwrap();
    assert_eq!(json_of(bare).await["code"], "authentication.required");
}

#[tokio::test]
async fn secret_and_permissions_can_be_changed_while_it_runs() {
    let rig = rig(json!({ "dialect": "vendor" })).await;
    rig.patch(json!({ "clientSecret": "another", "permissions": ["architect:flow:view"] }))
        .await;
    assert_eq!(
        rig.ask_token("demo", "demo-secret", "client_credentials")
            .await
            .status(),
        401
    );
    assert_eq!(
        rig.ask_token("demo", "another", "client_credentials").await.status(),
        200
    );

    let forbidden = rig.launch().await;
    assert_eq!(forbidden.status(), 403);
    let body = json_of(forbidden).await;
    assert_eq!(body["code"], "missing.permissions");
    assert!(
        body["message"].as_str().unwrap().contains("architect:flow:launch"),
        "{body}"
    );
    assert_eq!(rig.get("/api/v2/flows/executions/x").await.status(), 403);
    assert_eq!(rig.get("/api/v2/flows").await.status(), 200);
    assert!(rig.launches().await.is_empty());
}

#[tokio::test]
async fn token_requests_are_on_record_and_their_concurrency_is_counted() {
    let rig = rig(json!({})).await;
    rig.rules(json!([{ "endpoint": "token", "delaySeconds": 0.5 }])).await;
    tokio::join!(
        rig.new_token(),
        rig.new_token(),
        rig.ask_token("demo", "wrong", "client_credentials")
    );
    let requests = rig.lines("/tokens").await;
    assert_eq!(requests.len(), 4);
    assert!(rig.token.ends_with(requests[0]["token"].as_str().unwrap()));
    let refused: Vec<_> = requests.iter().filter(|request| request["status"] == 401).collect();
    assert_eq!((refused.len(), &refused[0]["error"]), (1, &json!("invalid_client")));
    let stats = rig.simulator.stats();
    assert_eq!(stats["requests"]["token"], json!({ "200": 3, "401": 1 }));
    rig.rules(json!([{ "endpoint": "token", "status": 503 }])).await;
    rig.new_token().await;
    assert_eq!(
        rig.lines("/tokens?after=4").await[0]["status"],
        503,
        "those that a fault answers too"
    );
    // A half-second answer each: they overlap unless the machine stands still for as long.
    assert!(stats["maxConcurrentTokenRequests"].as_u64().unwrap() >= 2, "{stats}");
}
