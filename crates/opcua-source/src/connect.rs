//! From an address to a session: endpoints, security, identity (OPC 10000-4, 5.5 to 5.7).
//!
//! Invariants
//! - K1: exactly the configured policy and mode are used; a server that does not offer them is
//!   refused, never downgraded to. No certificate is trusted because it was seen.
//! - K2: every step of connecting has a deadline.
//! - K3: a server's answer is bounded by [`MESSAGE_BYTES_MAX`], [`CHUNKS_MAX`] and [`ARRAY_MAX`]; the
//!   library's default of 1,000 array elements would lose whole notifications.
//! - K4: a server whose clock is wrong can be talked to: `ignore_clock_skew` is on, because otherwise
//!   the library takes the age of security tokens from the server's clock and would renew them all
//!   the time, or too late. It does not touch source times, which stay as the server sent them.
//! - K5: no secret is in an error, a log line or a Debug output.

use config::{OpcuaSecurity, OpcuaUser, Secret, SecurityMode};
use opcua::client::transport::{
    Connector, RequestRecv, SecureChannelState, StreamConnection, StreamConnector, TcpTransport,
    TransportConfiguration, TransportPollResult,
};
use opcua::client::{
    AsyncSecureChannel, ClientBuilder, ClientConfig, ConnectionSource, IdentityToken, Session, SessionBuilder,
    SessionEventLoop,
};
use opcua::core::ResponseMessage;
use opcua::core::comms::tcp_codec::TcpCodec;
use opcua::core::comms::url::{hostname_port_from_url, is_opc_ua_binary_url};
use opcua::core::config::Config as _;
use opcua::crypto::{CertificateStore, SecurityPolicy};
use opcua::sync::RwLock;
use opcua::types::{
    DateTime, DecodingOptions, EndpointDescription, Error, GetEndpointsRequest, MessageSecurityMode, NodeId,
    RequestHeader, StatusCode, UserTokenType,
};
use std::{
    fmt,
    future::Future,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::{TcpStream, lookup_host};
use tokio_util::codec::FramedRead;

/// The port of an address that names none (OPC 10000-6, 7.2).
const PORT: u16 = 4_840;
/// Longest message that a server may send, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Chunks of one message, at most.
const CHUNKS_MAX: usize = 4_096;
/// Elements of one array, at most.
const ARRAY_MAX: usize = 1_000_000;
/// Longest text or byte string, in bytes.
const STRING_BYTES_MAX: usize = 1 << 20;
/// How long a server should keep our session without hearing of us.
const SESSION_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the keys of a secure channel live, in milliseconds.
const CHANNEL_LIFETIME_MS: u32 = 600_000;
/// Name and URI of this application, as certificates carry it.
const APPLICATION: (&str, &str) = ("Millstream", "urn:millstream:edge");

/// What is needed to connect.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `opc.tcp://host:port[/path]`.
    pub(crate) address: String,
    /// Policy and mode.
    pub(crate) security: OpcuaSecurity,
    /// User; `None` is anonymous.
    pub(crate) user: Option<OpcuaUser>,
    /// Deadline of each step.
    pub(crate) timeout: Duration,
    /// The session reads the server's state this often.
    pub(crate) keep_alive: Duration,
    /// Directory of certificates: `own`, `private`, `trusted`, `rejected`.
    pub(crate) pki: PathBuf,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The server could not be reached, or did not answer in time.
    Unreachable {
        /// What it was.
        error: Error,
    },
    /// The server does not offer what is configured.
    NotOffered {
        /// What was asked for.
        wanted: String,
        /// What it offers.
        offered: String,
    },
    /// The password's place cannot be read.
    Secret {
        /// Which place, and what is wrong with it.
        place: String,
    },
    /// Our own certificate cannot be made or read.
    OwnCertificate {
        /// Where it should be.
        pki: PathBuf,
    },
    /// The library refused the configuration.
    Other {
        /// What it said.
        error: Error,
    },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Unreachable { error } => {
                write!(f, "the server cannot be reached: {error}; check the address, the network and that it runs")
            }
            ConnectError::NotOffered { wanted, offered } => {
                write!(
                    f,
                    "the server does not offer {wanted}; it offers {offered}; enable it there, or change `security` and `user` of this source"
                )
            }
            ConnectError::Secret { place } => write!(f, "the password cannot be read: {place}"),
            ConnectError::OwnCertificate { pki } => {
                write!(
                    f,
                    "our own certificate cannot be made or read in {}; check that the directory can be written",
                    pki.display()
                )
            }
            ConnectError::Other { error } => write!(f, "connecting failed: {error}"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// A failed connection in words, by the status that the library reports.
pub(crate) fn explain(status: StatusCode, pki: &Path) -> String {
    let name = crate::items::name(status);
    match status {
        StatusCode::BadCertificateUntrusted | StatusCode::BadSecurityChecksFailed => format!(
            "{name}: a certificate is not trusted; if it is the server's, look at it in {0}/rejected and move it to \
             {0}/trusted; if it is ours, trust {0}/own on the server",
            pki.display()
        ),
        StatusCode::BadCertificateTimeInvalid => {
            format!("{name}: the server's certificate is expired or not valid yet; check both clocks, or renew it")
        }
        StatusCode::BadCertificateHostNameInvalid => {
            format!("{name}: the server's certificate is for another host name; use the name that it was made for")
        }
        StatusCode::BadIdentityTokenRejected
        | StatusCode::BadUserAccessDenied
        | StatusCode::BadIdentityTokenInvalid => {
            format!("{name}: the server does not accept this user; check name, password and rights")
        }
        StatusCode::BadCommunicationError | StatusCode::BadConnectionClosed | StatusCode::BadTimeout => {
            format!("{name}: the connection was refused, broken or silent; check the network and that the server runs")
        }
        StatusCode::BadTooManySessions => {
            format!("{name}: the server has no session left; close others, or raise its limit")
        }
        _ => name,
    }
}

/// A TCP connector with a deadline for connection and hello, that sends what is short at once: the library's
/// own leaves Nagle's algorithm on, so that a write behind an unanswered one waits for the server's delayed
/// acknowledgement, some 40 ms.
pub(crate) struct Timed {
    address: String,
    limit: Duration,
}

type TcpConnection = StreamConnection<ReadHalf<TcpStream>, WriteHalf<TcpStream>>;

async fn connect_tcp(address: String, decoding: DecodingOptions) -> Result<TcpConnection, Error> {
    let wrong = |status, what: &str| Error::new(status, format!("{address}: {what}"));
    let (host, port) =
        hostname_port_from_url(&address, PORT).map_err(|status| wrong(status, "no host and port in the address"))?;
    let found = lookup_host(format!("{host}:{port}")).await;
    let found = found.map_err(|error| wrong(StatusCode::BadTcpEndpointUrlInvalid, &error.to_string()))?;
    let mut last = wrong(StatusCode::BadTcpEndpointUrlInvalid, "the host has no address");
    for at in found {
        match TcpStream::connect(at).await {
            Ok(stream) => {
                // Without it the connection is slower, not wrong.
                drop(stream.set_nodelay(true));
                let (reader, writer) = tokio::io::split(stream);
                let reader = FramedRead::new(reader, TcpCodec::new(decoding));
                return Ok(StreamConnection::new(reader, writer, address));
            }
            Err(error) => last = wrong(StatusCode::BadCommunicationError, &error.to_string()),
        }
    }
    Err(last)
}

impl Connector for Timed {
    type Transport = TcpTransport;

    fn connect(
        &self,
        channel: Arc<SecureChannelState>,
        outgoing: RequestRecv,
        config: TransportConfiguration,
    ) -> impl Future<Output = Result<TcpTransport, Error>> + Send + Sync {
        let connector = StreamConnector::new(connect_tcp, self.address.clone());
        let limit = self.limit;
        async move {
            tokio::time::timeout(limit, connector.connect(channel, outgoing, config))
                .await
                .unwrap_or_else(|_| Err(Error::new(StatusCode::BadTimeout, "no connection within the deadline")))
        }
    }

    fn default_endpoint(&self) -> EndpointDescription {
        EndpointDescription::from(self.address.as_str())
    }
}

/// Makes [`Timed`] connectors.
pub(crate) struct TimedSource(Duration);

impl ConnectionSource for TimedSource {
    type Builder = Timed;

    fn get_connector(&self, endpoint: &EndpointDescription) -> Result<Timed, Error> {
        let address = endpoint.endpoint_url.as_ref().to_owned();
        if !is_opc_ua_binary_url(&address) {
            return Err(Error::new(StatusCode::BadInvalidArgument, format!("{address} is no opc.tcp:// address")));
        }
        Ok(Timed { address, limit: self.0 })
    }
}

fn client_config(target: &Target) -> ClientConfig {
    ClientBuilder::new()
        .application_name(APPLICATION.0)
        .application_uri(APPLICATION.1)
        .product_uri(APPLICATION.1)
        .session_name(APPLICATION.0)
        .pki_dir(&target.pki)
        .trust_server_certs(false)
        .verify_server_certs(true)
        .max_array_length(ARRAY_MAX)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_chunk_count(CHUNKS_MAX)
        .max_string_length(STRING_BYTES_MAX)
        .max_byte_string_length(STRING_BYTES_MAX)
        .ignore_clock_skew(true)
        .recreate_subscriptions(false)
        // The supervisor decides when the next attempt is made.
        .session_retry_limit(-1)
        .session_retry_initial(Duration::ZERO)
        .session_retry_max(Duration::ZERO)
        .request_timeout(target.timeout)
        .keep_alive_interval(target.keep_alive.max(Duration::from_secs(1)))
        .max_failed_keep_alive_count(0)
        .session_timeout(SESSION_TIMEOUT.as_millis() as u32)
        .channel_lifetime(CHANNEL_LIFETIME_MS)
        .into_config()
}

/// The certificate store; for a secured connection with our own certificate, which is made on first
/// use. Making a key takes long and files block, so this runs off the shard's thread.
async fn certificates(target: &Target, config: &ClientConfig) -> Result<Arc<RwLock<CertificateStore>>, ConnectError> {
    if target.security.mode == SecurityMode::None {
        return Ok(Arc::new(RwLock::new(CertificateStore::new(&target.pki))));
    }
    let pki = target.pki.clone();
    let description = config.application_description();
    let made = tokio::task::spawn_blocking(move || {
        let (mut store, certificate, key) =
            CertificateStore::new_with_x509_data(&pki, false, None, None, Some(description));
        store.set_skip_verify_certs(false);
        store.set_trust_unknown_certs(false);
        (certificate.is_some() && key.is_some()).then_some(store)
    });
    match made.await {
        Ok(Some(store)) => Ok(Arc::new(RwLock::new(store))),
        _ => Err(ConnectError::OwnCertificate { pki: target.pki.clone() }),
    }
}

/// The endpoints that a server offers (OPC 10000-4, 5.5.4: GetEndpoints), asked without security.
///
/// # Errors
/// [`ConnectError::Unreachable`]
pub(crate) async fn endpoints(target: &Target) -> Result<Vec<EndpointDescription>, ConnectError> {
    let unreachable = |error| ConnectError::Unreachable { error };
    let config = client_config(target);
    let source = TimedSource(target.timeout);
    let endpoint = EndpointDescription::from(target.address.as_str());
    let connector = source.get_connector(&endpoint).map_err(unreachable)?;
    let channel = SessionBuilder::new(&config)
        .with_connector(source)
        .connect_to_endpoint_directly(endpoint)
        .and_then(|builder| builder.build_channel(Arc::new(RwLock::new(CertificateStore::new(&target.pki)))))
        .map_err(unreachable)?;
    let asked = async {
        let mut transport = channel.connect_no_retry(&connector).await?;
        let request = get_endpoints(&channel, target);
        tokio::pin!(request);
        let answer = loop {
            tokio::select! {
                answer = &mut request => break answer?,
                polled = transport.poll() => if let TransportPollResult::Closed(status) = polled {
                    return Err(Error::new(status, "the server closed the connection"));
                },
            }
        };
        channel.close_channel().await;
        while !matches!(transport.poll().await, TransportPollResult::Closed(_)) {}
        Ok(answer)
    };
    match tokio::time::timeout(target.timeout * 2, asked).await {
        Ok(answer) => answer.map_err(unreachable),
        Err(_) => Err(unreachable(Error::new(StatusCode::BadTimeout, "GetEndpoints had no answer in time"))),
    }
}

async fn get_endpoints(channel: &AsyncSecureChannel, target: &Target) -> Result<Vec<EndpointDescription>, Error> {
    let request = GetEndpointsRequest {
        request_header: RequestHeader {
            authentication_token: NodeId::null(),
            timestamp: DateTime::now(),
            request_handle: channel.request_handle(),
            timeout_hint: target.timeout.as_millis().min(u128::from(u32::MAX)) as u32,
            ..RequestHeader::default()
        },
        endpoint_url: target.address.as_str().into(),
        locale_ids: None,
        profile_uris: None,
    };
    match channel.send(request, target.timeout).await? {
        ResponseMessage::GetEndpoints(answer) => Ok(answer.endpoints.unwrap_or_default()),
        ResponseMessage::ServiceFault(fault) => {
            Err(Error::new(fault.response_header.service_result, "GetEndpoints was refused"))
        }
        _ => Err(Error::new(StatusCode::BadUnknownResponse, "GetEndpoints was answered by something else")),
    }
}

/// One endpoint in words: `Basic256Sha256/SignAndEncrypt (anonymous, user name)`.
pub(crate) fn endpoint_words(endpoint: &EndpointDescription) -> String {
    let security = match endpoint.security_mode {
        MessageSecurityMode::None => "None".to_owned(),
        mode => format!("{}/{mode}", SecurityPolicy::from_uri(endpoint.security_policy_uri.as_ref()).to_str()),
    };
    let users: Vec<&str> = endpoint
        .user_identity_tokens
        .iter()
        .flatten()
        .map(|policy| match policy.token_type {
            UserTokenType::Anonymous => "anonymous",
            UserTokenType::UserName => "user name",
            UserTokenType::Certificate => "certificate",
            UserTokenType::IssuedToken => "issued token",
        })
        .collect();
    format!("{security} ({})", if users.is_empty() { "no user".to_owned() } else { users.join(", ") })
}

/// The endpoint with exactly the configured policy, mode and kind of user; its URL becomes the
/// configured address, because servers often name a host that cannot be resolved here.
fn choose(offered: &[EndpointDescription], target: &Target) -> Result<EndpointDescription, ConnectError> {
    let mode = match target.security.mode {
        SecurityMode::None => MessageSecurityMode::None,
        SecurityMode::Sign => MessageSecurityMode::Sign,
        SecurityMode::SignAndEncrypt => MessageSecurityMode::SignAndEncrypt,
    };
    let user = if target.user.is_some() { UserTokenType::UserName } else { UserTokenType::Anonymous };
    let policy = SecurityPolicy::from_str(&target.security.policy).unwrap_or(SecurityPolicy::Unknown);
    let fits = |endpoint: &&EndpointDescription| {
        endpoint.security_mode == mode
            && endpoint.security_policy_uri.as_ref() == policy.to_uri()
            && endpoint.find_policy(user).is_some()
    };
    match offered.iter().find(fits) {
        Some(endpoint) => Ok(EndpointDescription { endpoint_url: target.address.as_str().into(), ..endpoint.clone() }),
        None => {
            let security = match target.security.mode {
                SecurityMode::None => "None".to_owned(),
                _ => format!("{}/{mode}", target.security.policy),
            };
            let who = if target.user.is_some() { "user name" } else { "anonymous" };
            let offered: Vec<String> = offered.iter().map(endpoint_words).collect();
            Err(ConnectError::NotOffered {
                wanted: format!("{security} ({who})"),
                offered: if offered.is_empty() { "nothing".to_owned() } else { offered.join(", ") },
            })
        }
    }
}

fn identity(user: Option<&OpcuaUser>) -> Result<IdentityToken, ConnectError> {
    let Some(user) = user else {
        return Ok(IdentityToken::Anonymous);
    };
    let password = match &user.password {
        Secret::Env { name, default } => std::env::var(name).ok().or_else(|| default.clone()).ok_or_else(|| {
            ConnectError::Secret { place: format!("the environment variable {name} is not set; set it and restart") }
        })?,
        Secret::File(path) => match std::fs::read_to_string(path) {
            Ok(text) => text.strip_suffix('\n').unwrap_or(&text).to_owned(),
            Err(error) => return Err(ConnectError::Secret { place: format!("{}: {error}", path.display()) }),
        },
    };
    Ok(IdentityToken::new_user_name(user.name.clone(), password))
}

/// Asks for the endpoints, chooses one and makes a session for it that is not connected yet.
///
/// # Errors
/// [`ConnectError`]
pub(crate) async fn session(target: &Target) -> Result<(Arc<Session>, SessionEventLoop<Timed>), ConnectError> {
    let token = identity(target.user.as_ref())?;
    let endpoint = choose(&endpoints(target).await?, target)?;
    let config = client_config(target);
    let store = certificates(target, &config).await?;
    SessionBuilder::new(&config)
        .with_connector(TimedSource(target.timeout))
        .connect_to_endpoint_directly(endpoint)
        .and_then(|builder| builder.user_identity_token(token).build(store))
        .map_err(|error| ConnectError::Other { error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use opcua::types::{UAString, UserTokenPolicy};

    fn target(security: &str, user: Option<&str>) -> Target {
        Target {
            address: "opc.tcp://10.0.0.1:4840".into(),
            security: security.parse().expect("valid"),
            user: user.map(|name| OpcuaUser {
                name: name.into(),
                password: Secret::Env { name: "MILLSTREAM_NOT_SET".into(), default: Some("hunter2".into()) },
            }),
            timeout: Duration::from_secs(1),
            keep_alive: Duration::from_secs(1),
            pki: "pki".into(),
        }
    }

    fn offer(policy: SecurityPolicy, mode: MessageSecurityMode, user: UserTokenType) -> EndpointDescription {
        let token = UserTokenPolicy { token_type: user, policy_id: UAString::from("p"), ..UserTokenPolicy::default() };
        EndpointDescription::from(("opc.tcp://inside:4840", policy.to_uri(), mode, vec![token]))
    }

    #[test]
    fn only_what_is_configured_is_chosen() {
        let offered = [
            offer(SecurityPolicy::None, MessageSecurityMode::None, UserTokenType::Anonymous),
            offer(SecurityPolicy::Basic256Sha256, MessageSecurityMode::Sign, UserTokenType::UserName),
        ];
        let plain = choose(&offered, &target("None", None)).expect("offered");
        assert_eq!(plain.endpoint_url.as_ref(), "opc.tcp://10.0.0.1:4840");
        assert!(choose(&offered, &target("Basic256Sha256/Sign", Some("me"))).is_ok());
        for wrong in [
            target("Basic256Sha256/SignAndEncrypt", Some("me")),
            target("Basic256Sha256/Sign", None),
            target("None", Some("me")),
        ] {
            let error = choose(&offered, &wrong).expect_err("not offered").to_string();
            assert!(error.contains("it offers None (anonymous), Basic256Sha256/Sign (user name)"), "{error}");
        }
    }

    #[test]
    fn a_password_is_read_when_needed_and_never_shown() {
        let with_user = target("None", Some("me"));
        let token = identity(with_user.user.as_ref()).expect("has a default");
        assert!(!format!("{token:?} {with_user:?}").contains("hunter2"));
        let user =
            OpcuaUser { name: "me".into(), password: Secret::Env { name: "MILLSTREAM_NOT_SET".into(), default: None } };
        let error = identity(Some(&user)).expect_err("not set").to_string();
        assert!(error.contains("MILLSTREAM_NOT_SET"), "{error}");
    }

    #[test]
    fn a_failure_says_what_to_do() {
        let words = explain(StatusCode::BadCertificateUntrusted, Path::new("/data/pki"));
        assert!(words.contains("/data/pki/rejected") && words.contains("/data/pki/trusted"), "{words}");
        assert_eq!(explain(StatusCode::BadOutOfMemory, Path::new("x")), "BadOutOfMemory");
    }
}
