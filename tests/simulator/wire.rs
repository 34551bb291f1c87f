//! Faults below HTTP: resets, cut answers, refused connections, and how the simulator stops.

use std::io::ErrorKind;

use flowlaunch::simulator::{Settings, Simulator, Start};
use serde_json::{Value, json};

use crate::rig::{Rig, client, json_of, rig};

#[tokio::test]
async fn a_connection_can_be_reset_before_its_body_is_read() {
    let rig = rig(json!({})).await;
    rig.rules(json!([{ "reset": "onArrival", "first": 1 }])).await;
    let (text, end) = rig.raw_launch().await;
    assert_eq!(
        (text.as_str(), end.unwrap_err().kind()),
        ("", ErrorKind::ConnectionReset)
    );
    assert!(rig.launches().await.is_empty());
    assert_eq!(rig.lines("/requests").await[0]["status"], Value::Null);
    assert_eq!(rig.simulator.stats()["requests"]["launch"], json!({ "reset": 1 }));
    assert_eq!(rig.statuses(1).await, [201]);
}

#[tokio::test]
async fn a_connection_can_be_reset_after_the_launch() {
    let rig = rig(json!({})).await;
    for (launches, recorded) in [(false, 0), (true, 1)] {
        rig.rules(json!([{ "reset": "afterBody", "launches": launches }])).await;
        let (text, end) = rig.raw_launch().await;
        assert_eq!(
            (text.as_str(), end.unwrap_err().kind()),
            ("", ErrorKind::ConnectionReset)
        );
        assert_eq!(rig.launches().await.len(), recorded);
    }
    let launch = &rig.launches().await[0];
    assert_eq!(
        (&launch["answer"], &launch["status"]),
        (&json!("withheld"), &Value::Null)
    );
}

#[tokio::test]
async fn an_answer_can_be_cut_short() {
    let rig = rig(json!({})).await;
    rig.rules(json!([{ "cut": true }])).await;
    let (text, end) = rig.raw_launch().await;
    assert!(end.is_ok(), "closed, not reset");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    let promised = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    assert!(!body.is_empty() && body.len() < promised.parse().unwrap(), "{text}");
    assert_eq!(rig.launches().await[0]["answer"], "withheld");

    let through_a_client = rig
        .post(json!({ "flowId": crate::rig::FLOW }).to_string())
        .send()
        .await
        .unwrap();
    assert!(through_a_client.text().await.is_err());

    rig.rules(json!([{ "cut": true, "launches": false }])).await;
    let (text, _) = rig.raw_launch().await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert_eq!(rig.launches().await.len(), 2);
    assert_eq!(rig.simulator.stats()["requests"]["launch"]["cut"], 3);
}

#[tokio::test]
async fn a_client_that_leaves_before_its_request_is_whole_launches_nothing() {
    let rig = rig(json!({})).await;
    let address = rig.simulator.url().strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let half = b"POST /api/v2/flows/executions HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{";
    tokio::io::AsyncWriteExt::write_all(&mut stream, half).await.unwrap();
    drop(stream);
    while rig.simulator.stats()["requests"]["launch"] != json!({ "gone": 1 }) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(rig.launches().await.is_empty());
}

async fn apart() -> Rig {
    let local = "127.0.0.1:0".parse().unwrap();
    Rig::begin(Start {
        control: Some(local),
        ..Start::default()
    })
    .await
}

#[tokio::test]
async fn the_data_port_can_refuse_connections_until_told_otherwise() {
    let rig = apart().await;
    assert_eq!(rig.get("/_sim/stats").await.status(), 404, "control is elsewhere");
    rig.launch().await;
    let closed = rig.control("PUT", "/listener", Some(json!({ "open": false }))).await;
    assert_eq!(json_of(closed).await, json!({ "open": false }));
    let refused = rig.client.get(rig.url("/api/v2/flows")).send().await.unwrap_err();
    assert!(refused.is_connect(), "{refused:?}");
    assert_eq!(rig.launches().await.len(), 1, "control is still there");
    let open = rig.control("PUT", "/listener", Some(json!({ "open": true }))).await;
    assert_eq!(json_of(open).await, json!({ "open": true }));
    assert_eq!(rig.statuses(1).await, [201], "at the same address");
}

#[tokio::test]
async fn a_request_in_flight_ends_when_the_port_closes() {
    let rig = apart().await;
    rig.rules(json!([{ "delaySeconds": 3600 }])).await;
    let close = async {
        while rig.launches().await.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        rig.control("PUT", "/listener", Some(json!({ "open": false }))).await
    };
    let ((text, _), _) = tokio::join!(rig.raw_launch(), close);
    assert_eq!(text, "");
}

#[tokio::test]
async fn the_data_port_can_close_for_a_while_though_control_is_on_it() {
    let rig = rig(json!({})).await;
    let locked_out = rig.control("PUT", "/listener", Some(json!({ "open": false }))).await;
    assert_eq!(locked_out.status(), 400);
    assert_eq!(json_of(locked_out).await["field"], "forSeconds");
    let closed = rig
        .control("PUT", "/listener", Some(json!({ "open": false, "forSeconds": 0.3 })))
        .await;
    assert_eq!(closed.status(), 200, "answered although the port closes");
    let mut refused = 0;
    while rig.client.get(rig.url("/_sim/listener")).send().await.is_err() {
        refused += 1;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let first = Simulator::start(Settings::default()).unwrap();
    let listen = first.url().strip_prefix("http://").unwrap().parse().unwrap();
    let Err(error) = Simulator::begin(Start {
        listen,
        ..Start::default()
    }) else {
        panic!("both have the port")
    };
    let error = format!("{error:#}");
    assert!(
        error.contains(&listen.to_string()) && error.contains("--listen"),
        "{error}"
    );
}

#[tokio::test]
async fn stopping_closes_connections_even_those_of_slow_answers() {
    let rig = rig(json!({})).await;
    rig.rules(json!([{ "delaySeconds": 3600 }])).await;
    let url = rig.simulator.url().to_owned();
    let launch = rig.post(json!({ "flowId": crate::rig::FLOW }).to_string()).send();
    let stop = async {
        while rig.simulator.stats()["launches"] == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        rig.simulator.stop().await;
    };
    let (answer, ()) = tokio::join!(launch, stop);
    assert!(answer.is_err());
    assert!(client().get(url).send().await.unwrap_err().is_connect());
}
