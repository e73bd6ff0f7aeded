//! An object store that speaks S3: one object per delivery.
//!
//! Invariants
//! - B1: name and bytes follow from the call alone. Where the store can, an object is put only if
//!   there is none (`If-None-Match: *`); one that is there with the same bytes is success, one with
//!   other bytes is left alone and refused. A store that cannot gets the same bytes again.
//! - B2: one call is one put; nothing is tried again here.
//! - B3: what a store says is kept up to a cap (`Observed`), whatever the library would read.
//!
//! An object appears in whole or not at all: that is what S3 promises.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, Extensions, GetOptions, ObjectStore, PutMode, PutOptions, RetryConfig,
};
use tokio::time::Instant;

use crate::call::{Call, CallError, Exchange, Refusal, Reply, Target, within};
use crate::http::{HttpSettings, client, wait};
use crate::sent::Sent;
use crate::{SecretText, Tls, name};

/// Region that is signed for where none is set: what stores without regions expect.
const REGION: &str = "us-east-1";
/// Most bytes of an answer to a put, or of an error.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Most segments of a prefix.
const PREFIX_SEGMENTS_MAX: usize = 16;

/// A bucket of an S3-compatible store.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Address of the store, `https://host:port`; `None`: Amazon's, by region.
    pub endpoint: Option<String>,
    /// Bucket.
    pub bucket: String,
    /// What object names begin with: segments separated by `/`; may be empty.
    pub prefix: String,
    /// Region. Default `us-east-1`.
    pub region: String,
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: SecretText,
    /// Session token, with temporary keys.
    pub session_token: Option<SecretText>,
    /// Is the bucket part of the host's name? Default false: of the path.
    pub virtual_hosted: bool,
    /// Does the store know `If-None-Match`? Default true; one that says it does not is believed.
    pub conditional: bool,
    /// Trust.
    pub tls: Tls,
    /// Time for a connection. Default 5 s.
    pub connect_timeout: Duration,
}

impl StoreSettings {
    /// Defaults for a bucket and its keys.
    pub fn new(bucket: impl Into<String>, access_key: impl Into<String>, secret_key: SecretText) -> Self {
        Self {
            endpoint: None,
            bucket: bucket.into(),
            prefix: String::new(),
            region: REGION.to_owned(),
            access_key: access_key.into(),
            secret_key,
            session_token: None,
            virtual_hosted: false,
            conditional: true,
            tls: Tls::default(),
            connect_timeout: Duration::from_secs(5),
        }
    }
}

/// Puts objects.
pub struct StoreTarget {
    store: AmazonS3,
    prefix: Vec<String>,
    conditional: bool,
    shown: String,
}

impl StoreTarget {
    /// Prepares a target; nothing is connected yet.
    ///
    /// # Errors
    /// [`CallError::Setup`]: an address, prefix or certificate that cannot be used.
    pub fn new(settings: StoreSettings) -> Result<Self, CallError> {
        let wrong = |what: String| CallError::setup(format!("the object store: {what}"));
        let prefix: Vec<String> =
            settings.prefix.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        if prefix.len() > PREFIX_SEGMENTS_MAX {
            return Err(wrong(format!("the prefix has {} segments, at most {PREFIX_SEGMENTS_MAX}", prefix.len())));
        }
        prefix.iter().try_for_each(|part| name::check(part)).map_err(wrong)?;
        let place = settings.endpoint.clone().unwrap_or_else(|| format!("s3.{}", settings.region));
        let mut http = HttpSettings::new(place.clone());
        http.tls = settings.tls;
        http.connect_timeout = settings.connect_timeout;
        let connector = Connector(HttpClient::new(Observed(HttpClient::new(client(&http)?))));
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.bucket)
            .with_region(settings.region)
            .with_access_key_id(settings.access_key)
            .with_secret_access_key(settings.secret_key.expose())
            .with_virtual_hosted_style_request(settings.virtual_hosted)
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .with_http_connector(connector);
        if let Some(endpoint) = settings.endpoint {
            if endpoint.contains('@') {
                return Err(wrong("user and password do not belong in the address".to_owned()));
            }
            builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
        }
        if let Some(token) = settings.session_token {
            builder = builder.with_token(token.expose());
        }
        let store = builder.build().map_err(|error| wrong(error.to_string()))?;
        let shown = format!("{place}/{}/{}", settings.bucket, prefix.join("/"));
        Ok(Self { store, prefix, conditional: settings.conditional, shown })
    }

    async fn put(&self, call: &Call, sent: &Sent) -> Result<Reply, CallError> {
        name::check(&call.to).map_err(|what| CallError::refused(Refusal::Message, what))?;
        let path = Path::from_iter(self.prefix.iter().map(String::as_str).chain([call.to.as_str()]));
        let mut mode = if self.conditional { PutMode::Create } else { PutMode::Overwrite };
        loop {
            let watch = Watch::new(ANSWER_BYTES_MAX, sent);
            let options = PutOptions {
                mode: mode.clone(),
                attributes: attributes(call),
                extensions: watch.extensions(),
                ..PutOptions::default()
            };
            let error = match self.store.put_opts(&path, call.body.clone().into(), options).await {
                Ok(put) => {
                    let tag = put.e_tag.unwrap_or_else(|| "none".to_owned());
                    return Ok(Reply::Acked {
                        detail: format!("{path} stored, {} bytes, etag {tag}", call.body.len()),
                    });
                }
                Err(object_store::Error::AlreadyExists { .. }) => return self.compare(call, &path, sent).await,
                Err(error) => error,
            };
            let seen = watch.seen();
            if mode == PutMode::Create && seen.knows_no_condition() {
                mode = PutMode::Overwrite;
                continue;
            }
            return seen.outcome(&error);
        }
    }

    /// There is an object of this name: is it this one?
    async fn compare(&self, call: &Call, path: &Path, sent: &Sent) -> Result<Reply, CallError> {
        let watch = Watch::new(call.body.len().saturating_add(1).max(ANSWER_BYTES_MAX), sent);
        let options = GetOptions { extensions: watch.extensions(), ..GetOptions::default() };
        let unknown = |error: object_store::Error| {
            CallError::lost(format!("{path} is there already, and reading it failed: {}", chain(&error)))
        };
        let there = self.store.get_opts(path, options).await.map_err(unknown)?;
        let same_size = usize::try_from(there.meta.size).is_ok_and(|size| size == call.body.len());
        if same_size && there.bytes().await.map_err(unknown)? == call.body {
            return Ok(Reply::Acked { detail: format!("{path} was there already, with the same content") });
        }
        let what = format!("{path} is there already, with other content; move it away to have this one");
        Err(CallError::refused(Refusal::Message, what))
    }
}

fn attributes(call: &Call) -> Attributes {
    let mut attributes = Attributes::new();
    if !call.content_type.is_empty() {
        attributes.insert(Attribute::ContentType, call.content_type.clone().into());
    }
    attributes
}

/// What was seen of one call on the wire, which the library's errors do not tell apart.
#[derive(Clone, Debug)]
struct Watch {
    bytes_max: usize,
    sent: Sent,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    unreachable: bool,
    answer: Option<(u16, Option<Duration>, Bytes)>,
}

impl Watch {
    fn new(bytes_max: usize, sent: &Sent) -> Self {
        Self { bytes_max, sent: sent.clone(), seen: Arc::default() }
    }

    fn extensions(&self) -> Extensions {
        let mut extensions = Extensions::new();
        extensions.insert(self.clone());
        extensions
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

impl Seen {
    /// Says the store that it does not know `If-None-Match`?
    fn knows_no_condition(&self) -> bool {
        let unknown = |body: &Bytes| body.windows(14).any(|window| window == b"NotImplemented");
        self.answer.as_ref().is_some_and(|(status, _, body)| *status == 501 || (*status == 400 && unknown(body)))
    }

    fn outcome(self, error: &object_store::Error) -> Result<Reply, CallError> {
        if self.unreachable {
            return Err(CallError::unreachable(chain(error)));
        }
        match self.answer {
            Some((status @ (401 | 403 | 404), _, body)) => Err(CallError::refused(
                Refusal::Target,
                format!("the store answers {status}; check bucket, keys, rights and clock ({})", crate::excerpt(&body)),
            )),
            // another put of the same object is under way
            Some((409, ..)) => Err(CallError::unreachable("the object is being written by somebody else")),
            Some((status @ 300.., retry_after, body)) => {
                Ok(Reply::Answered { status, retry_after, content_type: None, body, complete: true })
            }
            _ => Err(CallError::lost(chain(error))),
        }
    }
}

/// Gives the library our client: with our TLS, without redirects and proxies.
#[derive(Debug)]
struct Connector(HttpClient);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.0.clone())
    }
}

/// Passes requests on, reads answers up to a cap, and notes what it saw.
#[derive(Debug)]
struct Observed(HttpClient);

impl HttpService for Observed {
    fn call<'life, 'future>(
        &'life self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            let watch = request.extensions().get::<Watch>().cloned();
            let watch = watch.unwrap_or_else(|| Watch::new(ANSWER_BYTES_MAX, &Sent::default()));
            watch.sent.set();
            let answer = match self.0.execute(request).await {
                Ok(answer) => answer,
                Err(error) => {
                    if error.kind() == HttpErrorKind::Connect {
                        watch.sent.clear();
                        watch.note(Seen { unreachable: true, answer: None });
                    }
                    return Err(error);
                }
            };
            let (head, body) = answer.into_parts();
            let mut chunks = body.bytes_stream();
            let mut body = BytesMut::new();
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk?;
                let room = watch.bytes_max - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    break;
                }
            }
            let body = body.freeze();
            let answer = Some((head.status.as_u16(), wait(&head.headers), body.clone()));
            watch.note(Seen { unreachable: false, answer });
            Ok(HttpResponse::from_parts(head, body.into()))
        })
    }
}

/// An error and what is behind it, in one line.
fn chain(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl Target for StoreTarget {
    fn call(&self, call: Call) -> LocalBoxFuture<'_, Exchange> {
        Box::pin(async move {
            let (start, sent) = (Instant::now(), Sent::default());
            let shown = format!("PUT {} in {}", call.to, self.shown);
            let result = within(call.timeout, &sent, self.put(&call, &sent)).await;
            Exchange::since(start, shown, result)
        })
    }

    fn describe(&self) -> String {
        self.shown.clone()
    }
}

impl std::fmt::Debug for StoreTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreTarget").field("place", &self.shown).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_without_conditions_is_believed() {
        let seen = |status, body: &'static str| Seen {
            unreachable: false,
            answer: Some((status, None, Bytes::from_static(body.as_bytes()))),
        };
        assert!(seen(501, "").knows_no_condition());
        assert!(seen(400, "<Error><Code>NotImplemented</Code></Error>").knows_no_condition());
        assert!(!seen(400, "<Error><Code>InvalidRequest</Code></Error>").knows_no_condition());
        assert!(!Seen::default().knows_no_condition());
    }

    #[test]
    fn what_cannot_work_is_said_at_setup() {
        let settings = |endpoint: &str, prefix: &str| StoreSettings {
            endpoint: Some(endpoint.to_owned()),
            prefix: prefix.to_owned(),
            ..StoreSettings::new("b", "k", SecretText::new("s3cret"))
        };
        assert!(StoreTarget::new(settings("http://127.0.0.1:1", "reports/early")).is_ok());
        for (endpoint, prefix) in [("http://u:p@h", ""), ("http://h", "../up"), ("http://h", &"a/".repeat(20))] {
            let made = StoreTarget::new(settings(endpoint, prefix));
            assert!(matches!(made, Err(CallError::Setup { .. })), "{endpoint} {prefix}");
        }
        assert!(!format!("{:?}", settings("http://h", "")).contains("s3cret"));
    }
}
