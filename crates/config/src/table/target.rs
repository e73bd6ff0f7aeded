//! Keys of secrets and targets.

use super::{By, Form, Key, Kind, Section, Variant, Variants, cel};

/// Most headers of an HTTP target beside those that Millstream sets.
const HEADERS_MAX: usize = 32;
/// What may be asked of an answer.
pub(super) const ANSWERED: &[&str] = &["status", "answer"];

/// `{ env = "NAME" }` or `{ file = "PATH" }`.
pub(super) static SECRET: Section = Section {
    title: "secret",
    doc: "A secret by reference. The secret itself never stands in the file.",
    keys: &[],
    variants: Some(Variants {
        by: By::Presence,
        of: &[
            Variant {
                name: "env",
                doc: "from an environment variable",
                keys: &[
                    Key::new("env", Kind::Text(Form::Variable), "Name of the environment variable."),
                    Key::new(
                        "default",
                        Kind::Text(Form::Plain),
                        "Stands for the secret when the variable is not set; for demos and tests only.",
                    )
                    .optional("a missing variable is an error"),
                ],
            },
            Variant {
                name: "file",
                doc: "from a file",
                keys: &[Key::new(
                    "file",
                    Kind::Text(Form::File),
                    "File whose content, without a trailing newline, is the secret.",
                )],
            },
        ],
    }),
    later: None,
};

pub(super) static TARGET: Section = Section {
    title: "to",
    doc: "Where something is sent. Millstream sends nowhere but to the targets of this file.",
    keys: &[Key::new(
        "concurrency",
        Kind::Whole { min: 1, max: 1_000 },
        "Deliveries that may be under way at once. Not for a request, which has `max_in_flight`.",
    )
    .whole(8)],
    variants: Some(Variants { by: By::Presence, of: TARGETS }),
    later: None,
};

const TARGETS: &[Variant] = &[
    Variant { name: "http", doc: "an HTTP call; at most one of `token`, `basic` and `oauth2`", keys: HTTP },
    Variant { name: "nats", doc: "a NATS subject, through JetStream", keys: NATS },
    Variant { name: "mqtt", doc: "an MQTT topic, at QoS 1", keys: MQTT },
    Variant { name: "s3", doc: "a bucket of an object store that speaks S3, one object per delivery", keys: S3 },
    Variant {
        name: "folder",
        doc: "a directory, one file per delivery",
        keys: &[Key::new("folder", Kind::Text(Form::File), "Directory that the files are put into.")],
    },
];

const HTTP: &[Key] = &[
    Key::new(
        "http",
        Kind::Text(Form::HttpTemplate),
        "Absolute URL. `{name}` and `{a.b}` in its path and query stand for fields of the request's body, or of the event or record, or for `tag`, `value`, `quality` and `time`; not in a batch.",
    ),
    Key::new("method", Kind::Choice(&["GET", "POST", "PUT", "PATCH", "DELETE"]), "Method.").text("POST"),
    Key::new("token", Kind::Table(&SECRET), "Bearer token (RFC 6750).").optional("no Authorization header"),
    Key::new("basic", Kind::Table(&BASIC), "User and password (RFC 7617).").optional("no Authorization header"),
    Key::new("oauth2", Kind::Table(&OAUTH2), "Bearer tokens by client credentials (RFC 6749, section 4.4).")
        .optional("no Authorization header"),
    Key::new("hmac", Kind::Table(&HMAC), "Signature of the body in a header.").optional("no signature"),
    Key::new(
        "client_cert",
        Kind::Text(Form::File),
        "PEM file with the client's certificate; only with `https` and `client_key`.",
    )
    .optional("no client certificate"),
    Key::new("client_key", Kind::Text(Form::File), "PEM file with the private key of `client_cert`.")
        .optional("no client certificate"),
    Key::new(
        "ca",
        Kind::Text(Form::File),
        "PEM file of the authorities that may vouch for the server; only with `https`.",
    )
    .optional("the system's authorities"),
    Key::new(
        "headers",
        Kind::Texts { names: Form::HeaderName, of: Form::HeaderValue, max: HEADERS_MAX },
        "More headers, for instance `{ X-Plant = \"riverside\" }`. No secret may stand here.",
    )
    .optional("none"),
    Key::new("success", cel(ANSWERED, "status == 200"), "CEL expression that is true when it worked.")
        .optional("status 200 to 299"),
    Key::new(
        "conflict",
        Kind::Choice(&["reject", "done"]),
        "What status 409 means: refused for good, or already there and so delivered.",
    )
    .text("reject"),
];

const NATS: &[Key] = &[
    Key::new("nats", Kind::Text(Form::NatsUrl), "Server address."),
    Key::new("subject", Kind::Text(Form::Subject), "Subject that is published to."),
    Key::new("stream", Kind::Text(Form::Name), "JetStream stream that must take it.")
        .optional("whichever stream has the subject"),
    Key::new("user", Kind::Text(Form::Plain), "User name.").optional("no user"),
    Key::new("token", Kind::Table(&SECRET), "Password of `user`; without a user, the authentication token.")
        .optional("no authentication"),
];

const MQTT: &[Key] = &[
    Key::new("mqtt", Kind::Text(Form::MqttUrl), "Broker address."),
    Key::new("topic", Kind::Text(Form::Path), "Topic that is published to."),
    Key::new("client_id", Kind::Text(Form::Plain), "Client id; no two clients of a broker may have the same.")
        .optional("one made from the flow's name"),
    Key::new("user", Kind::Text(Form::Plain), "User name.").optional("no authentication"),
    Key::new("token", Kind::Table(&SECRET), "Password of the user.").optional("no password"),
    Key::new(
        "ca",
        Kind::Text(Form::File),
        "PEM file of the authorities that may vouch for the broker; only with `mqtts`.",
    )
    .optional("the system's authorities"),
];

const S3: &[Key] = &[
    Key::new("s3", Kind::Text(Form::S3Url), "Where the store is, the bucket, and what object names begin with."),
    Key::new("region", Kind::Text(Form::Name), "Region that requests are signed for.").text("us-east-1"),
    Key::new("access_key", Kind::Text(Form::Plain), "Access key id."),
    Key::new("secret_key", Kind::Table(&SECRET), "Secret access key."),
];

static BASIC: Section = Section {
    title: "basic",
    doc: "HTTP Basic authentication.",
    keys: &[
        Key::new("user", Kind::Text(Form::Plain), "User name, without a colon."),
        Key::new("password", Kind::Table(&SECRET), "Its password."),
    ],
    variants: None,
    later: None,
};

static OAUTH2: Section = Section {
    title: "oauth2",
    doc: "OAuth 2.0 client credentials. A token is asked for when it is needed, and again before it runs out.",
    keys: &[
        Key::new("token_url", Kind::Text(Form::HttpUrl), "Token endpoint."),
        Key::new("client_id", Kind::Text(Form::Plain), "Client id."),
        Key::new("client_secret", Kind::Table(&SECRET), "Client secret."),
        Key::new("scope", Kind::Text(Form::Plain), "Scope that is asked for.").optional("the server's default"),
    ],
    variants: None,
    later: None,
};

static HMAC: Section = Section {
    title: "hmac",
    doc: "HMAC-SHA-256 over a timestamp (sent as `X-Signature-Timestamp`, in seconds), a full stop and the body, as `sha256=` and hexadecimal digits.",
    keys: &[
        Key::new("secret", Kind::Table(&SECRET), "The key."),
        Key::new("header", Kind::Text(Form::HeaderName), "Header that takes the signature.").text("X-Signature-256"),
    ],
    variants: None,
    later: None,
};
