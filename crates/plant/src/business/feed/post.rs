//! One POST over HTTP/1.1, on a connection of its own.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::task::Task;

use super::outbox::Answered;
use super::target::Receiver;

/// How long one try may take.
const TRY_LIMIT: Duration = Duration::from_secs(10);
/// Longest answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Posts JSON with an idempotency key; what went wrong comes as a sentence.
pub(super) async fn post(receiver: &Receiver, path: &str, key: &str, body: Bytes) -> Result<Answered, String> {
    match tokio::time::timeout(TRY_LIMIT, send(receiver, path, key, body)).await {
        Ok(answered) => answered,
        Err(_) => Err(format!("no answer within {TRY_LIMIT:?}")),
    }
}

async fn send(receiver: &Receiver, path: &str, key: &str, body: Bytes) -> Result<Answered, String> {
    let stream = TcpStream::connect((receiver.host.as_str(), receiver.port))
        .await
        .map_err(|error| format!("no connection to {}: {error}", receiver.authority))?;
    let broken = |error: hyper::Error| format!("the connection to {} broke: {error}", receiver.authority);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream)).await.map_err(broken)?;
    // Ends with this call, answered or not.
    let _connection = Task::spawn(async {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the receiver ended");
        }
    });
    let request = Request::post(format!("{}{path}", receiver.prefix))
        .header(header::HOST, &receiver.authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .header("idempotency-key", key)
        .body(Body::from(body))
        .map_err(|error| format!("the request cannot be made: {error}"))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status().as_u16();
    let retry_after_s = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let answer = match to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX).await {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|_| match std::str::from_utf8(&bytes) {
            Ok("") | Err(_) => Value::Null,
            Ok(text) => Value::from(text),
        }),
        Err(_) => Value::Null, // the status is what counts
    };
    Ok(Answered { status, answer, retry_after_s })
}
