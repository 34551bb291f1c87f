//! A simulator, a token, and short words for what tests do with them.

use std::sync::Once;

use flowlaunch::simulator::{Settings, Simulator, Start};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const FLOW: &str = "8a6e1d0c-9a1e-4f4b-9d8e-2a0f3d5b7c11";
pub(crate) const OTHER_FLOW: &str = "0b1f4a52-77c0-4c5e-8f0a-4b8f6d1e2c33";

pub(crate) struct Rig {
    pub(crate) simulator: Simulator,
    pub(crate) client: Client,
    pub(crate) token: String,
}

pub(crate) fn client() -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
    let redirects = reqwest::redirect::Policy::none();
    Client::builder()
        .no_proxy()
        .redirect(redirects)
        .retry(reqwest::retry::never())
        .build()
        .unwrap()
}

/// A simulator with these settings in place of the defaults, and no limit unless they name one.
pub(crate) async fn rig(patch: Value) -> Rig {
    let mut settings = Settings::default().patched(json!({ "rate": "unlimited" })).unwrap();
    settings = settings.patched(patch).unwrap();
    Rig::begin(Start {
        settings,
        ..Start::default()
    })
    .await
}

impl Rig {
    pub(crate) async fn begin(start: Start) -> Self {
        let simulator = Simulator::begin(start).unwrap();
        let mut rig = Self {
            simulator,
            client: client(),
            token: String::new(),
        };
        rig.token = rig.new_token().await;
        rig
    }

    pub(crate) async fn new_token(&self) -> String {
        let answer = self.ask_token("demo", "demo-secret", "client_credentials").await;
        if answer.status() != StatusCode::OK {
            return String::new();
        }
        json_of(answer).await["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn ask_token(&self, id: &str, secret: &str, grant: &str) -> Response {
        let request = self.client.post(self.url("/oauth/token")).basic_auth(id, Some(secret));
        request.form(&[("grant_type", grant)]).send().await.unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.simulator.url())
    }

    /// A launch request with any body.
    pub(crate) fn post(&self, body: impl Into<String>) -> reqwest::RequestBuilder {
        self.client
            .post(self.url("/api/v2/flows/executions"))
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .body(body.into())
    }

    pub(crate) async fn launch_flow(&self, flow: &str) -> Response {
        self.post(json!({ "flowId": flow, "inputs": { "n": 1 } }).to_string())
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn launch(&self) -> Response {
        self.launch_flow(FLOW).await
    }

    /// The statuses of so many launches, one after the other.
    pub(crate) async fn statuses(&self, count: usize) -> Vec<u16> {
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(self.launch().await.status().as_u16());
        }
        statuses
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client
            .get(self.url(path))
            .bearer_auth(&self.token)
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn control(&self, method: &str, path: &str, body: Option<Value>) -> Response {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self
            .client
            .request(method, format!("{}/_sim{path}", self.simulator.control_url()));
        match body {
            Some(body) => request.json(&body).send().await.unwrap(),
            None => request.send().await.unwrap(),
        }
    }

    pub(crate) async fn rules(&self, rules: Value) {
        assert_eq!(self.control("PUT", "/rules", Some(rules)).await.status(), 200);
    }

    pub(crate) async fn patch(&self, settings: Value) {
        assert_eq!(self.control("PATCH", "/settings", Some(settings)).await.status(), 200);
    }

    pub(crate) async fn lines(&self, path: &str) -> Vec<Value> {
        let text = self.control("GET", path, None).await.text().await.unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) async fn launches(&self) -> Vec<Value> {
        self.lines("/launches").await
    }

    /// Sends a launch over a bare connection; what came back, and how the connection ended.
    pub(crate) async fn raw_launch(&self) -> (String, std::io::Result<()>) {
        let body = json!({ "flowId": FLOW, "inputs": {} }).to_string();
        let head = format!(
            "POST /api/v2/flows/executions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.token,
            body.len()
        );
        self.raw(&(head + &body)).await
    }

    pub(crate) async fn raw(&self, request: &str) -> (String, std::io::Result<()>) {
        let mut stream = TcpStream::connect(self.simulator.url().strip_prefix("http://").unwrap())
            .await
            .unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let end = stream.read_to_end(&mut bytes).await.map(drop);
        (String::from_utf8(bytes).unwrap(), end)
    }
}

pub(crate) async fn json_of(answer: Response) -> Value {
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

pub(crate) fn header(answer: &Response, name: &str) -> Option<String> {
    answer
        .headers()
        .get(name)
        .map(|value| value.to_str().unwrap().to_owned())
}
