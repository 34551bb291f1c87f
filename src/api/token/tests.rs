//! One token for all: cached, renewed, minted by one caller at a time.

use std::sync::Arc;

use futures_util::future::join_all;

use super::*;
use crate::api::testing::{Peer, answer, request, settings};

struct Rig {
    peer: Peer,
    tokens: Tokens,
    results: Arc<std::sync::Mutex<Vec<MintResult>>>,
}

impl Rig {
    async fn new() -> Self {
        let peer = Peer::bind().await;
        let results = Arc::new(std::sync::Mutex::new(Vec::new()));
        let tokens = Tokens::new(&settings(&peer.url()), {
            let results = Arc::clone(&results);
            move |result| results.lock().unwrap().push(result)
        });
        Self {
            peer,
            tokens: tokens.unwrap(),
            results,
        }
    }

    /// Drives `callers` while the endpoint gives these answers, one a request, and then nothing more.
    async fn against<T>(&self, answers: &[String], callers: impl Future<Output = T>) -> T {
        let endpoint = async {
            for answer in answers {
                self.peer.serve(answer).await;
            }
            self.peer.accept().await;
            panic!("one request too many");
        };
        tokio::select! { result = callers => result, () = endpoint => unreachable!() }
    }

    fn results(&self) -> Vec<MintResult> {
        self.results.lock().unwrap().clone()
    }
}

fn minted(token: &str, life: u32) -> String {
    answer_and_close(200, &format!(r#"{{"access_token":"{token}","expires_in":{life}}}"#))
}

/// Says that it closes, so that the client opens another connection instead of racing with the end of this one.
fn answer_and_close(status: u16, body: &str) -> String {
    answer(status, body).replacen("\r\n", "\r\nconnection: close\r\n", 1)
}

fn secret(token: &AccessToken) -> &str {
    std::str::from_utf8(token.secret()).unwrap()
}

#[tokio::test]
async fn it_is_minted_once_and_kept() {
    let rig = Rig::new().await;
    assert_eq!(rig.tokens.expires_at(), None);
    let tokens = rig
        .against(&[minted("one", 86_400)], async {
            let first = rig.tokens.get().await.unwrap();
            (first, rig.tokens.get().await.unwrap())
        })
        .await;
    assert_eq!((secret(&tokens.0), secret(&tokens.1)), ("one", "one"));
    assert!(rig.tokens.expires_at().unwrap() > Timestamp::now());
    assert_eq!(rig.results(), [MintResult::Ok]);
}

#[tokio::test]
async fn many_callers_make_one_request_and_share_its_outcome() {
    let rig = Rig::new().await;
    let refused = answer_and_close(
        401,
        r#"{"error":"invalid_client","description":"authentication failed"}"#,
    );
    let callers = || join_all((0..50).map(|_| rig.tokens.get()));
    let (failures, tokens) = rig
        .against(&[refused, minted("one", 300)], async {
            (callers().await, callers().await)
        })
        .await;
    for failure in failures {
        assert_eq!(failure.unwrap_err().class, Class::Unauthorized);
    }
    for token in tokens {
        assert_eq!(secret(&token.unwrap()), "one");
    }
    assert_eq!(rig.results(), [MintResult::Refused, MintResult::Ok]);
}

#[tokio::test]
async fn when_the_caller_who_mints_is_dropped_another_takes_over() {
    let rig = Rig::new().await;
    let endpoint = async {
        let mut first = rig.peer.accept().await;
        request(&mut first).await;
        // Never answered: its caller goes away now.
        first
    };
    let mut minting = Box::pin(rig.tokens.get());
    let mut waiting = Box::pin(rig.tokens.get());
    let held = tokio::select! {
        biased;
        _ = &mut minting => unreachable!(),
        _ = &mut waiting => unreachable!(),
        stream = endpoint => stream,
    };
    drop(minting);
    let token = rig.against(&[minted("two", 300)], waiting).await.unwrap();
    assert_eq!(secret(&token), "two");
    drop(held);
}

#[tokio::test]
async fn a_renewal_mints_once_for_all_who_saw_the_401() {
    let rig = Rig::new().await;
    rig.against(&[minted("one", 300), minted("two", 300)], async {
        let stale = rig.tokens.get().await.unwrap();
        let renewed = join_all((0..50).map(|_| rig.tokens.renew(&stale))).await;
        for token in renewed {
            assert_eq!(secret(&token.unwrap()), "two");
        }
        // One more who comes late with the old token is given the new one.
        assert_eq!(secret(&rig.tokens.renew(&stale).await.unwrap()), "two");
        assert_eq!(secret(&rig.tokens.get().await.unwrap()), "two");
    })
    .await;
}

#[tokio::test]
async fn a_stale_token_is_not_handed_out_when_its_renewal_fails() {
    let rig = Rig::new().await;
    rig.against(
        &[minted("one", 300), answer_and_close(500, ""), minted("two", 300)],
        async {
            let stale = rig.tokens.get().await.unwrap();
            assert_eq!(rig.tokens.renew(&stale).await.unwrap_err().class, Class::Unreachable);
            assert_eq!(rig.tokens.expires_at(), None);
            assert_eq!(secret(&rig.tokens.get().await.unwrap()), "two");
        },
    )
    .await;
    assert_eq!(rig.results(), [MintResult::Ok, MintResult::Failed, MintResult::Ok]);
}

#[tokio::test]
async fn it_is_used_until_shortly_before_it_expires() {
    for (life, used_until) in [(86_400, 86_340), (600, 540), (300, 270), (5, 4), (0, 1)] {
        let rig = Rig::new().await;
        rig.against(&[minted("one", life), minted("two", life)], async {
            assert_eq!(secret(&rig.tokens.get().await.unwrap()), "one");
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(used_until) - Duration::from_millis(900)).await;
            assert_eq!(secret(&rig.tokens.get().await.unwrap()), "one", "{life}");
            tokio::time::advance(Duration::from_millis(1500)).await;
            tokio::time::resume();
            assert_eq!(secret(&rig.tokens.get().await.unwrap()), "two", "{life}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_throttled_endpoint_is_counted_as_such() {
    let rig = Rig::new().await;
    let limited = answer_and_close(
        400,
        r#"{"error":"invalid_request","description":"rate limit exceeded; slow down"}"#,
    );
    let failure = rig.against(&[limited], rig.tokens.get()).await.unwrap_err();
    assert_eq!(failure.class, Class::Throttled);
    assert_eq!(rig.results(), [MintResult::Throttled]);
}

#[tokio::test]
async fn nothing_shows_a_token_or_a_secret() {
    let rig = Rig::new().await;
    let token = rig.against(&[minted("t0ken", 300)], rig.tokens.get()).await.unwrap();
    let refused = answer_and_close(401, "s3cret t0ken is wrong");
    let failure = rig.against(&[refused], rig.tokens.renew(&token)).await.unwrap_err();
    let shown = format!(
        "{token:?} {:?} {:?} {failure:?} {failure} {}",
        rig.tokens,
        token.header(),
        failure.for_log()
    );
    assert!(!shown.contains("s3cret"), "{shown}");
    let shown = format!("{token:?} {:?} {:?}", rig.tokens, token.header());
    assert!(!shown.contains("t0ken"), "{shown}");
    assert!(AccessToken::new(&"bad\ntoken".into(), 1, Instant::now()).is_none());
}
