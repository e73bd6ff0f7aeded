//! Authorization headers, and OAuth 2 client credentials (RFC 6749 section 4.4).
//!
//! Invariants
//! - O1: at most one fetch of a token at a time; who waits for it gets its token.
//! - O2: a token is used until shortly before it ends, or until somebody was refused with it.
//! - O3: neither a token nor an answer that may hold one is in a text.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Uri};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::SecretText;
use crate::call::{CallError, Refusal};
use crate::http::address::shown;
use crate::http::client::Client;
use crate::http::headers_of_all;
use crate::http::settings::{HttpSettings, OAuth2};
use crate::sent::Sent;

/// Most bytes of a token endpoint's answer.
const TOKEN_ANSWER_BYTES_MAX: usize = 64 << 10;
/// Time for one answer of a token endpoint.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a token is used whose end is not said.
const LIFE_UNSAID: Duration = Duration::from_secs(300);
/// Longest use of one token.
const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// It is fetched anew this long before its end, or a tenth of its life before, if that is less.
const MARGIN_MAX: Duration = Duration::from_secs(30);

/// A token, ready to be sent.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) header: HeaderValue,
    /// Counts fetches, so that a refused token is told from its successor.
    pub(super) number: u64,
    until: Instant,
}

/// Fetches and keeps the token.
pub(super) struct Tokens {
    grant: OAuth2,
    uri: Uri,
    client: Client,
    cached: Mutex<Option<Token>>,
}

impl Tokens {
    pub(super) fn new(grant: OAuth2) -> Result<Self, CallError> {
        let mut settings = HttpSettings::new(grant.token_url.clone());
        settings.tls = grant.tls.clone();
        settings.idle_connections = 0;
        let client = Client::new(&settings)?;
        let uri = client.origin().checked(&grant.token_url).map_err(CallError::setup)?;
        Ok(Self { client, uri, grant, cached: Mutex::new(None) })
    }

    /// A token; a new one if the kept one is the `refused` one.
    pub(super) async fn get(&self, refused: Option<u64>) -> Result<Token, CallError> {
        let mut cached = self.cached.lock().await;
        if let Some(token) = &*cached
            && token.until > Instant::now()
            && refused != Some(token.number)
        {
            return Ok(token.clone());
        }
        let number = cached.take().map_or(refused.unwrap_or(0), |token| token.number) + 1;
        let token = self.fetch(number).await?;
        *cached = Some(token.clone());
        Ok(token)
    }

    async fn fetch(&self, number: u64) -> Result<Token, CallError> {
        let asked = Instant::now();
        let place = shown(&self.grant.token_url);
        let deadline = asked + TOKEN_TIMEOUT;
        let failed = |what: String| CallError::unreachable(format!("no token from {place}: {what}"));
        let answer = self.client.exchange(self.request()?, &Sent::default(), TOKEN_ANSWER_BYTES_MAX, deadline).await;
        let answer = answer.map_err(|error| match error {
            CallError::Timeout { .. } => failed("no answer in time".to_owned()),
            CallError::Unreachable { what } | CallError::Lost { what } => failed(what),
            other => other,
        })?;
        let status = answer.head.status.as_u16();
        let fields: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match status {
            200 if answer.complete => token(&fields, asked, number).map_err(failed),
            400..=403 => {
                let why = fields["error"].as_str().unwrap_or("no reason given");
                let what = format!("{place} gives us no token ({status}, {why}); check client id, secret and scope");
                Err(CallError::refused(Refusal::Target, what))
            }
            _ => Err(failed(format!("it answered {status}"))),
        }
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, CallError> {
        let grant = &self.grant;
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(grant.scope.as_deref().map(|scope| ("scope", scope)));
        form.extend(grant.audience.as_deref().map(|audience| ("audience", audience)));
        if grant.in_body {
            form.push(("client_id", &grant.client_id));
            form.push(("client_secret", grant.client_secret.expose()));
        }
        let fields: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let body = fields.join("&");
        let mut headers = headers_of_all(&self.client)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if !grant.in_body {
            // section 2.3.1: both are form-encoded first
            let secret = SecretText::new(encoded(grant.client_secret.expose()));
            headers.insert(AUTHORIZATION, basic(&encoded(&grant.client_id), &secret)?);
        }
        let mut request = Request::new(Full::new(Bytes::from(body)));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (Method::POST, self.uri.clone(), headers);
        Ok(request)
    }
}

/// The token of an answer (RFC 6749 section 5.1).
fn token(fields: &serde_json::Value, asked: Instant, number: u64) -> Result<Token, String> {
    let text = fields["access_token"].as_str().ok_or("its answer holds no access_token")?;
    if let Some(kind) = fields["token_type"].as_str()
        && !kind.eq_ignore_ascii_case("bearer")
    {
        return Err("its token is no bearer token, and others are not supported".to_owned());
    }
    let life = match &fields["expires_in"] {
        serde_json::Value::Null => LIFE_UNSAID,
        // some servers send it as text
        said => {
            let seconds = said.as_u64().or_else(|| said.as_str()?.parse().ok()).ok_or("its expires_in is no number")?;
            Duration::from_secs(seconds).min(LIFE_MAX)
        }
    };
    let until = asked + (life - (life / 10).min(MARGIN_MAX));
    let header = bearer(&SecretText::new(text)).map_err(|_| "its token cannot be sent in a header")?;
    Ok(Token { header, number, until })
}

/// `Bearer …`, never shown.
pub(super) fn bearer(token: &SecretText) -> Result<HeaderValue, CallError> {
    sensitive(&format!("Bearer {}", token.expose()), "the token")
}

/// `Basic …`, never shown.
pub(super) fn basic(user: &str, password: &SecretText) -> Result<HeaderValue, CallError> {
    if user.contains(':') {
        return Err(CallError::setup("a user name cannot hold a colon"));
    }
    let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
    sensitive(&format!("Basic {pair}"), "user and password")
}

fn sensitive(text: &str, what: &str) -> Result<HeaderValue, CallError> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| CallError::setup(format!("{what} cannot be sent: only printable ASCII characters can")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `application/x-www-form-urlencoded`.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => char::from(byte).to_string(),
            b' ' => "+".to_owned(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tokens_are_used_until_shortly_before_their_end() {
        let now = Instant::now();
        let life = |fields| token(&fields, now, 1).map(|token| (token.until - now).as_secs());
        assert_eq!(life(json!({"access_token": "x", "token_type": "Bearer", "expires_in": 3600})), Ok(3570));
        assert_eq!(life(json!({"access_token": "x", "expires_in": "100"})), Ok(90));
        assert_eq!(life(json!({"access_token": "x", "expires_in": 0})), Ok(0));
        assert_eq!(life(json!({"access_token": "x"})), Ok(270));
        assert_eq!(life(json!({"access_token": "x", "expires_in": u64::MAX})), Ok(24 * 3600 - 30));
        for wrong in [
            json!(null),
            json!({"access_token": 1}),
            json!({"access_token": "x", "token_type": "mac"}),
            json!({"access_token": "x", "expires_in": -1}),
            json!({"access_token": "a\nb"}),
        ] {
            assert!(life(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_do_not_show_what_they_hold() {
        let value = bearer(&SecretText::new("abc")).expect("a header");
        assert_eq!((value.as_bytes(), format!("{value:?}").as_str()), (b"Bearer abc".as_slice(), "Sensitive"));
        let value = basic("aladdin", &SecretText::new("opensesame")).expect("a header");
        assert_eq!(value.as_bytes(), b"Basic YWxhZGRpbjpvcGVuc2VzYW1l");
        assert!(basic("a:b", &SecretText::new("")).is_err());
        let error = bearer(&SecretText::new("a\nb")).expect_err("no header");
        assert!(!error.to_string().contains("a\nb"), "{error}");
        assert_eq!(encoded("a b&c=ü"), "a+b%26c%3D%C3%BC");
    }
}
