//! The token endpoint: client credentials for a token.

use serde_json::json;

use super::answer::Answer;
use super::errors::token_error;
use super::record::Mint;
use super::route::Call;
use super::state::State;

/// An error of the endpoint: status, `error`, text.
type Refusal = (u16, &'static str, &'static str);

impl State {
    /// Mints a token, or says why not.
    pub(crate) fn token(&mut self, call: &Call<'_>) -> (Answer, Mint) {
        if let Some((status, error, text)) = self.refuse_token(call) {
            let mint = Mint {
                error: Some(error),
                token: None,
            };
            return (token_error(self.settings.dialect, status, error, text), mint);
        }
        let life = self.settings.token_life_seconds;
        let (token, tail) = self.tokens.mint(life, call.now);
        let body = json!({ "access_token": *token, "token_type": "bearer", "expires_in": life });
        let mint = Mint {
            error: None,
            token: Some(tail),
        };
        (Answer::json(200, &body).with("cache-control", "no-store"), mint)
    }

    fn refuse_token(&mut self, call: &Call<'_>) -> Option<Refusal> {
        let settings = self.settings.clone();
        let limit = settings.limit(settings.token_rate);
        if limit.is_some_and(|limit| !self.token_counter.count(limit, call.now).passed) {
            return Some((400, "invalid_request", "rate limit exceeded; try again later"));
        }
        let Some((id, secret)) = call.authorization.and_then(basic) else {
            return Some((
                400,
                "invalid_request",
                "client credentials must be given by basic authentication",
            ));
        };
        if id != settings.client_id {
            return Some((400, "invalid_client", "client not found"));
        }
        if secret != settings.client_secret {
            return Some((401, "invalid_client", "authentication failed"));
        }
        let is_form = call
            .content_type
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        if !is_form {
            return Some((400, "invalid_request", "the body must be a form"));
        }
        let grant = url::form_urlencoded::parse(call.body.unwrap_or_default()).find(|(key, _)| key == "grant_type");
        match grant {
            Some((_, grant)) if grant == "client_credentials" => None,
            Some(_) => Some((400, "unsupported_grant_type", "grant_type must be client_credentials")),
            None => Some((400, "invalid_request", "grant_type is missing")),
        }
    }
}

/// Client id and secret of an `Authorization: Basic` header.
fn basic(header: &str) -> Option<(String, String)> {
    let decoded = String::from_utf8(base64(header.strip_prefix("Basic ")?.trim())?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            // The mask is the cast: only the low eight of what is left are this byte's.
            bytes.push((bits >> held) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_read() {
        let pair = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        assert_eq!(basic("Basic ZGVtbzpkZW1vLXNlY3JldA=="), pair("demo", "demo-secret"));
        assert_eq!(basic("Basic YTpiOmM="), pair("a", "b:c"));
        assert_eq!(basic("Basic !"), None);
        assert_eq!(basic("Bearer ZGVtbzpkZW1vLXNlY3JldA=="), None);
    }
}
