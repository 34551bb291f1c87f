//! The record of what really happened.

use serde_json::{Value, json};

use crate::rig::{FLOW, OTHER_FLOW, json_of, rig};

#[tokio::test]
async fn a_launch_is_recorded_as_it_came() {
    let rig = rig(json!({})).await;
    let inputs = "{\n  \"price\": 1.10, \"id\": 9007199254740993,\t\"text\": \"a\\u00e9\\nb\" , \"big\": 1e400\r\n}";
    let body =
        format!("{{\"flowId\": \"{FLOW}\", \"name\": \"mine\", \"flowVersion\": \"2.0\", \"inputs\": {inputs}}}");
    let before = jiff::Timestamp::now();
    let answer = json_of(rig.post(body).send().await.unwrap()).await;
    rig.launch_flow(OTHER_FLOW).await;

    let text = rig.control("GET", "/launches", None).await.text().await.unwrap();
    assert_eq!(text.lines().count(), 2, "one line each: {text}");
    assert!(
        text.contains("\"price\": 1.10, \"id\": 9007199254740993"),
        "numbers keep their digits: {text}"
    );
    let first = text.lines().next().unwrap();
    // This big a number is beyond a parsed value here; the text has it all the same.
    let first: Value = serde_json::from_str(&first.replace("\"big\": 1e400 ", "\"big\": 0")).unwrap();
    assert_eq!(first["seq"], 1);
    assert_eq!(
        (&first["flowId"], &first["name"], &first["flowVersion"]),
        (&json!(FLOW), &json!("mine"), &json!("2.0"))
    );
    assert_eq!(first["inputsText"], inputs);
    assert_eq!(first["inputs"]["text"], "aé\nb");
    assert_eq!(first["executionId"], answer["id"]);
    assert_eq!((&first["answer"], &first["status"]), (&json!("sent"), &json!(201)));
    assert!(rig.token.ends_with(first["token"].as_str().unwrap()));
    assert_ne!(first["token"], rig.token);
    let at: jiff::Timestamp = first["at"].as_str().unwrap().parse().unwrap();
    assert_eq!(first["atMicros"], at.as_microsecond());
    assert!(at.as_second() >= before.as_second() - 1);
}

#[tokio::test]
async fn the_record_can_be_paged_and_forgotten() {
    let rig = rig(json!({})).await;
    rig.statuses(5).await;
    let seqs = async |path: &str| -> Vec<u64> {
        rig.lines(path)
            .await
            .iter()
            .map(|line| line["seq"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(seqs("/launches").await, [1, 2, 3, 4, 5]);
    assert_eq!(seqs("/launches?after=3").await, [4, 5]);
    assert_eq!(seqs("/launches?after=1&limit=2").await, [2, 3]);
    assert!(seqs("/launches?after=5").await.is_empty());
    assert!(seqs("/launches?after=18446744073709551615").await.is_empty());
    assert_eq!(rig.control("GET", "/launches?after=x", None).await.status(), 400);
    assert_eq!(rig.control("GET", "/launches?since=1", None).await.status(), 400);

    assert_eq!(rig.control("DELETE", "/launches", None).await.status(), 204);
    assert!(seqs("/launches").await.is_empty());
    assert!(seqs("/requests").await.is_empty());
    let again = json_of(rig.launch().await).await;
    let launches = rig.launches().await;
    assert_eq!(
        (launches.len(), &launches[0]["seq"]),
        (1, &json!(6)),
        "numbers never repeat"
    );
    assert_eq!(launches[0]["flowId"], FLOW);
    let path = format!("/api/v2/flows/executions/{}", again["id"].as_str().unwrap());
    assert_eq!(rig.get(&path).await.status(), 200);
}

#[tokio::test]
async fn a_long_record_is_read_whole() {
    let rig = rig(json!({})).await;
    for _ in 0..30 {
        let launches = (0..40).map(|_| rig.launch());
        futures_util::future::join_all(launches).await;
    }
    let launches = rig.launches().await;
    assert_eq!(launches.len(), 1200);
    assert!(launches.iter().zip(1..).all(|(launch, seq)| launch["seq"] == seq));
    assert!(launches.is_sorted_by_key(|launch| launch["atMicros"].as_i64().unwrap()));
    let ids: std::collections::HashSet<_> = launches
        .iter()
        .map(|launch| launch["executionId"].to_string())
        .collect();
    assert_eq!(ids.len(), 1200);
    assert_eq!(rig.simulator.stats()["launches"], 1200);
}

#[tokio::test]
async fn the_record_is_bounded_and_says_what_it_dropped() {
    let rig = rig(json!({ "maxRecords": 3 })).await;
    rig.statuses(5).await;
    let seqs: Vec<_> = rig
        .launches()
        .await
        .iter()
        .map(|launch| launch["seq"].clone())
        .collect();
    assert_eq!(seqs, [json!(3), json!(4), json!(5)]);
    let stats = rig.simulator.stats();
    assert_eq!(
        (&stats["launches"], &stats["launchRecordsDropped"]),
        (&json!(5), &json!(2))
    );
}

#[tokio::test]
async fn refused_launches_are_in_the_log_of_requests() {
    let rig = rig(json!({ "rate": "1/min" })).await;
    rig.statuses(2).await;
    rig.patch(json!({ "rate": "unlimited", "permissions": [] })).await;
    rig.launch_flow(OTHER_FLOW).await;
    rig.post("{}").send().await.unwrap();
    let requests = rig.lines("/requests").await;
    let told: Vec<_> = requests
        .iter()
        .map(|line| (line["status"].clone(), line["flowId"].clone()))
        .collect();
    let expected = [
        (json!(201), json!(FLOW)),
        (json!(429), json!(FLOW)),
        (json!(403), json!(OTHER_FLOW)),
        (json!(403), Value::Null),
    ];
    assert_eq!(told, expected);
    assert!(
        requests
            .iter()
            .all(|line| line["at"].is_string() && line["atMicros"].is_i64())
    );
    assert_eq!(rig.launches().await.len(), 1);
}

#[tokio::test]
async fn the_stats_count_by_endpoint_and_status() {
    let rig = rig(json!({})).await;
    rig.rules(json!([{ "delaySeconds": 0.5 }])).await;
    tokio::join!(rig.launch(), rig.launch());
    rig.get("/api/v2/flows").await;
    rig.get("/api/v2/flows/executions/x").await;
    rig.get("/nothing").await;
    let stats = json_of(rig.control("GET", "/stats", None).await).await;
    assert_eq!(
        stats["requests"],
        json!({
            "launch": { "201": 2 }, "token": { "200": 1 }, "poll": { "404": 1 }, "flows": { "200": 1 },
            "other": { "404": 1 },
        })
    );
    assert_eq!((&stats["launches"], &stats["tokensAlive"]), (&json!(2), &json!(1)));
    assert_eq!(stats["maxConcurrentLaunches"], 2);
}
