//! NATS JetStream, publishing with an acknowledgement.
//!
//! Invariants
//! - J1: a call succeeds with JetStream's acknowledgement (the message is in a stream) and with
//!   nothing else.
//! - J2: every message carries `Nats-Msg-Id`, by which a stream drops what comes twice within its
//!   window; the same for every attempt.
//! - J3: what was not acknowledged when a connection ended is reported as lost. The client is given
//!   up with its connection, so that it does not send old messages when it reconnects.
//! - J4: at most `in_flight` calls are between us and the server.
//!
//! An acknowledgement may precede the server's own sync by its `sync_interval` (two minutes by
//! default): who needs more keeps what was sent for that long, and sends it again after a restart of
//! the server. That is decided above.

use std::str::FromStr;
use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::call::{Call, CallError, Exchange, Refusal, Reply, Target, within};
use crate::link::{End, Link, Live};
use crate::sent::Sent;
use crate::{SecretText, Tls, install_tls_provider};

/// Time for a connection to one server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection is probed this often.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// Calls that may wait for their acknowledgement.
const IN_FLIGHT: usize = 256;
/// Most servers of one cluster that may be named.
const SERVERS_MAX: usize = 16;

/// A NATS server or cluster with JetStream.
#[derive(Debug, Clone)]
pub struct NatsSettings {
    /// `nats://host:4222` or `tls://host:4222`, several of one cluster separated by commas.
    pub url: String,
    /// How we say who we are.
    pub auth: NatsAuth,
    /// Stream that must take the message; another one that listens to the subject refuses it.
    pub stream: Option<String>,
    /// Trust and our own certificate.
    pub tls: Tls,
    /// Time for a connection to one server. Default 5 s.
    pub connect_timeout: Duration,
    /// Calls that may wait for their acknowledgement. Default 256.
    pub in_flight: usize,
}

/// How we say who we are.
#[derive(Debug, Clone)]
pub enum NatsAuth {
    /// Not at all.
    None,
    /// A token.
    Token(SecretText),
    /// User and password.
    User {
        /// User name.
        user: String,
        /// Password.
        password: SecretText,
    },
}

impl NatsSettings {
    /// Defaults for an address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            auth: NatsAuth::None,
            stream: None,
            tls: Tls::default(),
            connect_timeout: CONNECT_TIMEOUT,
            in_flight: IN_FLIGHT,
        }
    }
}

/// Publishes to JetStream.
pub struct NatsTarget {
    settings: NatsSettings,
    servers: Vec<ServerAddr>,
    tls: Option<rustls::ClientConfig>,
    shown: String,
    room: Semaphore,
    link: Link<Client>,
}

impl NatsTarget {
    /// Prepares a target; nothing is connected yet.
    ///
    /// # Errors
    /// [`CallError::Setup`]: an address or certificate that cannot be used.
    pub fn new(mut settings: NatsSettings) -> Result<Self, CallError> {
        install_tls_provider();
        let (servers, shown) = addresses(&settings.url)?;
        let tls = settings.tls.with_own_ca_for_identity()?;
        if let Some(stream) = &settings.stream {
            value("the stream's name", stream).map_err(|_| CallError::setup("the stream's name holds line breaks"))?;
        }
        settings.in_flight = settings.in_flight.clamp(1, Semaphore::MAX_PERMITS);
        let room = Semaphore::new(settings.in_flight);
        Ok(Self { settings, servers, tls, shown, room, link: Link::new() })
    }

    async fn publish(&self, call: &Call, sent: &Sent) -> Result<Reply, CallError> {
        check_subject(&call.to)?;
        let headers = self.headers(call)?;
        let _room = self.room.acquire().await.map_err(|_| CallError::unreachable("the target is closing"))?;
        let live = self.link.get(async || self.open().await).await?;
        let client = &live.connection;
        // the deadline is the call's own: none inside
        let request = Request::new().headers(headers).payload(call.body.clone()).timeout(None);
        sent.set();
        let waiting = live.waiting();
        let outcome = tokio::select! {
            biased;
            outcome = client.send_request(call.to.clone(), request) => outcome,
            why = live.end.wait() => {
                waiting.answered();
                return Err(CallError::lost(why));
            }
        };
        waiting.answered();
        let error = match outcome {
            Ok(answer) => return acknowledged(&answer.payload),
            Err(error) => error,
        };
        Err(match error.kind() {
            RequestErrorKind::NoResponders => CallError::refused(
                Refusal::Target,
                format!(
                    "no stream takes the subject {:?}; create one that does, or check that JetStream is on",
                    call.to
                ),
            ),
            RequestErrorKind::MaxPayloadExceeded => {
                CallError::TooLarge { bytes: call.body.len(), max: client.server_info().max_payload }
            }
            RequestErrorKind::InvalidSubject => {
                CallError::refused(Refusal::Message, format!("{:?} is no subject to publish to", call.to))
            }
            RequestErrorKind::TimedOut | RequestErrorKind::Other => {
                live.end.set(error.to_string());
                CallError::lost(live.end.wait().await)
            }
        })
    }

    fn headers(&self, call: &Call) -> Result<HeaderMap, CallError> {
        let mut headers = HeaderMap::new();
        for (name, text) in &call.headers {
            let name = HeaderName::from_str(name)
                .map_err(|_| CallError::refused(Refusal::Message, format!("{name:?} is no header's name")))?;
            headers.insert(name, value("a header", text)?);
        }
        if !call.content_type.is_empty() {
            headers.insert("Content-Type", value("the content type", &call.content_type)?);
        }
        let id = call.idempotency_key.as_ref().unwrap_or(&call.id);
        headers.insert(async_nats::header::NATS_MESSAGE_ID, value("the message id", id)?);
        if let Some(stream) = &self.settings.stream {
            headers.insert(async_nats::header::NATS_EXPECTED_STREAM, value("the stream's name", stream)?);
        }
        Ok(headers)
    }

    async fn open(&self) -> Result<Live<Client>, CallError> {
        let end = End::new();
        let ended = end.clone();
        let settings = &self.settings;
        let mut options = ConnectOptions::new()
            .name("millstream")
            .connection_timeout(settings.connect_timeout)
            .ping_interval(PING_INTERVAL)
            .ignore_discovered_servers()
            // of the first connection, too: each server once (J3)
            .max_reconnects(self.servers.len())
            .reconnect_delay_callback(|_| Duration::ZERO)
            .event_callback(move |event| {
                note(&ended, &event);
                async {}
            });
        options = match &settings.auth {
            NatsAuth::None => options,
            NatsAuth::Token(token) => options.token(token.expose().to_owned()),
            NatsAuth::User { user, password } => options.user_and_password(user.clone(), password.expose().to_owned()),
        };
        if let Some(config) = &self.tls {
            options = options.tls_client_config(config.clone());
        }
        let client = options.connect(self.servers.clone()).await.map_err(|error| {
            let what = format!("{}: {error}", self.shown);
            match error.kind() {
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => CallError::refused(
                    Refusal::Target,
                    format!("{} refuses the connection ({error}); check user, password or token", self.shown),
                ),
                ConnectErrorKind::ServerParse => CallError::setup(what),
                _ => CallError::unreachable(what),
            }
        })?;
        Ok(Live::new(client, end, settings.in_flight))
    }
}

/// What ends the use of a connection.
fn note(end: &End, event: &Event) {
    match event {
        Event::Disconnected => end.set("the connection to the server was lost"),
        Event::Closed => end.set("the connection was closed"),
        Event::LameDuckMode => end.set("the server is shutting down"),
        // a permission that is missing is told this way only: the publish stays unanswered
        Event::ServerError(error) => end.set(format!("the server says: {error}")),
        _ => {}
    }
}

/// JetStream's answer to a publish: an acknowledgement, or an error with an HTTP status.
fn acknowledged(payload: &[u8]) -> Result<Reply, CallError> {
    let answer: serde_json::Value = serde_json::from_slice(payload).unwrap_or_default();
    if let Some(stream) = answer["stream"].as_str().filter(|_| answer["error"].is_null()) {
        let again = if answer["duplicate"].as_bool() == Some(true) { ", which had it already" } else { "" };
        let detail = format!("stream {stream}{again}, sequence {}", answer["seq"]);
        return Ok(Reply::Acked { detail });
    }
    let text = answer["error"]["description"].as_str().unwrap_or("no reason given");
    match answer["error"]["code"].as_u64().and_then(|code| u16::try_from(code).ok()) {
        Some(status @ 500..) => Ok(Reply::Answered {
            status,
            retry_after: None,
            content_type: None,
            body: Bytes::from(text.to_owned()),
            complete: true,
        }),
        Some(code) => {
            Err(CallError::refused(Refusal::Message, format!("the stream refuses the message ({code}, {text})")))
        }
        None => Err(CallError::refused(
            Refusal::Target,
            "what answers on this subject is not JetStream; give it a subject that a stream alone listens to",
        )),
    }
}

/// A subject that a message may be published to: the server's own and patterns are not.
fn check_subject(subject: &str) -> Result<(), CallError> {
    let wrong = subject.is_empty()
        || subject.starts_with('$')
        || subject.split('.').any(|token| token.is_empty() || token == "*" || token == ">")
        || subject.chars().any(|character| character.is_whitespace() || character.is_control());
    if wrong {
        return Err(CallError::refused(Refusal::Message, format!("{subject:?} is no subject to publish to")));
    }
    Ok(())
}

fn value(what: &str, text: &str) -> Result<HeaderValue, CallError> {
    HeaderValue::from_str(text)
        .map_err(|_| CallError::refused(Refusal::Message, format!("{what} cannot hold line breaks")))
}

/// The servers, and their addresses for people.
fn addresses(url: &str) -> Result<(Vec<ServerAddr>, String), CallError> {
    let wrong = |what: &str| {
        CallError::setup(format!("a server's address must be nats://host:4222 or tls://host:4222: {what}"))
    };
    let mut servers = Vec::new();
    for part in url.split(',').map(str::trim) {
        let server = ServerAddr::from_str(part).map_err(|error| wrong(&error.to_string()))?;
        if !["nats", "tls"].contains(&server.scheme()) || !part.contains("://") {
            return Err(wrong("the scheme is another or missing"));
        }
        if server.username().is_some() || server.password().is_some() {
            return Err(wrong("user and password do not belong in it"));
        }
        servers.push(server);
    }
    if servers.len() > SERVERS_MAX {
        return Err(wrong(&format!("{} are named, at most {SERVERS_MAX} can be", servers.len())));
    }
    let shown: Vec<String> =
        servers.iter().map(|server| format!("{}://{}:{}", server.scheme(), server.host(), server.port())).collect();
    Ok((servers, shown.join(",")))
}

impl Target for NatsTarget {
    fn call(&self, call: Call) -> LocalBoxFuture<'_, Exchange> {
        Box::pin(async move {
            let (start, sent) = (Instant::now(), Sent::default());
            let shown = format!("PUB {} at {}", call.to, self.shown);
            let result = within(call.timeout, &sent, self.publish(&call, &sent)).await;
            Exchange::since(start, shown, result)
        })
    }

    fn describe(&self) -> String {
        self.shown.clone()
    }
}

impl std::fmt::Debug for NatsTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsTarget").field("servers", &self.shown).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let (servers, shown) = addresses("nats://a:4222, tls://b").expect("addresses");
        assert_eq!((servers.len(), shown.as_str()), (2, "nats://a:4222,tls://b:4222"));
        for wrong in ["", "a:4222", "http://a", "nats://u:p@a", "nats://a,,nats://b", &"nats://a,".repeat(20)] {
            assert!(addresses(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn answers_of_jetstream_are_told_apart() {
        let acked = |text: &str| acknowledged(text.as_bytes());
        let Ok(Reply::Acked { detail }) = acked(r#"{"stream":"EVENTS","seq":7,"duplicate":true}"#) else {
            panic!("an ack")
        };
        assert_eq!(detail, "stream EVENTS, which had it already, sequence 7");
        let error = |code| acked(&format!(r#"{{"error":{{"code":{code},"description":"no"}},"stream":"X","seq":0}}"#));
        assert!(matches!(error(400), Err(CallError::Refused { of: Refusal::Message, .. })));
        assert!(matches!(error(503), Ok(Reply::Answered { status: 503, .. })));
        for other in ["", "pong", "{}", "[]", r#"{"stream":1}"#, "\u{0}"] {
            assert!(matches!(acked(other), Err(CallError::Refused { of: Refusal::Target, .. })), "{other}");
        }
    }

    #[test]
    fn only_plain_subjects_are_published_to() {
        assert_eq!(check_subject("plant.events.press1"), Ok(()));
        for wrong in ["", "a b", "a.*", "a.>", "$JS.API.STREAM.DELETE.X", "a..b", ".a", "a\r\nPUB x 0"] {
            assert!(check_subject(wrong).is_err(), "{wrong:?}");
        }
    }
}
