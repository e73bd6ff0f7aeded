//! Addresses: which origin a call may go to, and how an address is shown.

use std::fmt;

use hyper::Uri;
use url::{Host, Position, Url};

use crate::call::CallError;

/// Parts of a query parameter's name by which its value is not shown.
const SECRET_NAMES: [&str; 8] = ["auth", "code", "key", "pass", "pwd", "secret", "sig", "token"];

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    secure: bool,
    host: Host,
    port: u16,
}

impl Origin {
    /// The origin of an address that may hold `{fields}` in its path and query.
    pub(crate) fn of_template(template: &str) -> Result<Self, CallError> {
        let shown = shown(template);
        let after = template.split_once("://").map_or("", |(_, rest)| rest);
        let authority = after.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        if authority.contains(['{', '}']) {
            return Err(CallError::setup(format!("{shown}: scheme, host and port cannot hold a {{field}}")));
        }
        let url = Url::parse(template).map_err(|error| CallError::setup(format!("{shown} is no address: {error}")))?;
        Self::of(&url).map_err(|what| CallError::setup(format!("{shown}: {what}")))
    }

    fn of(url: &Url) -> Result<Self, String> {
        let host = url.host().ok_or("the host is missing")?.to_owned();
        if !["http", "https"].contains(&url.scheme()) {
            return Err("only http and https addresses can be called".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("user and password do not belong in the address; set them as its authentication".to_owned());
        }
        let secure = url.scheme() == "https";
        Ok(Self { secure, host, port: url.port().unwrap_or(scheme_port(secure)) })
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    /// Name or address of the host, as it is looked up: without the brackets of IPv6.
    pub(crate) fn name(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Value of the header `host` (RFC 9110 section 7.2): without the scheme's own port.
    pub(crate) fn authority(&self) -> String {
        if self.port == scheme_port(self.secure) {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Path and query of a call's address, if it is of this origin.
    pub(crate) fn checked(&self, address: &str) -> Result<Uri, String> {
        let url = Url::parse(address).map_err(|error| format!("{} is no address: {error}", shown(address)))?;
        if Self::of(&url)? != *self {
            return Err(format!("{} is not at {self}, where this target is", shown(address)));
        }
        let place = &url[Position::BeforePath..Position::AfterQuery];
        place.parse().map_err(|error| format!("{} cannot be asked for: {error}", shown(address)))
    }
}

/// The port of an address that names none.
const fn scheme_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }
}

/// An address for people: without user, password and fragment, and without the values of query
/// parameters that sound like secrets. A template's braces stay.
pub(crate) fn shown(address: &str) -> String {
    let address = address.split('#').next().unwrap_or_default();
    let (place, query) = match address.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (address, None),
    };
    let mut text = match place.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find(['/', '\\']).unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => place.to_owned(),
    };
    if let Some(query) = query {
        let shown: Vec<String> = query.split('&').map(parameter).collect();
        text = format!("{text}?{}", shown.join("&"));
    }
    text
}

fn parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((name, _)) if SECRET_NAMES.iter().any(|secret| name.to_ascii_lowercase().contains(secret)) => {
            format!("{name}=***")
        }
        _ => parameter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_stays_at_its_origin() {
        let origin = Origin::of_template("http://erp.plant:9101/stock/{material}?of={id}").expect("an origin");
        for right in ["http://erp.plant:9101/stock/4711", "http://ERP.plant:9101/", "http://erp.plant:9101/a/../b"] {
            assert!(origin.checked(right).is_ok(), "{right}");
        }
        for wrong in [
            "http://erp.plant/stock/4711",
            "https://erp.plant:9101/stock",
            "http://erp.plant:9101@evil/",
            "http://evil:9101/",
            "http://erp.plant.evil:9101/",
            "http://user:pw@erp.plant:9101/",
            "http://0x7f000001:9101/",
            "http://[::ffff:127.0.0.1]:9101/",
            "file:///etc/passwd",
            "/stock",
            "",
        ] {
            assert!(origin.checked(wrong).is_err(), "{wrong}");
        }
        let known = Origin::of_template("https://erp.plant").expect("an origin");
        assert_eq!(known.checked("https://erp.plant:443/x?y=ü#z"), Ok(Uri::from_static("/x?y=%C3%BC")));
        assert_eq!(known.checked("https://erp.plant"), Ok(Uri::from_static("/")));
    }

    #[test]
    fn an_origin_is_said_as_headers_and_resolvers_want_it() {
        for (address, authority, name, port) in [
            ("http://erp.plant/x", "erp.plant", "erp.plant", 80),
            ("http://erp.plant:443", "erp.plant:443", "erp.plant", 443),
            ("https://erp.plant:443", "erp.plant", "erp.plant", 443),
            ("https://[::1]:8443/", "[::1]:8443", "::1", 8443),
            ("http://127.0.0.1:9101/", "127.0.0.1:9101", "127.0.0.1", 9101),
        ] {
            let origin = Origin::of_template(address).expect("an origin");
            assert_eq!((origin.authority().as_str(), origin.name().as_str(), origin.port()), (authority, name, port));
        }
    }

    #[test]
    fn what_cannot_be_called_is_said_at_setup() {
        for wrong in ["http://{host}/x", "http://a.{b}:1/", "ftp://x/", "http://u:p@x/", "x", "http://", "mailto:x@y"] {
            assert!(matches!(Origin::of_template(wrong), Err(CallError::Setup { .. })), "{wrong}");
        }
        let error = Origin::of_template("http://user:hunter2@x/").expect_err("credentials");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn no_secret_is_shown() {
        for (address, text) in [
            ("http://u:p@h:1/a?b=c#d", "http://h:1/a?b=c"),
            ("http://h/{x}?api_key=1&n=2&Token=3&flag", "http://h/{x}?api_key=***&n=2&Token=***&flag"),
            ("http://a@b@h/c@d", "http://h/c@d"),
            ("topic", "topic"),
        ] {
            assert_eq!(shown(address), text);
        }
    }
}
