//! HTTP/1.1: one request, one answer.
//!
//! Invariants
//! - H1: no redirect is followed, no proxy of the environment used, nothing tried again.
//! - H2: a request goes to the origin (scheme, host, port) of the configured address only: a field
//!   in a template cannot send it, and the credentials with it, to another place.
//! - H3: "nothing was sent" is known by the connection, which says so before it hands over a byte.
//! - H4: the answer's body is read up to a cap and to the deadline; its status counts even so, and
//!   it says that it is not complete. One that breaks off before its announced end is in doubt.
//! - H5: with OAuth 2 an answer 401 has the token fetched again, once; the request that got it had
//!   no effect.
//!
//! Compressed answers are not unpacked: none is asked for.

mod address;
mod answer;
mod client;
mod connection;
mod oauth;
mod settings;
mod signature;
mod transport;

use std::cell::RefCell;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http_body_util::Full;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request, StatusCode, Uri};
use tokio::time::{Instant, timeout_at};

use crate::SecretText;
use crate::call::{Call, CallError, Exchange, Refusal, Reply, TIMEOUT_MAX, Target};
use crate::sent::Sent;
use oauth::Tokens;
pub use settings::{Auth, HttpSettings, OAuth2};
pub use signature::{SIGNATURE_HEADER, SIGNATURE_TIMESTAMP_HEADER, signature};

pub(crate) use answer::{Answer, wait};
pub(crate) use client::Client;

/// Most bytes of an address.
const ADDRESS_BYTES_MAX: usize = 8 << 10;
/// The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Headers that belong to the connection and not to the call.
const RESERVED: [&str; 9] =
    ["connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// An address that was called.
struct Newest {
    address: String,
    uri: Uri,
    /// As it is shown.
    shown: String,
}

/// An HTTP endpoint, or several of one origin.
pub struct HttpTarget {
    client: Client,
    /// The newest address that was called, checked: most targets have only one.
    newest: RefCell<Option<Newest>>,
    shown: String,
    authorization: Option<HeaderValue>,
    tokens: Option<Tokens>,
    headers: HeaderMap,
    signing_key: Option<SecretText>,
    signing_header: HeaderName,
    answer_bytes_max: usize,
}

impl HttpTarget {
    /// Prepares a target; nothing is connected yet.
    ///
    /// # Errors
    /// [`CallError::Setup`]: an address, header or certificate that cannot be used.
    pub fn new(settings: HttpSettings) -> Result<Self, CallError> {
        let client = Client::new(&settings)?;
        let (authorization, tokens) = match settings.auth {
            Auth::None => (None, None),
            Auth::Bearer(token) => (Some(oauth::bearer(&token)?), None),
            Auth::Basic { user, password } => (Some(oauth::basic(&user, &password)?), None),
            Auth::OAuth2(grant) => (None, Some(Tokens::new(grant)?)),
        };
        let mut headers = headers_of_all(&client)?;
        for (name, value) in &settings.headers {
            let (name, mut value) = header(name, value.expose()).map_err(CallError::setup)?;
            value.set_sensitive(true);
            match name {
                USER_AGENT | ACCEPT => drop(headers.insert(name, value)),
                name => drop(headers.append(name, value)),
            }
        }
        let signing_header = HeaderName::from_bytes(settings.signing_header.as_bytes())
            .map_err(|_| CallError::setup(format!("{:?} is no header's name", settings.signing_header)))?;
        Ok(Self {
            client,
            newest: RefCell::new(None),
            shown: address::shown(&settings.url),
            authorization,
            tokens,
            headers,
            signing_key: settings.signing_key,
            signing_header,
            answer_bytes_max: settings.answer_bytes_max,
        })
    }

    async fn exchange(&self, call: &Call) -> Result<Reply, CallError> {
        let deadline = Instant::now() + call.timeout.min(TIMEOUT_MAX);
        let sent = Sent::default();
        let request = self.request(call)?;
        let send =
            |request: Request<Full<Bytes>>| self.client.exchange(request, &sent, self.answer_bytes_max, deadline);
        let Some(tokens) = &self.tokens else {
            return send(authorized(request, self.authorization.clone())).await.map(Answer::reply);
        };
        let late = |_| CallError::Timeout { sent: false };
        let token = timeout_at(deadline, tokens.get(None)).await.map_err(late)??;
        let answer = send(authorized(request.clone(), Some(token.header))).await?;
        if answer.head.status != StatusCode::UNAUTHORIZED {
            return Ok(answer.reply());
        }
        sent.clear();
        let token = timeout_at(deadline, tokens.get(Some(token.number))).await.map_err(late)??;
        send(authorized(request, Some(token.header))).await.map(Answer::reply)
    }

    /// An address as it is called, if it may be (H2).
    fn uri(&self, address: &str) -> Result<Uri, String> {
        if let Some(known) = self.newest.borrow().as_ref().filter(|known| known.address == address) {
            return Ok(known.uri.clone());
        }
        let uri = self.client.origin().checked(address)?;
        let newest = Newest { address: address.to_owned(), uri: uri.clone(), shown: address::shown(address) };
        self.newest.replace(Some(newest));
        Ok(uri)
    }

    /// What a call sends where, without secrets.
    fn shown(&self, call: &Call) -> String {
        let method = method_of(call);
        match self.newest.borrow().as_ref().filter(|known| known.address == call.to) {
            Some(known) => format!("{method} {}", known.shown),
            None => format!("{method} {}", address::shown(&call.to)),
        }
    }

    /// The request without what says who we are.
    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, CallError> {
        let refused = |what: String| CallError::refused(Refusal::Message, what);
        let method = method_of(call);
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| refused(format!("{method:?} is no method")))?;
        if call.to.len() > ADDRESS_BYTES_MAX {
            return Err(CallError::TooLarge { bytes: call.to.len(), max: ADDRESS_BYTES_MAX });
        }
        let uri = self.uri(&call.to).map_err(refused)?;
        let mut headers = self.headers.clone();
        for (name, value) in &call.headers {
            let (name, value) = header(name, value).map_err(refused)?;
            headers.insert(name, value);
        }
        if !call.content_type.is_empty() {
            headers.insert(CONTENT_TYPE, header_value(&CONTENT_TYPE, &call.content_type).map_err(refused)?);
        }
        if let Some(key) = &call.idempotency_key {
            headers.insert(IDEMPOTENCY_KEY, header_value(&IDEMPOTENCY_KEY, key).map_err(refused)?);
        }
        if let Some(key) = &self.signing_key {
            signature::sign(&mut headers, &self.signing_header, key, &call.body);
        }
        if !call.body.is_empty() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(call.body.len()));
        }
        let mut request = Request::new(Full::new(call.body.clone()));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
        Ok(request)
    }
}

fn method_of(call: &Call) -> &str {
    if call.method.is_empty() { "POST" } else { &call.method }
}

/// What every request of a client says.
fn headers_of_all(client: &Client) -> Result<HeaderMap, CallError> {
    let host = HeaderValue::from_str(&client.origin().authority())
        .map_err(|_| CallError::setup(format!("{} cannot be named in a header", client.origin())))?;
    let user_agent = HeaderValue::from_static(concat!("millstream/", env!("CARGO_PKG_VERSION")));
    Ok([(HOST, host), (USER_AGENT, user_agent), (ACCEPT, HeaderValue::from_static("*/*"))].into_iter().collect())
}

fn authorized(mut request: Request<Full<Bytes>>, authorization: Option<HeaderValue>) -> Request<Full<Bytes>> {
    if let Some(value) = authorization {
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    request
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no header's name"))?;
    if RESERVED.contains(&name.as_str()) {
        return Err(format!("the header {name} is the connection's own and cannot be set"));
    }
    let value = header_value(&name, value)?;
    Ok((name, value))
}

fn header_value(name: &HeaderName, value: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(value)
        .or_else(|_| HeaderValue::from_bytes(value.as_bytes()))
        .map_err(|_| format!("the value of the header {name} holds characters that a header cannot"))
}

impl Target for HttpTarget {
    fn call(&self, call: Call) -> LocalBoxFuture<'_, Exchange> {
        Box::pin(async move {
            let start = Instant::now();
            let result = self.exchange(&call).await;
            Exchange::since(start, self.shown(&call), result)
        })
    }

    fn describe(&self) -> String {
        self.shown.clone()
    }
}

impl std::fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpTarget").field("url", &self.shown).finish_non_exhaustive()
    }
}
