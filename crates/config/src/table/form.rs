//! Forms of text: what may stand in a string of the file.
//!
//! Each form has a check, a sample that passes it, a word for people, and, where a regular
//! expression can say it, a pattern for the JSON Schema.

use crate::problem::Invalid;
use crate::{BatchAt, Date, ModbusAddress, NodeRef, OpcuaSecurity, RegisterAddress, TimeOfDay, names, opcua, web};

/// What may stand in a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Letters, digits, `_` and `-`.
    Name,
    /// Segments parted by `/`.
    Path,
    /// A path, relative to a source's.
    TagName,
    /// A path with `*` and `**`.
    Glob,
    /// IP address and port.
    Socket,
    /// `Area/City`.
    TimeZone,
    /// `tcp://host:port`.
    ModbusAddress,
    /// `opc.tcp://host:port/path`.
    Endpoint,
    /// `holding:0`.
    Register,
    /// `nsu=URI;s=Name`.
    Node,
    /// `Policy/Mode`.
    Security,
    /// `http://` or `https://`.
    HttpUrl,
    /// The same with `{name}` in its path and query.
    HttpTemplate,
    /// `https://host/bucket/prefix`.
    S3Url,
    /// `nats://` or `tls://`.
    NatsUrl,
    /// `mqtt://` or `mqtts://`.
    MqttUrl,
    /// A NATS subject without wildcards.
    Subject,
    /// `HH:MM`.
    TimeOfDay,
    /// `YYYY-MM-DD`.
    Date,
    /// `shift-end`, `manual` or cron.
    Schedule,
    /// A file or directory.
    File,
    /// An environment variable.
    Variable,
    /// A field of a JSON object.
    Field,
    /// A name for use in an expression.
    Alias,
    /// The name of an HTTP header.
    HeaderName,
    /// The value of an HTTP header.
    HeaderValue,
    /// An engineering unit.
    Unit,
    /// Any text.
    Plain,
}

impl Form {
    /// Every form.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 28] = [
        Self::Name,
        Self::Path,
        Self::TagName,
        Self::Glob,
        Self::Socket,
        Self::TimeZone,
        Self::ModbusAddress,
        Self::Endpoint,
        Self::Register,
        Self::Node,
        Self::Security,
        Self::HttpUrl,
        Self::HttpTemplate,
        Self::S3Url,
        Self::NatsUrl,
        Self::MqttUrl,
        Self::Subject,
        Self::TimeOfDay,
        Self::Date,
        Self::Schedule,
        Self::File,
        Self::Variable,
        Self::Field,
        Self::Alias,
        Self::HeaderName,
        Self::HeaderValue,
        Self::Unit,
        Self::Plain,
    ];

    /// Checks a text.
    pub(crate) fn check(self, text: &str) -> Result<(), Invalid> {
        match self {
            Self::Name => names::check_name(text),
            Self::Path | Self::TagName => names::check_path(text),
            Self::Glob => names::check_glob(text),
            Self::Socket => names::socket(text).map(drop),
            Self::TimeZone => names::check_time_zone(text),
            Self::ModbusAddress => text.parse::<ModbusAddress>().map(drop),
            Self::Endpoint => opcua::check_endpoint(text),
            Self::Register => text.parse::<RegisterAddress>().map(drop),
            Self::Node => text.parse::<NodeRef>().map(drop),
            Self::Security => text.parse::<OpcuaSecurity>().map(drop),
            Self::HttpUrl => web::check_http(text),
            Self::HttpTemplate => web::check_template(text),
            Self::S3Url => text.parse::<web::S3Place>().map(drop),
            Self::NatsUrl => web::check_url(text, &["nats", "tls"]),
            Self::MqttUrl => web::check_url(text, &["mqtt", "mqtts"]),
            Self::Subject => web::check_subject(text),
            Self::TimeOfDay => text.parse::<TimeOfDay>().map(drop),
            Self::Date => text.parse::<Date>().map(drop),
            Self::Schedule => text.parse::<BatchAt>().map(drop),
            Self::File => names::check_file(text),
            Self::Variable => names::check_variable(text),
            Self::Field => names::check_field(text),
            Self::Alias => names::check_alias(text),
            Self::HeaderName => web::check_header_name(text),
            Self::HeaderValue => web::check_header_value(text),
            Self::Unit => names::check_unit(text),
            Self::Plain => names::check_plain(text),
        }
    }

    /// A text that passes.
    pub(crate) fn sample(self) -> &'static str {
        match self {
            Self::Name => "press1",
            Self::Path => "site/area/line1/press1",
            Self::TagName => "temperature",
            Self::Glob => "site/**",
            Self::Socket => "127.0.0.1:8080",
            Self::TimeZone => "Europe/Amsterdam",
            Self::ModbusAddress => "tcp://192.168.1.20:502",
            Self::Endpoint => "opc.tcp://192.168.1.30:4840",
            Self::Register => "holding:0",
            Self::Node => "nsu=urn:vendor:device;s=Temperature",
            Self::Security => "Basic256Sha256/SignAndEncrypt",
            Self::HttpUrl => "http://127.0.0.1:9000/path",
            Self::HttpTemplate => "http://127.0.0.1:9000/stock/{material}",
            Self::S3Url => "https://s3.example.com/bucket/prefix",
            Self::NatsUrl => "nats://127.0.0.1:4222",
            Self::MqttUrl => "mqtt://127.0.0.1:1883",
            Self::Subject => "plant.frames",
            Self::TimeOfDay => "06:00",
            Self::Date => "2026-12-25",
            Self::Schedule => "shift-end",
            Self::File => "data",
            Self::Variable => "PLANT_TOKEN",
            Self::Field => "work_order",
            Self::Alias => "oven_door",
            Self::HeaderName => "X-Plant",
            Self::HeaderValue => "riverside",
            Self::Unit => "°C",
            Self::Plain => "text",
        }
    }

    /// The word for people.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Path => "path",
            Self::TagName => "tag name",
            Self::Glob => "glob",
            Self::Socket => "IP address and port",
            Self::TimeZone => "time zone",
            Self::ModbusAddress => "Modbus TCP address",
            Self::Endpoint => "OPC UA endpoint",
            Self::Register => "Modbus address",
            Self::Node => "OPC UA node",
            Self::Security => "OPC UA security",
            Self::HttpUrl => "HTTP URL",
            Self::HttpTemplate => "HTTP URL with fields",
            Self::S3Url => "S3 URL",
            Self::NatsUrl => "NATS URL",
            Self::MqttUrl => "MQTT URL",
            Self::Subject => "NATS subject",
            Self::TimeOfDay => "time of day",
            Self::Date => "date",
            Self::Schedule => "schedule",
            Self::File => "file path",
            Self::Variable => "environment variable",
            Self::Field => "field name",
            Self::Alias => "alias",
            Self::HeaderName => "header name",
            Self::HeaderValue => "header value",
            Self::Unit => "unit",
            Self::Plain => "text",
        }
    }

    /// A regular expression (ECMA-262) that every right text matches, where one helps an editor.
    /// It may let wrong texts through; the check above has the last word.
    pub(crate) fn pattern(self) -> Option<&'static str> {
        Some(match self {
            Self::Name => "^[A-Za-z0-9_-]+$",
            Self::Path | Self::TagName => r"^[^/+#*\s]+(/[^/+#*\s]+)*$",
            Self::Glob => r"^[^/+#\s]+(/[^/+#\s]+)*$",
            Self::Socket => r"^(\d{1,3}(\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+\]):\d{1,5}$",
            Self::TimeZone => r"^(UTC|[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)+)$",
            Self::ModbusAddress => r"^tcp://",
            Self::Endpoint => r"^opc\.tcp://",
            Self::Register => {
                r"^((holding|input)(:\d{1,5})(\.\d{1,2})?|(coil|discrete):\d{1,5}|[01]\d{4,5}|[34]\d{4,5}(\.\d{1,2})?)$"
            }
            Self::Node => r"^(nsu=[^;]+;|ns=\d+;)?[sigb]=.+$",
            Self::Security => {
                "^(None|(Basic256Sha256|Aes128-Sha256-RsaOaep|Aes256-Sha256-RsaPss)/(Sign|SignAndEncrypt))$"
            }
            Self::HttpUrl | Self::HttpTemplate => "^https?://",
            Self::S3Url => r"^https?://[^/?#]+/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#]*)?$",
            Self::NatsUrl => "^(nats|tls)://",
            Self::MqttUrl => "^mqtts?://",
            Self::Subject => r"^[^\s*>.]+(\.[^\s*>.]+)*$",
            Self::TimeOfDay => "^([01][0-9]|2[0-3]):[0-5][0-9]$",
            Self::Date => "^(19[789]|[2-9][0-9]{2})[0-9]-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
            Self::Variable | Self::Alias => "^[A-Za-z_][A-Za-z0-9_]*$",
            Self::Field => "^[A-Za-z_][A-Za-z0-9_.-]*$",
            Self::HeaderName => "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
            Self::HeaderValue => "^[!-~]([ !-~]*[!-~])?$",
            Self::Schedule | Self::File | Self::Unit | Self::Plain => return None,
        })
    }

    /// What the form demands, for the reference; empty where the word says it all.
    pub(crate) fn limits(self) -> &'static str {
        match self {
            Self::Name => "letters, digits, `_`, `-`; at most 64",
            Self::Path | Self::TagName => {
                "segments parted by `/`; none empty, without `+`, `#`, `*`, white space or control characters; at most 512 bytes as a whole tag path"
            }
            Self::Glob => "`**` only as a whole segment; at most 512 bytes",
            Self::Socket => "loopback unless `insecure_off_loopback`",
            Self::TimeZone => "`Area/City` or `UTC`",
            Self::ModbusAddress => "`tcp://host:port`",
            Self::Endpoint => "`opc.tcp://host:port/path`",
            Self::Register => "addresses 0 to 65535, bits 0 to 15",
            Self::Node => "identifiers `s=`, `i=`, `g=`, `b=`",
            Self::HttpUrl => "`http://` or `https://`",
            Self::HttpTemplate => "`http://` or `https://`; `{name}` only behind the host",
            Self::S3Url => "`https://host[:port]/bucket/prefix`, or `http://`",
            Self::NatsUrl => "`nats://` or `tls://`",
            Self::MqttUrl => "`mqtt://` or `mqtts://`",
            Self::Subject => "no wildcards",
            Self::TimeOfDay => "`HH:MM`",
            Self::Date => "`YYYY-MM-DD`",
            Self::Field => "letters, digits, `_`, `.`, `-`; at most 128",
            Self::Alias => "letters, digits, `_`; no word of CEL, not `value` or `request`; at most 64",
            Self::HeaderName => "none that Millstream or HTTP sets itself; at most 64 characters",
            Self::HeaderValue => "visible ASCII and spaces within; at most 1024",
            Self::Unit => "at most 32 characters",
            Self::Plain | Self::File => "at most 1024 bytes",
            Self::Security | Self::Schedule | Self::Variable => "",
        }
    }
}
