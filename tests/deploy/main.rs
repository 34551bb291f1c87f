//! What `deploy/` and `docker-compose.yml` say holds together, as far as it shows without Docker. No server needed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here and says why")]

mod compose;
mod entrypoint;
mod image;

use std::path::Path;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The words of `["a", "b"]`.
fn list(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}
