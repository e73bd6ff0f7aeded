//! What every request passes on its way in and out.
//!
//! Invariants
//! - G1: a request whose Host names a stranger is refused: a page whose name was rebound to our
//!   address does not reach the API (DNS rebinding).
//! - G2: a request that a page of another origin makes is refused, reading included; there is no
//!   CORS answer. Only a link from elsewhere that a person follows is let in.
//! - G3: every answer says how a browser is to treat it (no sniffing, no framing, no cache for data).
//! - G4: every request is counted, with its route pattern, never with its raw path.

use crate::{
    problem::{self, Problem, short},
    state::App,
};
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

/// The address of ours that a connection came to; put into each request by `serve`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalAddress(pub(crate) SocketAddr);

/// The middleware.
pub(crate) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let uri = request.uri().clone();
    let route = match request.extensions().get::<MatchedPath>() {
        Some(path) => path.as_str().to_owned(),
        None => "other".to_owned(),
    };
    let answer = match admit(&app, &request) {
        Ok(()) => {
            app.pause();
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    app.pause();
    let mut answer = problem::render(&uri, answer);
    secure(answer.headers_mut());
    app.counters.request(&route, answer.status().as_u16(), started.elapsed());
    answer
}

fn admit(app: &App, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let local = request.extensions().get::<LocalAddress>().map(|local| local.0.ip());
    let host = host_of(headers, request.uri());
    let Some(host) = host.filter(|host| host_is_ours(&app.limits.hosts, host, local)) else {
        app.counters.limit("host");
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "host",
            "The Host header names another server",
            format!(
                "Host {} is not one that this server is reached under; use its address, or localhost on the machine itself",
                short(host.unwrap_or(""))
            ),
        ));
    };
    let foreign = |detail: String| {
        app.counters.limit("origin");
        Problem::new(StatusCode::FORBIDDEN, "origin", "Requests of other web pages are refused", detail)
    };
    for origin in headers.get_all(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("null");
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        if !authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host)) {
            let detail = format!(
                "Origin {} is not this server; call the API from its own pages or from a program",
                short(origin)
            );
            return Err(foreign(detail));
        }
    }
    let says = |name: &str, word: &str| headers.get(name).is_some_and(|value| value == word);
    if says("sec-fetch-site", "cross-site") && !(says("sec-fetch-mode", "navigate") && request.method() == "GET") {
        return Err(foreign("a page of another site made this request; open it in a tab of its own".to_owned()));
    }
    Ok(())
}

/// The authority that the request is for: of the request line where it has one (RFC 9112 section
/// 3.2.2), else of the one Host header.
fn host_of<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    if let Some(authority) = uri.authority() {
        return Some(authority.as_str());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    hosts.next().is_none().then_some(host)
}

/// Whether a host (with or without port) is loopback, the connection's own address, or configured.
fn host_is_ours(configured: &[String], host: &str, local: Option<IpAddr>) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    if let Ok(address) = name.parse::<IpAddr>() {
        let address = address.to_canonical();
        return address.is_loopback()
            || local.is_some_and(|local| local.to_canonical() == address)
            || configured
                .iter()
                .any(|known| known.parse::<IpAddr>().is_ok_and(|known| known.to_canonical() == address));
    }
    let name = name.trim_end_matches('.');
    let loopback = name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    loopback || configured.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Nothing from elsewhere, nothing inline, no frames.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn secure(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_ours() {
        let configured = ["edge1.plant.local".to_owned(), "10.0.0.7".to_owned()];
        let local: IpAddr = "192.168.1.5".parse().expect("address");
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST:8080", true),
            ("127.0.0.1:8080", true),
            ("127.8.8.8", true),
            ("[::1]:8080", true),
            ("[::ffff:127.0.0.1]", true),
            ("192.168.1.5:8080", true),
            ("192.168.1.6:8080", false),
            ("10.0.0.7", true),
            ("edge1.plant.local:80", true),
            ("demo.localhost", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
            ("[", false),
        ] {
            assert_eq!(host_is_ours(&configured, host, Some(local)), expected, "{host}");
        }
    }
}
