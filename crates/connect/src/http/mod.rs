//! HTTP/1.1: one request, one answer.
//!
//! Invariants
//! - H1: no redirect is followed, no proxy of the environment used, nothing tried again.
//! - H2: a request goes to the origin (scheme, host, port) of the configured address only: a field
//!   in a template cannot send it, and the credentials with it, to another place.
//! - H3: "nothing was sent" is known by the body: hyper asks for it just before it writes the
//!   request's head. A request without a body counts as sent once a connection is there.
//! - H4: the answer's body is read up to a cap and to the deadline; its status counts even so, and
//!   it says that it is not complete. One that breaks off before its announced end is in doubt.
//! - H5: with OAuth 2 an answer 401 has the token fetched again, once; the request that got it had
//!   no effect.
//!
//! Compressed answers are not unpacked: none is asked for.

mod address;
mod answer;
mod oauth;
mod settings;
mod signature;

use std::cell::RefCell;
use std::convert::Infallible;
use std::error::Error as _;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Request, StatusCode, Url};
use tokio::time::Instant;

use crate::SecretText;
use crate::call::{Call, CallError, Exchange, Refusal, Reply, TIMEOUT_MAX, Target};
use crate::sent::Sent;
use address::Origin;
use oauth::Tokens;
pub use settings::{Auth, HttpSettings, OAuth2};
pub use signature::{SIGNATURE_HEADER, SIGNATURE_TIMESTAMP_HEADER, signature};

pub(crate) use answer::{read as read_answer, wait};
pub(crate) use settings::client;

/// Most bytes of an address.
const ADDRESS_BYTES_MAX: usize = 8 << 10;
/// Headers that belong to the connection and not to the call.
const RESERVED: [&str; 9] =
    ["connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// An HTTP endpoint, or several of one origin.
pub struct HttpTarget {
    client: Client,
    origin: Origin,
    /// The newest address that was called, checked: most targets have only one.
    newest: RefCell<Option<(String, Url)>>,
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
        let origin = Origin::of_template(&settings.url)?;
        let client = client(&settings)?;
        let (authorization, tokens) = match settings.auth {
            Auth::None => (None, None),
            Auth::Bearer(token) => (Some(oauth::bearer(&token)?), None),
            Auth::Basic { user, password } => (Some(oauth::basic(&user, &password)?), None),
            Auth::OAuth2(grant) => (None, Some(Tokens::new(grant)?)),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let (name, mut value) = header(name, value.expose()).map_err(CallError::setup)?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let signing_header = HeaderName::from_bytes(settings.signing_header.as_bytes())
            .map_err(|_| CallError::setup(format!("{:?} is no header's name", settings.signing_header)))?;
        Ok(Self {
            client,
            origin,
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
        let answer = tokio::time::timeout_at(deadline, self.answer(call, &sent)).await;
        let answer = answer.map_err(|_| CallError::Timeout { sent: sent.is_set() })??;
        read_answer(answer, self.answer_bytes_max, deadline).await
    }

    /// Sends, up to the answer's head.
    async fn answer(&self, call: &Call, sent: &Sent) -> Result<reqwest::Response, CallError> {
        let request = self.request(call)?;
        let Some(tokens) = &self.tokens else {
            return self.send(request(sent), self.authorization.clone(), sent).await;
        };
        let token = tokens.get(None).await?;
        let answer = self.send(request(sent), Some(token.header), sent).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        sent.clear();
        let token = tokens.get(Some(token.number)).await?;
        self.send(request(sent), Some(token.header), sent).await
    }

    async fn send(
        &self,
        mut request: Request,
        authorization: Option<HeaderValue>,
        sent: &Sent,
    ) -> Result<reqwest::Response, CallError> {
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        if request.body().is_none() {
            sent.set();
        }
        self.client.execute(request).await.map_err(|error| {
            let unsent = error.is_connect() || error.is_builder() || !sent.is_set();
            let what = chain(&error.without_url());
            if unsent { CallError::unreachable(what) } else { CallError::lost(what) }
        })
    }

    /// An address as it is called, if it may be (H2).
    fn url(&self, address: &str) -> Result<Url, String> {
        let mut newest = self.newest.borrow_mut();
        if let Some((known, url)) = &*newest
            && known == address
        {
            return Ok(url.clone());
        }
        let url = self.origin.checked(address)?;
        *newest = Some((address.to_owned(), url.clone()));
        Ok(url)
    }

    /// What makes the request: as often as it is to be sent.
    fn request<'a>(&self, call: &'a Call) -> Result<impl Fn(&Sent) -> Request + use<'a>, CallError> {
        let refused = |what: String| CallError::refused(Refusal::Message, what);
        let method = if call.method.is_empty() { "POST" } else { call.method.as_str() };
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| refused(format!("{method:?} is no method")))?;
        if call.to.len() > ADDRESS_BYTES_MAX {
            return Err(CallError::TooLarge { bytes: call.to.len(), max: ADDRESS_BYTES_MAX });
        }
        let url = self.url(&call.to).map_err(refused)?;
        let mut headers = self.headers.clone();
        for (name, value) in &call.headers {
            let (name, value) = header(name, value).map_err(refused)?;
            headers.insert(name, value);
        }
        if !call.content_type.is_empty() {
            let (name, value) = header(CONTENT_TYPE.as_str(), &call.content_type).map_err(refused)?;
            headers.insert(name, value);
        }
        if let Some(key) = &call.idempotency_key {
            let (name, value) = header("idempotency-key", key).map_err(refused)?;
            headers.insert(name, value);
        }
        if let Some(key) = &self.signing_key {
            signature::sign(&mut headers, &self.signing_header, key, &call.body);
        }
        Ok(move |sent: &Sent| assemble(method.clone(), url.clone(), headers.clone(), &call.body, sent))
    }
}

fn assemble(method: Method, url: Url, headers: HeaderMap, body: &Bytes, sent: &Sent) -> Request {
    let mut request = Request::new(method, url);
    *request.headers_mut() = headers;
    if !body.is_empty() {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        let (body, sent) = (body.clone(), sent.clone());
        let once = futures_util::stream::once(async move {
            sent.set();
            Ok::<_, Infallible>(body)
        });
        *request.body_mut() = Some(reqwest::Body::wrap_stream(once));
    }
    request
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no header's name"))?;
    if RESERVED.contains(&name.as_str()) {
        return Err(format!("the header {name} is the connection's own and cannot be set"));
    }
    let value = HeaderValue::from_str(value)
        .or_else(|_| HeaderValue::from_bytes(value.as_bytes()))
        .map_err(|_| format!("the value of the header {name} holds characters that a header cannot"))?;
    Ok((name, value))
}

/// An error and what is behind it, in one line.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl Target for HttpTarget {
    fn call(&self, call: Call) -> LocalBoxFuture<'_, Exchange> {
        Box::pin(async move {
            let start = Instant::now();
            let method = if call.method.is_empty() { "POST" } else { call.method.as_str() };
            let sent = format!("{method} {}", address::shown(&call.to));
            let result = self.exchange(&call).await;
            Exchange::since(start, sent, result)
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
