//! MQTT 5, publishing at QoS 1.
//!
//! Invariants
//! - Q1: a call succeeds with the PUBACK of its own packet and with nothing else.
//! - Q2: what was not acknowledged when a connection ended is reported as lost, and not sent again
//!   by the client: sessions are clean, each connection has an event loop of its own, and the log
//!   above is the queue.
//! - Q3: at most `in_flight` calls are between us and the broker; the others wait, within their
//!   deadlines.
//!
//! A PUBACK says that the broker took the message over, not that it is on the broker's disk.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::{ConnAck, ConnectReturnCode, Packet, PubAck, PubAckReason, PublishProperties};
use rumqttc::{
    AsyncClient, Broker, ClientError, ConnectionError, Event, EventLoop, MqttOptions, PublishNoticeError,
    PublishOptions, PublishResult, TlsConfiguration, Transport,
};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use url::Url;

use crate::call::{Call, CallError, Exchange, Refusal, Reply, Target, within};
use crate::link::{End, Link, Live};
use crate::sent::Sent;
use crate::{SecretText, Tls, install_tls_provider};

/// Time for a connection, TLS and CONNACK included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection is probed this often; a broker that does not answer is given up.
const KEEP_ALIVE_S: u16 = 15;
/// Calls that may wait for their PUBACK.
const IN_FLIGHT: u16 = 64;
/// Bytes of a packet beside topic, properties and payload, at most: fixed header, packet
/// identifier, lengths, property identifiers.
const PACKET_OVERHEAD: usize = 64;
/// Bytes that one user property takes beside its texts.
const PROPERTY_OVERHEAD: usize = 5;
/// Largest topic, user property or content type: what the protocol's length field takes.
const TEXT_BYTES_MAX: usize = 65_535;

/// An MQTT broker.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    /// `mqtt://host:1883` or `mqtts://host:8883`; the ports may be left out.
    pub url: String,
    /// Client identifier, unique at the broker: two clients of one name throw each other out.
    pub client_id: String,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<SecretText>,
    /// Trust and our own certificate, for `mqtts`.
    pub tls: Tls,
    /// Time for a connection. Default 5 s.
    pub connect_timeout: Duration,
    /// Calls that may wait for their PUBACK. Default 64; a broker may allow fewer.
    pub in_flight: u16,
}

impl MqttSettings {
    /// Defaults for an address and a client identifier.
    pub fn new(url: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            client_id: client_id.into(),
            user: None,
            password: None,
            tls: Tls::default(),
            connect_timeout: CONNECT_TIMEOUT,
            in_flight: IN_FLIGHT,
        }
    }
}

/// A connection to a broker, and the task that drives it.
struct Connection {
    client: AsyncClient,
    packet_bytes_max: Option<u32>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Publishes to a broker.
pub struct MqttTarget {
    options: MqttOptions,
    shown: String,
    in_flight: usize,
    room: Semaphore,
    link: Link<Connection>,
}

impl MqttTarget {
    /// Prepares a target; nothing is connected yet.
    ///
    /// # Errors
    /// [`CallError::Setup`]: an address or certificate that cannot be used.
    pub fn new(settings: MqttSettings) -> Result<Self, CallError> {
        let (broker, secure, shown) = address(&settings.url)?;
        let mut options = MqttOptions::new(settings.client_id, broker);
        options.set_transport(if secure { Transport::tls_with_config(tls(&settings.tls)?) } else { Transport::tcp() });
        options.set_clean_start(true);
        options.set_keep_alive(KEEP_ALIVE_S);
        options.set_connect_timeout(settings.connect_timeout);
        let in_flight = settings.in_flight.max(1);
        options.set_outgoing_inflight_upper_limit(in_flight);
        match (settings.user, settings.password) {
            (Some(user), Some(password)) => {
                options.set_credentials(user, password.expose().to_owned());
            }
            (Some(user), None) => {
                options.set_username(user);
            }
            (None, Some(password)) => {
                options.set_password(password.expose().to_owned());
            }
            (None, None) => {}
        }
        options.validate().map_err(|error| CallError::setup(format!("{shown}: {error}")))?;
        let in_flight = usize::from(in_flight);
        Ok(Self { options, shown, in_flight, room: Semaphore::new(in_flight), link: Link::new() })
    }

    async fn publish(&self, call: &Call, sent: &Sent) -> Result<Reply, CallError> {
        let options = PublishOptions::new(QoS::AtLeastOnce).properties(properties(call)?);
        let _room = self.room.acquire().await.map_err(|_| CallError::unreachable("the target is closing"))?;
        let live = self.link.get(async || self.open().await).await?;
        fits(call, live.connection.packet_bytes_max)?;
        let queued = live.connection.client.try_publish_tracked(call.to.as_str(), call.body.clone(), options);
        let notice = queued.map_err(|error| match error {
            ClientError::InvalidRequest(_) => {
                CallError::refused(Refusal::Message, format!("{:?} is no topic to publish to", call.to))
            }
            other => {
                live.end.set("the connection was closed");
                CallError::unreachable(other.to_string())
            }
        })?;
        sent.set();
        let waiting = live.waiting();
        let outcome = tokio::select! {
            biased;
            outcome = notice.wait_async() => outcome,
            () = async { live.end.wait().await; } => Err(PublishNoticeError::Recv),
        };
        waiting.answered();
        match outcome {
            Ok(PublishResult::Qos1(ack)) => acknowledged(&ack),
            Ok(_) => Err(CallError::lost("the broker acknowledged another quality of service")),
            Err(PublishNoticeError::V5PubAck(reason)) => acknowledged(&PubAck { pkid: 0, reason, properties: None }),
            Err(_) => Err(CallError::lost(live.end.wait().await)),
        }
    }

    /// Connects, and leaves the connection to a task of its own.
    async fn open(&self) -> Result<Live<Connection>, CallError> {
        // twice: calls that were given up may still be in the queue (N4)
        let builder = AsyncClient::builder(self.options.clone()).capacity(self.in_flight * 2);
        let (client, mut events) = builder.try_build().map_err(|error| CallError::setup(error.to_string()))?;
        let greeting = greeting(&mut events);
        let greeting = tokio::time::timeout(self.options.connect_timeout(), greeting)
            .await
            .map_err(|_| CallError::unreachable(format!("{}: no answer in time", self.shown)))?
            .map_err(|error| self.refusal(&error))?;
        let end = End::new();
        let driver = tokio::spawn(drive(events, end.clone()));
        let packet_bytes_max = greeting.properties.and_then(|properties| properties.max_packet_size);
        Ok(Live::new(Connection { client, packet_bytes_max, driver }, end, self.in_flight))
    }

    fn refusal(&self, error: &ConnectionError) -> CallError {
        let what = format!("{}: {error}", self.shown);
        match error {
            ConnectionError::ConnectionRefused(
                ConnectReturnCode::ServiceUnavailable
                | ConnectReturnCode::ServerUnavailable
                | ConnectReturnCode::ServerBusy
                | ConnectReturnCode::QuotaExceeded
                | ConnectReturnCode::ConnectionRateExceeded
                | ConnectReturnCode::UnspecifiedError
                | ConnectReturnCode::ImplementationSpecificError,
            ) => CallError::unreachable(what),
            ConnectionError::ConnectionRefused(code) => {
                let what =
                    format!("{} refuses the connection ({code:?}); check user, password and client id", self.shown);
                CallError::refused(Refusal::Target, what)
            }
            _ => CallError::unreachable(what),
        }
    }
}

/// Waits for the broker's greeting.
async fn greeting(events: &mut EventLoop) -> Result<ConnAck, ConnectionError> {
    loop {
        if let Event::Incoming(Packet::ConnAck(greeting)) = events.poll().await? {
            return Ok(greeting);
        }
    }
}

/// Drives a connection to its end. What is in the event loop then is dropped with it (Q2).
async fn drive(mut events: EventLoop, end: End) {
    loop {
        if let Err(error) = events.poll().await {
            tracing::debug!(%error, "a connection to a broker ended");
            end.set(error.to_string());
            return;
        }
    }
}

/// What a PUBACK says (MQTT 5 section 3.4.2.1).
fn acknowledged(ack: &PubAck) -> Result<Reply, CallError> {
    let said = ack.properties.as_ref().and_then(|properties| properties.reason_string.as_deref());
    let reason = match said {
        Some(said) => format!("{:?}: {said}", ack.reason),
        None => format!("{:?}", ack.reason),
    };
    match ack.reason {
        PubAckReason::Success => Ok(Reply::Acked { detail: "PUBACK".to_owned() }),
        PubAckReason::NoMatchingSubscribers => {
            Ok(Reply::Acked { detail: "PUBACK, nobody subscribes to it".to_owned() })
        }
        PubAckReason::NotAuthorized | PubAckReason::QuotaExceeded => Err(CallError::refused(
            Refusal::Target,
            format!("the broker does not take messages of us on this topic ({reason}); check the rights there"),
        )),
        _ => Err(CallError::refused(Refusal::Message, format!("the broker refuses the message ({reason})"))),
    }
}

fn properties(call: &Call) -> Result<PublishProperties, CallError> {
    let mut user_properties = vec![("id".to_owned(), call.id.clone())];
    user_properties.extend(call.idempotency_key.clone().map(|key| ("idempotency-key".to_owned(), key)));
    user_properties.extend(call.headers.iter().cloned());
    let content_type = (!call.content_type.is_empty()).then(|| call.content_type.clone());
    let texts = user_properties.iter().flat_map(|(name, value)| [name, value]);
    for text in texts.chain(&content_type).chain([&call.to]) {
        if text.len() > TEXT_BYTES_MAX {
            return Err(CallError::TooLarge { bytes: text.len(), max: TEXT_BYTES_MAX });
        }
        // what the protocol forbids in texts would cost the connection (MQTT 5 section 1.5.4)
        if text.contains('\0') {
            return Err(CallError::refused(Refusal::Message, "a topic or property cannot hold a zero byte"));
        }
    }
    Ok(PublishProperties { user_properties, content_type, ..PublishProperties::default() })
}

/// A packet that is larger than the broker announced would cost the connection, and with it all
/// that is under way.
fn fits(call: &Call, packet_bytes_max: Option<u32>) -> Result<(), CallError> {
    let Some(max) = packet_bytes_max.and_then(|max| usize::try_from(max).ok()) else { return Ok(()) };
    let extra: usize = call.headers.iter().map(|(name, value)| name.len() + value.len() + PROPERTY_OVERHEAD).sum();
    let ids = call.id.len() + call.idempotency_key.as_ref().map_or(0, String::len);
    let bytes = call.body.len() + call.to.len() + call.content_type.len() + ids + extra + PACKET_OVERHEAD;
    if bytes > max { Err(CallError::TooLarge { bytes, max }) } else { Ok(()) }
}

/// Broker, whether TLS is used, and the address for people.
fn address(url: &str) -> Result<(Broker, bool, String), CallError> {
    let wrong = |what: &str| {
        CallError::setup(format!("the broker's address must be mqtt://host:1883 or mqtts://host:8883: {what}"))
    };
    let url = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
    let secure = match url.scheme() {
        "mqtt" => false,
        "mqtts" => true,
        other => return Err(wrong(&format!("{other} is neither"))),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("user and password do not belong in it"));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("the host is missing"))?;
    let port = url.port().unwrap_or(if secure { 8883 } else { 1883 });
    let shown = format!("{}://{host}:{port}", url.scheme());
    Ok((Broker::tcp(host, port), secure, shown))
}

fn tls(tls: &Tls) -> Result<TlsConfiguration, CallError> {
    install_tls_provider();
    match tls.with_own_ca_for_identity()? {
        Some(config) => Ok(TlsConfiguration::Rustls(Arc::new(config))),
        None => TlsConfiguration::try_default_rustls()
            .map_err(|error| CallError::setup(format!("the system's certificates cannot be used: {error}"))),
    }
}

impl Target for MqttTarget {
    fn call(&self, call: Call) -> LocalBoxFuture<'_, Exchange> {
        Box::pin(async move {
            let (start, sent) = (Instant::now(), Sent::default());
            let shown = format!("PUBLISH {} at {}", call.to, self.shown);
            let result = within(call.timeout, &sent, self.publish(&call, &sent)).await;
            Exchange::since(start, shown, result)
        })
    }

    fn describe(&self) -> String {
        self.shown.clone()
    }
}

impl std::fmt::Debug for MqttTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MqttTarget").field("broker", &self.shown).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn call() -> Call {
        Call {
            method: String::new(),
            to: "plant/events".to_owned(),
            headers: vec![("source".to_owned(), "press1".to_owned())],
            content_type: "application/json".to_owned(),
            body: Bytes::from_static(b"{}"),
            idempotency_key: Some("k".to_owned()),
            id: "m1".to_owned(),
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn addresses_are_read() {
        for (url, secure, shown) in [
            ("mqtt://broker", false, "mqtt://broker:1883"),
            ("mqtts://broker", true, "mqtts://broker:8883"),
            ("mqtt://[::1]:99", false, "mqtt://[::1]:99"),
        ] {
            let (_, is_secure, text) = address(url).expect("an address");
            assert_eq!((is_secure, text.as_str()), (secure, shown), "{url}");
        }
        for wrong in ["", "broker:1883", "http://broker", "mqtt://user:pw@broker", "mqtt://"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn properties_name_the_message() {
        let made = properties(&call()).expect("properties");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(made.user_properties, [pair("id", "m1"), pair("idempotency-key", "k"), pair("source", "press1")]);
        assert_eq!(made.content_type.as_deref(), Some("application/json"));
        let mut wrong = call();
        wrong.headers[0].1 = "a\0b".to_owned();
        assert!(matches!(properties(&wrong), Err(CallError::Refused { of: Refusal::Message, .. })));
        wrong.headers[0].1 = "x".repeat(TEXT_BYTES_MAX + 1);
        assert!(matches!(properties(&wrong), Err(CallError::TooLarge { .. })));
    }

    #[test]
    fn what_the_broker_announced_holds() {
        assert_eq!(fits(&call(), None), Ok(()));
        assert_eq!(fits(&call(), Some(1 << 20)), Ok(()));
        assert!(matches!(fits(&call(), Some(64)), Err(CallError::TooLarge { max: 64, .. })));
    }

    #[test]
    fn reasons_from_128_on_are_refusals() {
        let ack = |reason| acknowledged(&PubAck { pkid: 1, reason, properties: None });
        assert!(matches!(ack(PubAckReason::Success), Ok(Reply::Acked { .. })));
        assert!(matches!(ack(PubAckReason::NoMatchingSubscribers), Ok(Reply::Acked { .. })));
        assert!(matches!(ack(PubAckReason::NotAuthorized), Err(CallError::Refused { of: Refusal::Target, .. })));
        assert!(matches!(
            ack(PubAckReason::PayloadFormatInvalid),
            Err(CallError::Refused { of: Refusal::Message, .. })
        ));
    }
}
