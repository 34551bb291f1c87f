//! The least that can stand for the API: answers every launch, counts, and notes when each arrived.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints, and stops at what it did not expect"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::common::process::Process;

const TOKEN: &str = r#"{"access_token":"stub","token_type":"bearer","expires_in":86400}"#;
const LAUNCHED: &str = r#"{"id":"exec-5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b","state":"Running"}"#;

/// The stub, in a process of its own.
pub(crate) struct Stub {
    _process: Process,
    _dir: tempfile::TempDir,
    url: String,
    http: reqwest::Client,
}

pub(crate) fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

impl Stub {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let process = Process::spawn("stub", command.arg("stub"), &out);
        let url = super::eventually("the stub", super::LONG, async || {
            let said = std::fs::read_to_string(&out).unwrap_or_default();
            said.lines()
                .next()
                .filter(|_| said.ends_with('\n'))
                .map(str::to_owned)
                .ok_or(said)
        })
        .await;
        Self {
            _process: process,
            _dir: dir,
            url,
            http: super::common::http::client(),
        }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    async fn ask(&self, path: &str) -> String {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        answer.text().await.unwrap()
    }

    pub(crate) async fn count(&self) -> u64 {
        self.ask("/count").await.parse().unwrap()
    }

    pub(crate) async fn reset(&self) {
        self.ask("/reset").await;
    }

    /// Sequence numbers with the microsecond of their arrival.
    pub(crate) async fn arrivals(&self) -> Vec<(usize, u64)> {
        let text = self.ask("/arrivals").await;
        let pair = |line: &str| {
            let (n, at) = line.split_once(' ')?;
            Some((n.parse().ok()?, at.parse().ok()?))
        };
        text.lines().filter_map(pair).collect()
    }
}

#[derive(Default)]
struct Seen {
    count: AtomicU64,
    arrivals: Mutex<Vec<(u64, u64)>>,
}

pub(crate) async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Seen::default());
    while let Ok((stream, _)) = listener.accept().await {
        let seen = seen.clone();
        let _ = stream.set_nodelay(true);
        tokio::task::spawn(async move { talk(stream, &seen).await });
    }
}

async fn talk(mut stream: TcpStream, seen: &Seen) {
    let mut buffer = Vec::with_capacity(8192);
    loop {
        let Some((head, length)) = head(&buffer) else {
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            }
        };
        while buffer.len() < head + length {
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let body = answer(&buffer[..head], &buffer[head..head + length], seen);
        buffer.drain(..head + length);
        let text = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Where the head ends, and how long the body is.
fn head(buffer: &[u8]) -> Option<(usize, usize)> {
    let end = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..end]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    Some((end, length.unwrap_or(0)))
}

fn answer(head: &[u8], body: &[u8], seen: &Seen) -> String {
    if head.starts_with(b"POST /api/") {
        seen.count.fetch_add(1, Ordering::Relaxed);
        if let Some(n) = sequence(body) {
            seen.arrivals.lock().unwrap().push((n, now_micros()));
        }
        LAUNCHED.to_owned()
    } else if head.starts_with(b"GET /count") {
        seen.count.load(Ordering::Relaxed).to_string()
    } else if head.starts_with(b"GET /reset") {
        seen.count.store(0, Ordering::Relaxed);
        seen.arrivals.lock().unwrap().clear();
        String::new()
    } else if head.starts_with(b"GET /arrivals") {
        let arrivals = seen.arrivals.lock().unwrap();
        arrivals.iter().map(|(n, at)| format!("{n} {at}\n")).collect()
    } else {
        TOKEN.to_owned()
    }
}

fn sequence(body: &[u8]) -> Option<u64> {
    let at = body.windows(6).position(|six| six == b"\"seq\":")? + 6;
    let digits: Vec<u8> = body[at..].iter().copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}
