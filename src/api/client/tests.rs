//! Every way a launch can end, against a peer that speaks bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

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
async fn launches_go_one_after_the_other_over_one_connection() {
    let peer = Peer::bind().await;
    let client = client(&peer.url());
    // Whatever way an answer shows its end: the next launch takes the connection.
    let answers = [
        answer(200, OK),
        format!(
            "HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{OK}\r\n0\r\n\r\n",
            OK.len()
        ),
        "HTTP/1.1 204 X\r\n\r\n".to_owned(),
        answer(429, ""),
        answer(200, OK),
    ];
    let serve = async {
        let mut stream = peer.accept().await;
        for answer in &answers {
            request(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        // Held open, and a second one would not be answered.
        std::future::pending::<()>().await;
    };
    let launches = async {
        let mut statuses = Vec::new();
        for _ in &answers {
            statuses.push(launch(&client).await.status);
        }
        statuses
    };
    let statuses = tokio::select! { statuses = launches => statuses, () = serve => unreachable!() };
    assert_eq!(statuses, [200, 200, 204, 429, 200].map(Some));
}

#[tokio::test]
async fn a_connection_that_is_to_be_closed_is_not_used_again() {
    let peer = Peer::bind().await;
    let client = client(&peer.url());
    let last = format!(
        "HTTP/1.1 200 X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{OK}",
        OK.len()
    );
    let serve = async {
        // Held open by the server for all that.
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(peer.serve_open(&last).await);
        }
    };
    let launches = async {
        for _ in 0..3 {
            assert!(is_launched(&launch(&client).await));
        }
    };
    tokio::join!(launches, serve);
}

#[tokio::test]
async fn a_connection_over_which_a_large_launch_was_refused_is_not_used_again() {
    let large = RawValue::from_string(format!(r#"{{"x":"{}"}}"#, "x".repeat(480_000))).unwrap();
    for (inputs, connections) in [(None, 1), (Some(&*large), 2)] {
        let peer = Peer::bind().await;
        let client = client(&peer.url());
        let accepted = AtomicUsize::new(0);
        let refusal = answer(413, "");
        let token = AccessToken::for_tests("t0ken");
        let serve = async {
            // All held open: on the one that was used each further request is answered if it is to be used again.
            let mut open = Vec::new();
            loop {
                let mut stream = peer.accept().await;
                accepted.fetch_add(1, Ordering::Relaxed);
                for _ in connections..=2 {
                    request(&mut stream).await;
                    stream.write_all(refusal.as_bytes()).await.unwrap();
                }
                open.push(stream);
            }
        };
        let launches = async {
            for _ in 0..2 {
                let launch = LaunchRequest { inputs, ..BARE };
                assert_eq!(client.launch(&launch, &token, yes).await.status, Some(413));
            }
        };
        tokio::select! { () = launches => {}, () = serve => unreachable!() }
        assert_eq!(accepted.load(Ordering::Relaxed), connections);
    }
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed_and_never_used_again() {
    let peer = Peer::bind().await;
    let client = client(&peer.url());
    let ok = answer(200, OK);
    let (first, (_, mut stream)) = tokio::join!(launch(&client), peer.serve_open(&ok));
    assert!(is_launched(&first));
    tokio::time::pause();
    // Too old, and not closed yet: another one is made.
    tokio::time::advance(Duration::from_secs(5)).await;
    let (second, _) = tokio::join!(launch(&client), peer.serve(&ok));
    assert!(is_launched(&second));
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);

    let (third, (_, mut stream)) = tokio::join!(launch(&client), peer.serve_open(&ok));
    assert!(is_launched(&third));
    let mut bytes = Vec::new();
    let closed = tokio::select! {
        closed = stream.read_to_end(&mut bytes) => closed,
        () = client.close_unused() => unreachable!(),
    };
    assert_eq!(closed.unwrap(), 0);
}

#[tokio::test]
async fn nobody_waits_longer_for_a_connection_than_the_time_limit_for_one() {
    let peer = Peer::bind().await;
    let mut settings = settings(&peer.url().replace("http:", "https:"));
    settings.connect_timeout = Duration::from_millis(50);
    let client = Client::new(&settings).unwrap();
    // The handshake is never answered.
    let (reply, _stream) = tokio::join!(launch(&client), peer.accept());
    let failure = failed(reply);
    assert_eq!(failure.class, Class::Unreachable);
    assert!(failure.message.contains("no connection within 50ms"), "{failure}");
}

/// A certificate for this name that only `ca_file` makes good, and a server that has it.
fn certified(name: &str) -> (tempfile::NamedTempFile, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let ca_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca_file.path(), made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (ca_file, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_launch_goes_over_tls_to_a_server_that_is_known_by_its_ca_file() {
    let peer = Peer::bind().await;
    let (ca_file, acceptor) = certified("localhost");
    let mut settings = settings(&peer.url().replace("http://127.0.0.1", "https://localhost"));
    let stranger = Client::new(&settings).unwrap();
    let (refused, _) = tokio::join!(launch(&stranger), async { acceptor.accept(peer.accept().await).await });
    let failure = failed(refused);
    assert_eq!(failure.class, Class::Unreachable);
    assert!(failure.message.contains("certificate"), "{failure}");

    settings.ca_file = Some(ca_file.path().to_owned());
    let client = Client::new(&settings).unwrap();
    let serve = async {
        let mut stream = acceptor.accept(peer.accept().await).await.unwrap();
        for _ in 0..2 {
            request(&mut stream).await;
            stream.write_all(answer(200, OK).as_bytes()).await.unwrap();
        }
        stream
    };
    let launches = async { [launch(&client).await, launch(&client).await] };
    let (replies, _stream) = tokio::join!(launches, serve);
    assert!(replies.iter().all(is_launched), "{replies:?}");
}

#[tokio::test]
async fn a_launch_goes_through_a_proxy_that_sees_nothing_of_it() {
    let proxy = Peer::bind().await;
    let (ca_file, acceptor) = certified("api.example.invalid");
    let mut settings = settings("https://api.example.invalid");
    settings.ca_file = Some(ca_file.path().to_owned());
    let at = proxy.url().replace("http://", "http://user:pa55@");
    let client = Client::past(Matcher::builder().https(at).build(), &settings).unwrap();
    let serve = async {
        let mut stream = proxy.accept().await;
        let connect = request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let launch = request(&mut stream).await;
        stream.write_all(answer(200, OK).as_bytes()).await.unwrap();
        (connect, launch)
    };
    let (reply, (connect, post)) = tokio::join!(launch(&client), serve);
    assert!(is_launched(&reply), "{reply:?}");
    assert!(
        connect.starts_with("CONNECT api.example.invalid:443 HTTP/1.1\r\n"),
        "{connect}"
    );
    assert!(
        connect.contains("proxy-authorization: Basic dXNlcjpwYTU1\r\n"),
        "{connect}"
    );
    // A proxy may go by it.
    assert!(connect.contains("user-agent: flowlaunch/"), "{connect}");
    assert!(!connect.contains("t0ken"), "{connect}");
    assert!(post.starts_with("POST /api/v2/flows/executions HTTP/1.1\r\n"), "{post}");
    assert!(!post.to_lowercase().contains("proxy-authorization"), "{post}");
}

#[tokio::test]
async fn a_launch_in_plain_http_is_passed_on_by_the_proxy() {
    let proxy = Peer::bind().await;
    let at = proxy.url().replace("http://", "http://user:pa55@");
    let settings = settings("http://api.example.invalid:8080/gateway");
    let client = Client::past(Matcher::builder().http(at).build(), &settings).unwrap();
    let answer = answer(200, OK);
    let (reply, post) = tokio::join!(launch(&client), proxy.serve(&answer));
    assert!(is_launched(&reply), "{reply:?}");
    let line = "POST http://api.example.invalid:8080/gateway/api/v2/flows/executions HTTP/1.1\r\n";
    assert!(post.starts_with(line), "{post}");
    assert!(post.contains("host: api.example.invalid:8080\r\n"), "{post}");
    assert!(post.contains("proxy-authorization: Basic dXNlcjpwYTU1\r\n"), "{post}");
}

#[tokio::test]
async fn a_proxy_that_cannot_be_reached_or_refuses_is_unreachable_and_its_password_not_shown() {
    let proxy = Peer::bind().await;
    let at = proxy.url().replace("http://", "http://user:pa55@");
    let client = |scheme: &str, at: &str| {
        let matcher = Matcher::builder().all(at).build();
        Client::past(matcher, &settings(&format!("{scheme}://api.example.invalid"))).unwrap()
    };
    let https = client("https", &at);
    let (refused, _) = tokio::join!(launch(&https), proxy.serve("HTTP/1.1 407 Who are you\r\n\r\n"));
    drop(proxy);
    let replies = [
        refused,
        launch(&https).await,
        launch(&client("http", &at)).await,
        launch(&client("https", "socks5://user:pa55@127.0.0.1:1")).await,
    ];
    for reply in replies {
        let failure = failed(reply);
        assert_eq!(failure.class, Class::Unreachable, "{failure}");
        for secret in ["pa55", "dXNlcjpwYTU1"] {
            assert!(!failure.message.contains(secret), "{failure}");
        }
    }
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
    let ok = answer(200, OK);
    let (reply, (_, mut stream)) = tokio::join!(launch(&client), peer.serve_open(&ok));
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
