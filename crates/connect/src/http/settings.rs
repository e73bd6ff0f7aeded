//! How an HTTP target is set up.

use std::fmt;
use std::time::Duration;

use crate::http::address::shown;
use crate::{SecretText, Tls};

/// Time for a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer that are read: 1 MiB.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Connections that stay open without a request.
const IDLE_CONNECTIONS: usize = 8;
/// How long they stay: less than what servers commonly close after, because a request that meets a
/// connection being closed is in doubt.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// An HTTP target.
#[derive(Clone)]
pub struct HttpSettings {
    /// The address as it is configured, `{fields}` and all. Calls may go to its origin only, so
    /// scheme, host and port hold no field.
    pub url: String,
    /// How we say who we are.
    pub auth: Auth,
    /// Trust, and our own certificate.
    pub tls: Tls,
    /// Headers of every request; a call's own replace them. Their values are kept as secrets, because
    /// keys are often among them.
    pub headers: Vec<(String, SecretText)>,
    /// Key of the signature (see [`crate::signature`]); `None`: not signed.
    pub signing_key: Option<SecretText>,
    /// Header of the signature. Default [`crate::SIGNATURE_HEADER`].
    pub signing_header: String,
    /// Time for a connection, TLS included. Default 5 s.
    pub connect_timeout: Duration,
    /// Most bytes of an answer that are kept. Default 1 MiB.
    pub answer_bytes_max: usize,
    /// Connections that stay open without a request. Default 8.
    pub idle_connections: usize,
    /// How long they stay. Default 15 s.
    pub idle_timeout: Duration,
    /// Called around everything that takes long on the thread, with nothing of the target's borrowed: somebody
    /// else may have its turn. Default: nothing.
    pub pause: fn(),
}

/// How a request says who we are.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Not at all.
    None,
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer(SecretText),
    /// `Authorization: Basic …` (RFC 7617).
    Basic {
        /// User name, without a colon.
        user: String,
        /// Password.
        password: SecretText,
    },
    /// A token that is fetched: OAuth 2 client credentials (RFC 6749 section 4.4).
    OAuth2(OAuth2),
}

/// OAuth 2 client credentials.
#[derive(Debug, Clone)]
pub struct OAuth2 {
    /// Address of the token endpoint.
    pub token_url: String,
    /// Our id there.
    pub client_id: String,
    /// Our secret there.
    pub client_secret: SecretText,
    /// Scopes that are asked for, separated by spaces.
    pub scope: Option<String>,
    /// The audience that some servers ask for.
    pub audience: Option<String>,
    /// Are id and secret sent as form fields? False: as `Basic`, which every server must take.
    pub in_body: bool,
    /// Trust in the token endpoint.
    pub tls: Tls,
}

impl HttpSettings {
    /// Defaults for an address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            auth: Auth::None,
            tls: Tls::default(),
            headers: Vec::new(),
            signing_key: None,
            signing_header: crate::SIGNATURE_HEADER.to_owned(),
            connect_timeout: CONNECT_TIMEOUT,
            answer_bytes_max: ANSWER_BYTES_MAX,
            idle_connections: IDLE_CONNECTIONS,
            idle_timeout: IDLE_TIMEOUT,
            pause: || {},
        }
    }
}

impl fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings").field("url", &shown(&self.url)).field("auth", &self.auth).finish_non_exhaustive()
    }
}
