//! How the HTTP target says who it is: tokens, OAuth 2, certificates, signatures.

mod support;

use connect::{
    Auth, CallError, HttpSettings, HttpTarget, OAuth2, Refusal, SIGNATURE_HEADER, SIGNATURE_TIMESTAMP_HEADER,
    SecretText, Target, signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::Write;
use std::sync::Arc;
use support::raw::{Raw, Request, answer, read_request};
use support::{call, is_unsent, pem, run, status, tls};

const SECRET: &str = "hunter2";

fn with_auth(raw: &Raw, auth: Auth) -> HttpTarget {
    let mut settings = HttpSettings::new(raw.url("/"));
    settings.auth = auth;
    HttpTarget::new(settings).expect("a target")
}

#[test]
fn bearer_and_basic_are_sent_and_not_shown() {
    let raw = Raw::http(|_, _| answer("200 OK", "", ""));
    let bearer = with_auth(&raw, Auth::Bearer(SecretText::new(SECRET)));
    let basic = with_auth(&raw, Auth::Basic { user: "erp".to_owned(), password: SecretText::new(SECRET) });
    for target in [&bearer, &basic] {
        let exchange = run(target.call(call(raw.url("/"))));
        assert_eq!(status(&exchange), 200);
        assert!(!format!("{target:?} {exchange:?} {}", target.describe()).contains(SECRET));
    }
    let sent: Vec<_> = raw.seen().iter().map(|seen| seen.header("authorization").map(str::to_owned)).collect();
    assert_eq!(sent, [Some("Bearer hunter2".to_owned()), Some("Basic ZXJwOmh1bnRlcjI=".to_owned())]);
}

#[test]
fn a_signature_is_over_time_and_body() {
    let raw = Raw::http(|_, _| answer("200 OK", "", ""));
    let key = SecretText::new(SECRET);
    let mut settings = HttpSettings::new(raw.url("/"));
    settings.signing_key = Some(key.clone());
    let target = HttpTarget::new(settings).expect("a target");
    assert_eq!(status(&run(target.call(call(raw.url("/"))))), 200);
    let seen = &raw.seen()[0];
    let time = seen.header(SIGNATURE_TIMESTAMP_HEADER).expect("a time").parse().expect("a number");
    assert_eq!(seen.header(SIGNATURE_HEADER), Some(signature(&key, time, &seen.body).as_str()));
}

/// A token endpoint that counts its tokens.
fn token_endpoint() -> Raw {
    Raw::http(|_, number| {
        let body = format!("{{\"access_token\":\"token-{number}\",\"token_type\":\"Bearer\",\"expires_in\":3600}}");
        answer("200 OK", "content-type: application/json\r\n", &body)
    })
}

fn grant(endpoint: &Raw) -> OAuth2 {
    OAuth2 {
        token_url: endpoint.url("/token"),
        client_id: "mill stream".to_owned(),
        client_secret: SecretText::new(SECRET),
        scope: Some("stock:write plan".to_owned()),
        audience: None,
        in_body: false,
        tls: connect::Tls::default(),
    }
}

fn authorized(request: &Request, token: &str) -> bool {
    request.header("authorization") == Some(&format!("Bearer {token}"))
}

#[test]
fn a_token_is_fetched_once_for_many_calls() {
    let endpoint = token_endpoint();
    let raw = Raw::http(|_, _| answer("200 OK", "", ""));
    let target = with_auth(&raw, Auth::OAuth2(grant(&endpoint)));
    run(async {
        let calls = (0..8).map(|_| target.call(call(raw.url("/"))));
        for exchange in futures_util::future::join_all(calls).await {
            assert_eq!(status(&exchange), 200);
        }
    });
    assert_eq!(endpoint.seen().len(), 1);
    let asked = &endpoint.seen()[0];
    assert_eq!(asked.line(), "POST /token HTTP/1.1");
    assert_eq!(asked.header("authorization"), Some("Basic bWlsbCtzdHJlYW06aHVudGVyMg=="));
    assert_eq!(asked.body, b"grant_type=client_credentials&scope=stock%3Awrite+plan");
    assert!(raw.seen().iter().all(|request| authorized(request, "token-0")));
}

#[test]
fn a_refused_token_is_fetched_again_once() {
    let endpoint = token_endpoint();
    let raw = Raw::http(|request, _| {
        if authorized(request, "token-1") { answer("200 OK", "", "") } else { answer("401 Unauthorized", "", "") }
    });
    let mut body = grant(&endpoint);
    body.in_body = true;
    let target = with_auth(&raw, Auth::OAuth2(body));
    assert_eq!(status(&run(target.call(call(raw.url("/"))))), 200);
    assert_eq!((endpoint.seen().len(), raw.seen().len()), (2, 2));
    assert!(endpoint.seen()[0].header("authorization").is_none());
    assert!(
        String::from_utf8_lossy(&endpoint.seen()[0].body).ends_with("&client_id=mill+stream&client_secret=hunter2")
    );

    // one that refuses every token is asked twice a call, and its answer is told
    let raw = Raw::http(|_, _| answer("401 Unauthorized", "", "no"));
    let target = with_auth(&raw, Auth::OAuth2(grant(&token_endpoint())));
    assert_eq!(status(&run(target.call(call(raw.url("/"))))), 401);
    assert_eq!(raw.seen().len(), 2);
}

#[test]
fn without_a_token_nothing_is_sent() {
    let raw = Raw::http(|_, _| answer("200 OK", "", ""));
    let refuses = Raw::http(|_, _| answer("401 Unauthorized", "", "{\"error\":\"invalid_client\"}"));
    let target = with_auth(&raw, Auth::OAuth2(grant(&refuses)));
    let exchange = run(target.call(call(raw.url("/"))));
    let Err(CallError::Refused { of: Refusal::Target, what }) = &exchange.result else { panic!("{exchange:?}") };
    assert!(what.contains("invalid_client") && !what.contains(SECRET), "{what}");

    let wrong = ["", "[]", "{\"access_token\":5}", "{\"access_token\":\"se\\ncret\"}", "<html>"];
    for body in wrong {
        let odd = Raw::http(move |_, _| answer("200 OK", "", body));
        let exchange = run(with_auth(&raw, Auth::OAuth2(grant(&odd))).call(call(raw.url("/"))));
        assert!(is_unsent(&exchange), "{body}: {exchange:?}");
    }
    let mut nobody = grant(&refuses);
    nobody.token_url = format!("http://127.0.0.1:{}/token", support::free_port());
    let exchange = run(with_auth(&raw, Auth::OAuth2(nobody)).call(call(raw.url("/"))));
    assert!(is_unsent(&exchange), "{exchange:?}");
    assert_eq!(raw.connected(), 0);
}

/// A server with the tests' certificate that may ask for ours.
fn secure(asks_for_ours: bool) -> Raw {
    connect::install_tls_provider();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem("server.pem")).map(|one| one.expect("PEM")).collect();
    let key = PrivateKeyDer::from_pem_slice(&pem("server.key")).expect("a key");
    let builder = if asks_for_ours {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem("ca.pem")).expect("PEM")).expect("an authority");
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("a verifier");
        ServerConfig::builder().with_client_cert_verifier(verifier)
    } else {
        ServerConfig::builder().with_no_client_auth()
    };
    let config = Arc::new(builder.with_single_cert(chain, key).expect("a configuration"));
    Raw::start(move |raw, stream, _| {
        let connection = ServerConnection::new(config.clone()).expect("a connection");
        let mut stream = StreamOwned::new(connection, stream);
        while let Some(request) = read_request(&mut stream) {
            raw.note(request);
            if stream.write_all(&answer("200 OK", "", "secure")).is_err() {
                return;
            }
        }
    })
}

fn secure_target(raw: &Raw, tls: connect::Tls) -> (HttpTarget, String) {
    let url = format!("https://localhost:{}/", raw.address.port());
    let mut settings = HttpSettings::new(&url);
    settings.tls = tls;
    (HttpTarget::new(settings).expect("a target"), url)
}

#[test]
fn an_own_authority_is_trusted_and_no_other() {
    let raw = secure(false);
    let (target, url) = secure_target(&raw, tls(false));
    assert_eq!(status(&run(target.call(call(&url)))), 200);
    let other = connect::Tls { ca_pem: Some(pem("other.pem")), identity: None };
    for tls in [other, connect::Tls::default()] {
        let (target, url) = secure_target(&raw, tls);
        let exchange = run(target.call(call(&url)));
        assert!(matches!(exchange.result, Err(CallError::Unreachable { .. })), "{exchange:?}");
    }
    // the certificate is for another name
    let mut settings = HttpSettings::new(format!("https://127.0.0.2:{}/", raw.address.port()));
    settings.tls = tls(false);
    let url = settings.url.clone();
    let exchange = run(HttpTarget::new(settings).expect("a target").call(call(&url)));
    assert!(is_unsent(&exchange), "{exchange:?}");
    assert_eq!(raw.seen().len(), 1);
}

#[test]
fn a_server_that_asks_for_our_certificate_gets_it() {
    let raw = secure(true);
    let (target, url) = secure_target(&raw, tls(true));
    assert_eq!(status(&run(target.call(call(&url)))), 200);
    let (target, url) = secure_target(&raw, tls(false));
    let exchange = run(target.call(call(&url)));
    assert!(exchange.result.is_err(), "{exchange:?}");
    assert_eq!(raw.seen().len(), 1);
}

#[test]
fn what_cannot_be_used_is_said_at_setup() {
    let made = |change: fn(&mut HttpSettings)| {
        let mut settings = HttpSettings::new("https://localhost/");
        change(&mut settings);
        HttpTarget::new(settings).map(drop)
    };
    let wrong: [fn(&mut HttpSettings); 5] = [
        |settings| settings.url = "http://{host}/".to_owned(),
        |settings| settings.tls.ca_pem = Some(b"no PEM".to_vec()),
        |settings| settings.tls = connect::Tls { ca_pem: None, ..tls(true) }.wrong_key(),
        |settings| settings.headers = vec![("a b".to_owned(), SecretText::new(""))],
        |settings| settings.auth = Auth::Bearer(SecretText::new("a\nb")),
    ];
    for change in wrong {
        assert!(matches!(made(change), Err(CallError::Setup { .. })));
    }
}

trait WrongKey {
    fn wrong_key(self) -> Self;
}

impl WrongKey for connect::Tls {
    fn wrong_key(mut self) -> Self {
        self.identity.as_mut().expect("an identity").key_pem = SecretText::new("-----BEGIN NOTHING-----");
        self
    }
}
