//! Reading samples back over HTTP, page by page, from a server that may be starting.

use crate::Failure;
use client::TimestampNs;
use serde_json::Value;
use std::thread;
use std::time::{Duration, Instant};
use ureq::Agent;

/// Samples in one page.
const PAGE_SAMPLES: usize = 10_000;
/// Bytes of one page at most: some hundred a sample.
const PAGE_BYTES_MAX: u64 = 64 << 20;
/// Pause before a failed request is made again.
const PAUSE: Duration = Duration::from_millis(200);

/// Reads `/v1/samples`.
pub(crate) struct Reader {
    agent: Agent,
    base: String,
    patience: Duration,
}

impl Reader {
    /// `base` is the server's HTTP address, with or without `http://`.
    pub(crate) fn new(base: &str, patience: Duration) -> Reader {
        let config =
            Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).http_status_as_error(false).build();
        let base = base.trim_end_matches('/');
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        Reader { agent: config.into(), base, patience }
    }

    /// Hands over every sample of a tag with a server time in `[from, to)`, in the server's order;
    /// answers how many gaps the server reports.
    pub(crate) fn samples(
        &self,
        tag: &str,
        from: TimestampNs,
        to: TimestampNs,
        mut on: impl FnMut(&Value),
    ) -> Result<u64, Failure> {
        let mut after = String::new();
        let mut gaps = 0;
        loop {
            let tag = encode(tag);
            let url = format!("{}/v1/samples?tag={tag}&from={from}&to={to}&limit={PAGE_SAMPLES}{after}", self.base);
            let page = self.get(&url)?;
            let samples = page["samples"].as_array().ok_or_else(|| {
                Failure::Failed(format!("{url} answered something else than samples: {}", short(&page)))
            })?;
            samples.iter().for_each(&mut on);
            gaps = gaps.max(page["gaps"].as_array().map_or(0, Vec::len) as u64);
            match &page["next"] {
                Value::String(next) if !samples.is_empty() => after = format!("&after={}", encode(next)),
                _ => return Ok(gaps),
            }
        }
    }

    /// The answer to a path, whatever it holds.
    pub(crate) fn json(&self, path: &str) -> Result<Value, Failure> {
        self.get(&format!("{}{path}", self.base))
    }

    /// One answer; a server that is away, starting or busy is asked again for as long as patience lasts.
    fn get(&self, url: &str) -> Result<Value, Failure> {
        let until = Instant::now() + self.patience;
        loop {
            let why = match self.agent.get(url).call() {
                Ok(mut answer) => {
                    let status = answer.status().as_u16();
                    let body = answer.body_mut().with_config().limit(PAGE_BYTES_MAX).read_json::<Value>();
                    match (status, body) {
                        (200, Ok(value)) => return Ok(value),
                        (200, Err(error)) => error.to_string(),
                        (429 | 500..=599, body) => {
                            format!("status {status}: {}", body.map(|b| short(&b)).unwrap_or_default())
                        }
                        (_, body) => {
                            let body = body.map(|b| short(&b)).unwrap_or_default();
                            return Err(Failure::Failed(format!("{url} answered {status}: {body}")));
                        }
                    }
                }
                Err(error) => error.to_string(),
            };
            if Instant::now() >= until {
                let patience = self.patience;
                return Err(Failure::Failed(format!("{url} did not answer within {patience:?}: {why}")));
            }
            thread::sleep(PAUSE);
        }
    }
}

/// As much of an answer as belongs into a message.
fn short(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}

/// Percent-encodes what may not stand in a query (RFC 3986, 3.4).
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn pages_are_read_to_the_end_and_a_starting_server_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free");
        let base = listener.local_addr().expect("bound").to_string();
        let server = thread::spawn(move || {
            let answers = [
                (503, r#"{"title":"starting"}"#),
                (200, r#"{"samples":[{"value":1},{"value":2}],"gaps":[{}],"next":"5.2"}"#),
                (200, r#"{"samples":[{"value":3}],"gaps":[],"next":null}"#),
            ];
            let mut asked = Vec::new();
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().expect("asked");
                let mut request = [0; 2_000];
                let count = stream.read(&mut request).expect("a request");
                asked.push(String::from_utf8_lossy(&request[..count]).lines().next().unwrap_or("").to_owned());
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
                     connection: close\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).expect("answered");
            }
            asked
        });
        let reader = Reader::new(&base, Duration::from_secs(10));
        let mut values = Vec::new();
        let gaps = reader
            .samples("a/ü", TimestampNs(0), TimestampNs(1), |sample| values.push(sample["value"].as_i64()))
            .expect("read");
        assert_eq!((gaps, values), (1, vec![Some(1), Some(2), Some(3)]));
        let asked = server.join().expect("served");
        assert!(asked[1].contains("tag=a/%C3%BC&from=1970-01-01T00:00:00.000000000Z"), "{asked:?}");
        assert!(asked[2].contains("&after=5.2 "), "{asked:?}");
    }
}
