//! Where deliveries go: the `to` of subscribers, requests, syncs, batches and forwards.
//!
//! Secrets stay references and expressions stay text; files are named, not read.

use std::path::PathBuf;

use crate::Secret;

/// A place outside that Millstream sends to. There is no other way out than these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The kind of place, with what only that kind has.
    pub kind: TargetKind,
    /// Deliveries that may be under way at once, 1 to 1000. Default 8. A request is bounded by its
    /// `max_in_flight` instead.
    pub concurrency: u32,
}

/// The kinds of places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetKind {
    /// `{ http = "URL" }`
    Http(HttpTarget),
    /// `{ nats = "nats://host:4222", subject = "…" }`
    Nats(NatsTarget),
    /// `{ mqtt = "mqtt://host:1883", topic = "…" }`
    Mqtt(MqttTarget),
    /// `{ s3 = "https://host/bucket/prefix", … }`
    S3(S3Target),
    /// `{ folder = "PATH" }`: one file per delivery, in this directory.
    Folder(PathBuf),
}

/// An HTTP call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget {
    /// Absolute URL, http or https, as an `expr` template: `{name}` and `{a.b}` in path and query
    /// stand for fields of the request's body, or of the event, record or sample; never in the host.
    pub url: String,
    /// Method in capitals; default POST.
    pub method: String,
    /// How the caller shows who it is. Default: not at all.
    pub auth: HttpAuth,
    /// Signature of the body.
    pub hmac: Option<Hmac>,
    /// Certificate of the client, for mutual TLS.
    pub client: Option<ClientCertificate>,
    /// PEM file of the authorities that may vouch for the server, instead of the system's.
    pub ca: Option<PathBuf>,
    /// More headers, in file order; names are unique whatever their case.
    pub headers: Vec<(String, String)>,
    /// CEL over `status` and `answer` that is true when it worked; `None`: status 200 to 299.
    pub success: Option<String>,
    /// What status 409 means. Default: rejected.
    pub conflict: Conflict,
}

/// How an HTTP call shows who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpAuth {
    /// Not at all.
    None,
    /// `token`: RFC 6750.
    Bearer(Secret),
    /// `basic`: RFC 7617.
    Basic {
        /// User name; without a colon.
        user: String,
        /// Its password.
        password: Secret,
    },
    /// `oauth2`: client credentials, RFC 6749 section 4.4.
    OAuth2(OAuth2),
}

/// Where a bearer token comes from: RFC 6749 section 4.4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2 {
    /// Token endpoint, an absolute URL.
    pub token_url: String,
    /// Client id.
    pub client_id: String,
    /// Client secret.
    pub client_secret: Secret,
    /// Scope; `None`: the server's default.
    pub scope: Option<String>,
}

/// HMAC-SHA-256 over the body, as `sha256=` and hexadecimal digits in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hmac {
    /// The key.
    pub secret: Secret,
    /// The header. Default `X-Signature-256`.
    pub header: String,
}

/// A client's certificate and its key, PEM files both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// `client_cert`: the certificate, then its chain.
    pub cert: PathBuf,
    /// `client_key`: the private key.
    pub key: PathBuf,
}

/// What status 409 (conflict) means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// The delivery is refused for good: a dead letter.
    Reject,
    /// The receiver has it already: delivered.
    Done,
}

/// A NATS subject, through JetStream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsTarget {
    /// Server address, nats or tls.
    pub url: String,
    /// Subject that is published to.
    pub subject: String,
    /// JetStream stream that must take it; `None`: whichever has the subject.
    pub stream: Option<String>,
    /// User name.
    pub user: Option<String>,
    /// Password of `user`, or, without one, the authentication token.
    pub token: Option<Secret>,
}

/// An MQTT topic, at QoS 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttTarget {
    /// Broker address, mqtt or mqtts.
    pub url: String,
    /// Topic that is published to.
    pub topic: String,
    /// Client id; `None`: one made from the flow's name.
    pub client_id: Option<String>,
    /// User name.
    pub user: Option<String>,
    /// Password of the user; never without `user`.
    pub token: Option<Secret>,
    /// PEM file of the authorities that may vouch for the broker; only with mqtts.
    pub ca: Option<PathBuf>,
}

/// A bucket of an object store that speaks S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Target {
    /// `https://host[:port]`, without a path.
    pub endpoint: String,
    /// Bucket.
    pub bucket: String,
    /// What object names begin with, without `/` at either end; may be empty.
    pub prefix: String,
    /// Region that signatures name. Default `us-east-1`.
    pub region: String,
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: Secret,
}
