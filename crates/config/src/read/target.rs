//! Reads targets: the `to` of whatever sends.

use std::collections::HashSet;
use std::path::PathBuf;

use super::convert;
use super::parts::secret;
use super::row::Row;
use crate::target::{
    ClientCertificate, Conflict, Hmac, HttpAuth, HttpTarget, MqttTarget, NatsTarget, OAuth2, S3Target, TargetKind,
};
use crate::web::S3Place;
use crate::{Secret, Target};

/// What sends to a target, and so which kinds it may be of and which fields its URL may name.
#[derive(Clone, Copy)]
pub(super) enum Sender<'f> {
    /// A request: HTTP, with any field of the caller's body.
    Request,
    /// Deliveries, one by one: any kind; with these fields, or, where they are not known, any.
    Delivery(Option<&'f [&'f str]>),
    /// Documents of a batch: any kind, no fields.
    Batch,
    /// A site above: brokers only.
    Forward,
}

impl<'f> Sender<'f> {
    fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Request => &["http"],
            Self::Delivery(_) | Self::Batch => &["http", "nats", "mqtt", "s3", "folder"],
            Self::Forward => &["nats", "mqtt"],
        }
    }

    fn fields(self) -> Option<&'f [&'f str]> {
        match self {
            Self::Request => None,
            Self::Delivery(fields) => fields,
            Self::Batch | Self::Forward => Some(&[]),
        }
    }
}

/// What stands for a target, or a part of one, that could not be read.
fn no_target() -> Target {
    Target { kind: TargetKind::Folder(PathBuf::new()), concurrency: 1 }
}

/// Stands this for a target that could not be read, and so was reported?
pub(super) fn is_unread(target: &Target) -> bool {
    matches!(&target.kind, TargetKind::Folder(path) if path.as_os_str().is_empty())
}

fn no_secret() -> Secret {
    Secret::File(PathBuf::new())
}

/// `to`.
pub(super) fn target(row: &Row<'_>, sender: Sender<'_>) -> Target {
    let Some(to) = row.table("to") else { return no_target() };
    let Some(kind) = to.variant() else { return no_target() };
    let allowed = sender.kinds();
    if !allowed.contains(&kind) {
        let what = format!("{} cannot go to {kind}", row.title());
        to.refuse_key(kind, &what, &format!("write a target with {}", convert::one_of(allowed)));
    }
    if matches!(sender, Sender::Request) && to.has("concurrency") {
        let what = "concurrency has no meaning for a request";
        to.refuse_key("concurrency", what, "write max_in_flight beside to, or remove it");
    }
    let concurrency = to.whole("concurrency").unwrap_or_default();
    let kind = match kind {
        "http" => TargetKind::Http(http(&to, sender.fields())),
        "nats" => TargetKind::Nats(NatsTarget {
            url: to.required_text("nats"),
            subject: to.required_text("subject"),
            stream: to.text("stream"),
            user: user(&to),
            token: secret(&to, "token"),
        }),
        "mqtt" => TargetKind::Mqtt(mqtt(&to)),
        "s3" => TargetKind::S3(s3(&to)),
        _ => TargetKind::Folder(PathBuf::from(to.required_text("folder"))),
    };
    Target { kind, concurrency }
}

/// A user, who needs a password in `token`.
fn user(to: &Row<'_>) -> Option<String> {
    if to.has("user") && !to.has("token") {
        to.refuse_key("user", "there is a user, and no password", "add token = { env = \"NAME\" }, or remove user");
    }
    to.text("user")
}

fn mqtt(to: &Row<'_>) -> MqttTarget {
    if to.has("token") && !to.has("user") {
        to.refuse_key("token", "token is the password of a user, and there is no user", "add user = \"name\"");
    }
    let url = to.required_text("mqtt");
    MqttTarget {
        topic: to.required_text("topic"),
        client_id: to.text("client_id"),
        user: to.text("user"),
        token: secret(to, "token"),
        ca: tls_file(to, "ca", &url, "mqtts"),
        url,
    }
}

fn s3(to: &Row<'_>) -> S3Target {
    let S3Place { endpoint, bucket, prefix } = to.parsed("s3", str::parse).unwrap_or_default();
    S3Target {
        endpoint,
        bucket,
        prefix,
        region: to.required_text("region"),
        access_key: to.required_text("access_key"),
        secret_key: secret(to, "secret_key").unwrap_or_else(no_secret),
    }
}

/// A file that only an encrypted connection needs.
fn tls_file(to: &Row<'_>, name: &str, url: &str, scheme: &str) -> Option<PathBuf> {
    let file = to.text(name)?;
    if !url.is_empty() && !url.starts_with(&format!("{scheme}://")) {
        to.refuse_key(
            name,
            &format!("{name} has no meaning without {scheme}"),
            &format!("write {scheme}:// or remove it"),
        );
    }
    Some(PathBuf::from(file))
}

const METHODS: [(&str, &str); 5] =
    [("GET", "GET"), ("POST", "POST"), ("PUT", "PUT"), ("PATCH", "PATCH"), ("DELETE", "DELETE")];

const CONFLICTS: [(&str, Conflict); 2] = [("reject", Conflict::Reject), ("done", Conflict::Done)];

fn http(to: &Row<'_>, fields: Option<&[&str]>) -> HttpTarget {
    let url = to.template("http", fields).unwrap_or_default();
    let hmac = to.table("hmac").map(|hmac| Hmac {
        secret: secret(&hmac, "secret").unwrap_or_else(no_secret),
        header: hmac.required_text("header"),
    });
    HttpTarget {
        method: to.choice("method", &METHODS).unwrap_or_default().to_owned(),
        auth: auth(to),
        headers: headers(to, hmac.as_ref()),
        hmac,
        client: client(to, &url),
        ca: tls_file(to, "ca", &url, "https"),
        success: to.expression("success"),
        conflict: to.choice("conflict", &CONFLICTS).unwrap_or(Conflict::Reject),
        url,
    }
}

fn auth(to: &Row<'_>) -> HttpAuth {
    let mut written = ["token", "basic", "oauth2"].into_iter().filter(|name| to.has(name));
    if let (Some(first), Some(second)) = (written.next(), written.next()) {
        let what = format!("{second} stands beside {first}, and only one of them may");
        to.refuse_key(second, &what, "keep one of \"token\", \"basic\" or \"oauth2\"");
    }
    let token = secret(to, "token").map(HttpAuth::Bearer);
    let basic = to.table("basic").map(|basic| {
        let user = basic.required_text("user");
        if user.contains(':') {
            basic.refuse("user", "user: a user of HTTP Basic has no colon (RFC 7617)", "write the user name alone");
        }
        HttpAuth::Basic { user, password: secret(&basic, "password").unwrap_or_else(no_secret) }
    });
    let oauth2 = to.table("oauth2").map(|oauth2| {
        HttpAuth::OAuth2(OAuth2 {
            token_url: oauth2.required_text("token_url"),
            client_id: oauth2.required_text("client_id"),
            client_secret: secret(&oauth2, "client_secret").unwrap_or_else(no_secret),
            scope: oauth2.text("scope"),
        })
    });
    token.or(basic).or(oauth2).unwrap_or(HttpAuth::None)
}

fn client(to: &Row<'_>, url: &str) -> Option<ClientCertificate> {
    for (name, other) in [("client_cert", "client_key"), ("client_key", "client_cert")] {
        if to.has(name) && !to.has(other) {
            to.refuse_key(name, &format!("{name} stands without {other}"), &format!("add {other} = \"FILE.pem\""));
        }
    }
    let cert = tls_file(to, "client_cert", url, "https")?;
    let key = PathBuf::from(to.text("client_key")?);
    Some(ClientCertificate { cert, key })
}

fn headers(to: &Row<'_>, hmac: Option<&Hmac>) -> Vec<(String, String)> {
    let mut seen: HashSet<String> = hmac.map(|hmac| hmac.header.to_ascii_lowercase()).into_iter().collect();
    let mut headers = Vec::new();
    for entry in to.texts("headers") {
        if !seen.insert(entry.name.to_ascii_lowercase()) {
            let key = format!("{}.{}", to.path_of("headers"), entry.name);
            let what = format!("headers: {:?} is set twice, whatever the case of its letters", entry.name);
            to.cx.report(&entry.name_at, &key, &what, "remove one of them, or give hmac another header");
        }
        headers.push((entry.name, entry.text));
    }
    headers
}
