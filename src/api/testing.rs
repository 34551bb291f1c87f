//! What the tests of this module share: settings, and a peer that speaks bytes.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{InputsField, Settings};

/// Settings for a server at this URL.
pub(super) fn settings(url: &str) -> Settings {
    Settings {
        base_url: url.parse().unwrap(),
        login_url: url.parse().unwrap(),
        client_id: "the-client".to_owned(),
        client_secret: "s3cret".into(),
        inputs_field: InputsField::Inputs,
        timeout: Duration::from_secs(15),
        connect_timeout: Duration::from_secs(5),
        ca_file: None,
    }
}

/// A whole answer with this body.
pub(super) fn answer(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A server that speaks bytes, not HTTP.
pub(super) struct Peer(TcpListener);

impl Peer {
    pub(super) async fn bind() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    pub(super) async fn accept(&self) -> TcpStream {
        self.0.accept().await.unwrap().0
    }

    /// Takes one connection and one request, answers with these bytes and closes.
    pub(super) async fn serve(&self, answer: &str) -> String {
        self.serve_open(answer).await.0
    }

    /// The same, but the connection stays open.
    pub(super) async fn serve_open(&self, answer: &str) -> (String, TcpStream) {
        let mut stream = self.accept().await;
        let request = request(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        (request, stream)
    }
}

/// Reads one request whole.
pub(super) async fn request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        assert_ne!(
            stream.read_buf(&mut bytes).await.unwrap(),
            0,
            "the request ended early: {text}"
        );
    }
}
