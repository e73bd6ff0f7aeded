//! Where deliveries go: the `to` of subscribers, requests, syncs, batches and forwards.

use std::path::PathBuf;

use crate::Secret;

/// A place outside that Millstream sends to. There is no other way out than these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `{ http = "URL" }`
    Http {
        /// Absolute URL, http or https. `{name}` stands for a field of a request's body.
        url: String,
        /// Method; default POST.
        method: String,
        /// Bearer token.
        token: Option<Secret>,
    },
    /// `{ nats = "nats://host:4222", subject = "…" }`
    Nats {
        /// Server address.
        url: String,
        /// Subject that is published to.
        subject: String,
        /// Authentication token.
        token: Option<Secret>,
    },
    /// `{ mqtt = "mqtt://host:1883", topic = "…" }`
    Mqtt {
        /// Broker address, mqtt or mqtts.
        url: String,
        /// Topic that is published to, at QoS 1.
        topic: String,
        /// User name.
        user: Option<String>,
        /// Password of the user.
        token: Option<Secret>,
    },
    /// `{ folder = "PATH" }`: one file per delivery.
    Folder {
        /// Directory that the files are put into.
        path: PathBuf,
    },
}
