//! An object store that speaks S3: one object per delivery.
//!
//! Invariants
//! - B1: name and bytes follow from the call alone. Where the store can, an object is put only if
//!   there is none (`If-None-Match: *`); one that is there with the same bytes is success, one with
//!   other bytes is left alone and refused. A store that cannot gets the same bytes again.
//! - B2: one call is one put; nothing is tried again here.
//! - B3: what a store says is kept up to a cap, whatever the library would read.
//! - B4: the library makes requests and reads answers; they pass over our own client, moved by the
//!   delivery's own task ([`StoreTarget::through`]).
//!
//! An object appears in whole or not at all: that is what S3 promises.

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, LocalBoxFuture, select};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderValue};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, Extensions, GetOptions, ObjectStore, PutMode, PutOptions, RetryConfig,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::call::{Call, CallError, Exchange, Refusal, Reply, TIMEOUT_MAX, Target, within};
use crate::chain::chain;
use crate::http::{Client, HttpSettings, wait};
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
    client: Client,
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
        let endpoint = settings.endpoint.unwrap_or_else(|| match settings.virtual_hosted {
            true => format!("https://{}.s3.{}.amazonaws.com", settings.bucket, settings.region),
            false => format!("https://s3.{}.amazonaws.com", settings.region),
        });
        let mut http = HttpSettings::new(endpoint.clone());
        http.tls = settings.tls;
        http.connect_timeout = settings.connect_timeout;
        let client = Client::new(&http)?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.bucket)
            .with_region(settings.region)
            .with_access_key_id(settings.access_key)
            .with_secret_access_key(settings.secret_key.expose())
            .with_virtual_hosted_style_request(settings.virtual_hosted)
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .with_allow_http(!client.origin().is_secure())
            .with_endpoint(&endpoint)
            .with_http_connector(Handing);
        if let Some(token) = settings.session_token {
            builder = builder.with_token(token.expose());
        }
        let store = builder.build().map_err(|error| wrong(error.to_string()))?;
        let shown = format!("{endpoint}/{}/{}", settings.bucket, prefix.join("/"));
        Ok(Self { store, client, prefix, conditional: settings.conditional, shown })
    }

    async fn put(&self, call: &Call, sent: &Sent) -> Result<Reply, CallError> {
        name::check(&call.to).map_err(|what| CallError::refused(Refusal::Message, what))?;
        let path = Path::from_iter(self.prefix.iter().map(String::as_str).chain([call.to.as_str()]));
        let mut mode = if self.conditional { PutMode::Create } else { PutMode::Overwrite };
        loop {
            let (watch, asked) = Watch::new();
            let options = PutOptions {
                mode: mode.clone(),
                attributes: attributes(call),
                extensions: watch.extensions(),
                ..PutOptions::default()
            };
            let put = self.store.put_opts(&path, call.body.clone().into(), options);
            let error = match self.through(asked, ANSWER_BYTES_MAX, sent, put).await {
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
                // what was sent had no effect
                sent.clear();
                continue;
            }
            return seen.outcome(&error);
        }
    }

    /// There is an object of this name: is it this one?
    async fn compare(&self, call: &Call, path: &Path, sent: &Sent) -> Result<Reply, CallError> {
        let (watch, asked) = Watch::new();
        let bytes_max = call.body.len().saturating_add(1).max(ANSWER_BYTES_MAX);
        let options = GetOptions { extensions: watch.extensions(), ..GetOptions::default() };
        let unknown = |error: object_store::Error| {
            CallError::lost(format!("{path} is there already, and reading it failed: {}", chain(&error)))
        };
        let read = async {
            let there = self.store.get_opts(path, options).await?;
            let same_size = usize::try_from(there.meta.size).is_ok_and(|size| size == call.body.len());
            Ok(same_size && there.bytes().await? == call.body)
        };
        if self.through(asked, bytes_max, sent, read).await.map_err(unknown)? {
            return Ok(Reply::Acked { detail: format!("{path} was there already, with the same content") });
        }
        let what = format!("{path} is there already, with other content; move it away to have this one");
        Err(CallError::refused(Refusal::Message, what))
    }

    /// Does some work of the library, and passes on what it asks the store meanwhile.
    async fn through<T>(
        &self,
        mut asked: mpsc::UnboundedReceiver<Asked>,
        bytes_max: usize,
        sent: &Sent,
        work: impl Future<Output = T>,
    ) -> T {
        let pass_on = pin!(async {
            while let Some(Asked { request, watch, answer }) = asked.recv().await {
                // who asked may be gone, which is its business
                let _ = answer.send(self.pass_on(request, &watch, bytes_max, sent).await);
            }
            std::future::pending::<T>().await
        });
        match select(pin!(work), pass_on).await {
            Either::Left((done, _)) | Either::Right((done, _)) => done,
        }
    }

    async fn pass_on(
        &self,
        request: HttpRequest,
        watch: &Watch,
        bytes_max: usize,
        sent: &Sent,
    ) -> Result<HttpResponse, HttpError> {
        let failed = |kind, what: String| HttpError::new(kind, io::Error::other(what));
        let (mut head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        head.uri =
            self.client.origin().checked(&head.uri.to_string()).map_err(|what| failed(HttpErrorKind::Unknown, what))?;
        if let Ok(host) = HeaderValue::from_str(&self.client.origin().authority()) {
            head.headers.insert(HOST, host);
        }
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        let request = Request::from_parts(head, Full::new(body));
        // the attempt's own deadline ends it earlier
        let deadline = Instant::now() + TIMEOUT_MAX;
        let answer = self.client.exchange(request, sent, bytes_max, deadline).await.map_err(|error| {
            let unreachable = !sent.is_set();
            watch.note(Seen { unreachable, answer: None });
            failed(if unreachable { HttpErrorKind::Connect } else { HttpErrorKind::Request }, error.to_string())
        })?;
        let seen = (answer.head.status.as_u16(), wait(&answer.head.headers), answer.body.clone());
        watch.note(Seen { unreachable: false, answer: Some(seen) });
        Ok(HttpResponse::from_parts(answer.head, answer.body.into()))
    }
}

fn attributes(call: &Call) -> Attributes {
    let mut attributes = Attributes::new();
    if !call.content_type.is_empty() {
        attributes.insert(Attribute::ContentType, call.content_type.clone().into());
    }
    attributes
}

/// A request of the library, on its way to our client.
#[derive(Debug)]
struct Asked {
    request: HttpRequest,
    watch: Watch,
    answer: oneshot::Sender<Result<HttpResponse, HttpError>>,
}

/// What was seen of one call on the wire, which the library's errors do not tell apart; and where
/// its requests go. It travels with them.
#[derive(Clone, Debug)]
struct Watch {
    asked: mpsc::UnboundedSender<Asked>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    unreachable: bool,
    answer: Option<(u16, Option<Duration>, Bytes)>,
}

impl Watch {
    /// The library has one request under way at a time, so the way to our client needs no bound.
    fn new() -> (Self, mpsc::UnboundedReceiver<Asked>) {
        let (asked, to_pass_on) = mpsc::unbounded_channel();
        (Self { asked, seen: Arc::default() }, to_pass_on)
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

/// Stands where the library expects an HTTP client, and hands its requests to the call that they are
/// of.
#[derive(Debug)]
struct Handing;

impl HttpConnector for Handing {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Handing))
    }
}

impl HttpService for Handing {
    fn call<'life, 'future>(
        &'life self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            let nobody = || HttpError::new(HttpErrorKind::Interrupted, io::Error::other("nobody passes it on"));
            let watch = request.extensions().get::<Watch>().cloned().ok_or_else(nobody)?;
            let (answer, answered) = oneshot::channel();
            let asked = watch.asked.clone();
            asked.send(Asked { request, watch, answer }).map_err(|_| nobody())?;
            answered.await.map_err(|_| nobody())?
        })
    }
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
