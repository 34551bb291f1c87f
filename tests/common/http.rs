//! Plain HTTP of the rig's own, to what it started on this machine.

use std::sync::Once;

use serde_json::Value;

use super::SOON;

/// Straight to it: no proxy of the environment's.
pub fn client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Another client of this process may have been first: just as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder().no_proxy().timeout(SOON).build().unwrap()
}

/// Status and body.
pub async fn get(url: &str) -> Result<(u16, String), String> {
    send(client().get(url)).await
}

/// A request with a JSON body, `Value::Null` for none.
pub async fn with_json(method: reqwest::Method, url: &str, body: &Value) -> Result<(u16, String), String> {
    let request = client().request(method, url);
    send(if body.is_null() { request } else { request.json(body) }).await
}

async fn send(request: reqwest::RequestBuilder) -> Result<(u16, String), String> {
    let response = request.send().await.map_err(|error| format!("{error:?}"))?;
    let status = response.status().as_u16();
    Ok((status, response.text().await.map_err(|error| format!("{error:?}"))?))
}
