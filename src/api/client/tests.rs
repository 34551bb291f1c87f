//! Every way a launch can end, against a peer that speaks bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::api::testing::{Peer, answer, request, settings};

const FLOW: &str = "0f5e4b1c-0000-4000-8000-000000000001";
const OK: &str = r#"{"id":"exec-1","state":"Running"}"#;
const BARE: LaunchRequest<'_> = LaunchRequest {
    flow_id: FLOW,
    inputs: None,
    flow_version: None,
    name: None,
};

fn yes() -> bool {
    true
}

fn client(url: &str) -> Client {
    Client::new(&settings(url)).unwrap()
}

async fn launch(client: &Client) -> Reply {
    client.launch(&BARE, &AccessToken::for_tests("t0ken"), yes).await
}

fn failed(reply: Reply) -> Failure {
    match reply.outcome {
        Attempted::Failed(failure) => failure,
        Attempted::Launched(receipt) => panic!("launched: {receipt:?}"),
        Attempted::Withdrawn => panic!("withdrawn"),
    }
}

fn is_launched(reply: &Reply) -> bool {
    matches!(reply.outcome, Attempted::Launched(_))
}

/// Closes with a reset and not in good order.
fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
}

/// A launch against a peer that answers with these bytes and closes.
async fn answered(bytes: &str) -> Reply {
    let peer = Peer::bind().await;
    let client = client(&peer.url());
    tokio::join!(launch(&client), peer.serve(bytes)).0
}

#[tokio::test]
async fn a_launch_is_one_request() {
    let peer = Peer::bind().await;
    let client = client(&peer.url());
    let inputs = RawValue::from_string(r#"{"a": 1.10}"#.to_owned()).unwrap();
    let launch = LaunchRequest {
        inputs: Some(&inputs),
        ..BARE
    };
    let token = AccessToken::for_tests("t0ken");
    let answer = answer(200, OK);
    let (reply, request) = tokio::join!(client.launch(&launch, &token, yes), peer.serve(&answer));
    assert_eq!(reply.status, Some(200));
    assert!(is_launched(&reply), "{reply:?}");
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, format!(r#"{{"flowId":"{FLOW}","inputs":{{"a": 1.10}}}}"#));
    let mut lines: Vec<_> = head.lines().collect();
    lines[1..].sort_unstable();
    let expected = [
        "POST /api/v2/flows/executions HTTP/1.1",
        "accept: application/json",
        "authorization: Bearer t0ken",
        &format!("content-length: {}", body.len()),
        "content-type: application/json",
        &format!("host: {}", peer.url().trim_start_matches("http://")),
        &format!("user-agent: flowlaunch/{}", env!("CARGO_PKG_VERSION")),
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn withdrawn_on_a_new_connection_not_a_byte_is_written() {
    let large = RawValue::from_string(format!(r#"{{"x":"{}"}}"#, "x".repeat(480_000))).unwrap();
    for inputs in [None, Some(&*large)] {
        let peer = Peer::bind().await;
        let client = client(&peer.url());
        let looks = Arc::new(AtomicUsize::new(0));
        let look = {
            let looks = Arc::clone(&looks);
            move || {
                looks.fetch_add(1, Ordering::Relaxed);
                false
            }
        };
        let token = AccessToken::for_tests("t0ken");
        let launch = LaunchRequest { inputs, ..BARE };
        let (reply, bytes) = tokio::join!(client.launch(&launch, &token, look), async {
            let mut bytes = Vec::new();
            peer.accept().await.read_to_end(&mut bytes).await.unwrap();
            bytes
        });
        assert_eq!(
            reply,
            Reply {
                status: None,
                outcome: Attempted::Withdrawn
            }
        );
        assert_eq!((bytes.len(), looks.load(Ordering::Relaxed)), (0, 1));
    }
}

#[tokio::test]
async fn withdrawn_on_a_pooled_connection_not_a_byte_is_written() {
    let peer = Peer::bind().await;
    let client = client(&peer.url());
    let serve_one = async {
        let mut stream = peer.accept().await;
        request(&mut stream).await;
        stream.write_all(answer(200, OK).as_bytes()).await.unwrap();
        stream
    };
    let (reply, mut stream) = tokio::join!(launch(&client), serve_one);
    assert!(is_launched(&reply));
    let token = AccessToken::for_tests("t0ken");
    let mut bytes = Vec::new();
    let (reply, read) = tokio::join!(client.launch(&BARE, &token, || false), stream.read_to_end(&mut bytes));
    assert_eq!((reply.outcome, read.unwrap()), (Attempted::Withdrawn, 0));
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let nobody = Peer::bind().await.url();
    let reply = launch(&client(&nobody)).await;
    assert_eq!(reply.status, None);
    let failure = failed(reply);
    assert_eq!(failure.class, Class::Unreachable);
    assert!(failure.message.contains("Connection refused"), "{failure}");
}

#[tokio::test]
async fn a_failed_tls_handshake_is_unreachable() {
    let peer = Peer::bind().await;
    let client = client(&peer.url().replace("http:", "https:"));
    let (reply, ()) = tokio::join!(launch(&client), async {
        let mut stream = peer.accept().await;
        stream.write_all(b"HTTP/1.1 400 This is not TLS\r\n\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    assert_eq!(failed(reply).class, Class::Unreachable);
}

#[tokio::test]
async fn a_time_out_before_the_request_is_unreachable() {
    let peer = Peer::bind().await;
    let client = client(&peer.url().replace("http:", "https:"));
    let (reply, _stream) = tokio::join!(launch(&client), async {
        let mut stream = peer.accept().await;
        stream.read_u8().await.unwrap(); // the handshake has begun, and never ends
        tokio::time::pause();
        stream
    });
    assert_eq!(failed(reply).class, Class::Unreachable);
}

#[tokio::test]
async fn a_pooled_connection_found_closed_is_replaced_and_the_request_sent_once() {
    let peer = Peer::bind().await;
    let client = client(&peer.url());
    let ok = answer(200, OK);
    let (first, _) = tokio::join!(launch(&client), peer.serve(&ok));
    assert!(is_launched(&first));
    // The peer has closed, and the client may or may not have seen it; if not, the request is written into the closed
    // connection, and the outcome is unknown: never a second copy.
    let second = launch(&client);
    let serve = async {
        let mut stream = peer.accept().await;
        request(&mut stream).await;
        stream.write_all(ok.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    };
    let reply = tokio::select! { reply = second => reply, () = serve => unreachable!() };
    assert!(is_launched(&reply) || failed(reply).class == Class::Unknown);
}

#[tokio::test]
async fn no_answer_to_a_written_request_is_unknown_and_nothing_is_sent_again() {
    for pooled in [false, true] {
        for end in [drop::<TcpStream>, reset] {
            let peer = Peer::bind().await;
            let client = client(&peer.url());
            let requests = AtomicUsize::new(0);
            let serve = async {
                let mut stream = peer.accept().await;
                if pooled {
                    request(&mut stream).await;
                    stream.write_all(answer(200, OK).as_bytes()).await.unwrap();
                }
                request(&mut stream).await;
                end(stream);
                loop {
                    drop(peer.accept().await);
                    requests.fetch_add(1, Ordering::Relaxed);
                }
            };
            let launches = async {
                if pooled {
                    assert!(is_launched(&launch(&client).await));
                }
                launch(&client).await
            };
            let reply = tokio::select! { reply = launches => reply, () = serve => unreachable!() };
            assert_eq!(reply.status, None);
            assert_eq!(failed(reply).class, Class::Unknown);
            assert_eq!(requests.load(Ordering::Relaxed), 0);
        }
    }
}

#[tokio::test]
async fn a_time_out_after_the_request_is_unknown() {
    let peer = Peer::bind().await;
    let client = client(&peer.url());
    let (reply, _stream) = tokio::join!(launch(&client), async {
        let mut stream = peer.accept().await;
        request(&mut stream).await;
        tokio::time::pause();
        stream
    });
    let failure = failed(reply);
    assert_eq!((failure.class, failure.status), (Class::Unknown, None));
    assert!(failure.message.contains("no answer within 15s"), "{failure}");
}

#[tokio::test]
async fn a_time_out_in_the_answer_counts_by_status() {
    for (status, class) in [(200, Class::Unknown), (400, Class::Refused)] {
        let peer = Peer::bind().await;
        let client = client(&peer.url());
        let (reply, _stream) = tokio::join!(launch(&client), async {
            let mut stream = peer.accept().await;
            request(&mut stream).await;
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 99\r\n\r\n{{\"id\":");
            stream.write_all(head.as_bytes()).await.unwrap();
            // On loopback what is written is there to be read: a few turns of the loop and the client has the head.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            tokio::time::pause();
            stream
        });
        tokio::time::resume();
        assert_eq!(reply.status, Some(status));
        assert_eq!(failed(reply).class, class);
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_counts_by_status() {
    let cut = answered("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"id\":").await;
    assert_eq!(cut.status, Some(200));
    let failure = failed(cut);
    assert_eq!(failure.class, Class::Unknown);
    assert!(failure.message.starts_with("the answer was cut off"), "{failure}");
    let refused = answered("HTTP/1.1 400 Bad\r\ncontent-length: 99\r\n\r\n{\"message\":").await;
    assert_eq!(failed(refused).class, Class::Refused);
    // Whole as far as JSON goes: the execution is known, however the connection ended.
    let whole = answered(&format!("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{OK}")).await;
    assert!(is_launched(&whole));
}

#[tokio::test]
async fn garbage_for_an_answer_is_unknown() {
    for bytes in ["SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", ""] {
        let reply = answered(bytes).await;
        assert_eq!(reply.status, None);
        assert_eq!(failed(reply).class, Class::Unknown, "{bytes:?}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_read_no_further_than_needed() {
    for (status, class) in [(200, Class::Unknown), (422, Class::Refused)] {
        let peer = Peer::bind().await;
        let client = client(&peer.url());
        let (reply, ()) = tokio::join!(launch(&client), async {
            let mut stream = peer.accept().await;
            request(&mut stream).await;
            let head = format!("HTTP/1.1 {status} X\r\n\r\n{{\"message\":\"");
            stream.write_all(head.as_bytes()).await.unwrap();
            while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
        });
        assert_eq!(failed(reply).class, class);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let peer = Peer::bind().await;
    let client = client(&peer.url());
    let to = format!(
        "HTTP/1.1 307 Elsewhere\r\nlocation: {}/x\r\ncontent-length: 0\r\n\r\n",
        peer.url()
    );
    let serve = async {
        let stream = peer.serve(&to).await;
        peer.accept().await;
        stream
    };
    let reply = tokio::select! { reply = launch(&client) => reply, _ = serve => panic!("it was followed") };
    assert_eq!(failed(reply).class, Class::Misdirected);
}

#[tokio::test]
async fn a_token_that_comes_back_is_hidden() {
    let failure = failed(answered(&answer(400, "you sent Bearer t0ken")).await);
    assert_eq!(failure.message, "you sent Bearer [redacted]");
}
