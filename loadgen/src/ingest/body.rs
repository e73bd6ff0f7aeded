//! A request that was written once and of which only the digits change: rendering costs the sender
//! a few nanoseconds a sample.
//!
//! Invariant: every value has five characters and every time nineteen, so that a request keeps its length.

use super::options::Format;
use crate::reading;
use std::io::Write as _;
use std::ops::Range;

/// Digits of a value, as it is first written.
const VALUE: &str = "20.00";
/// Digits of a time in nanoseconds, from 2001 to 2286.
const TIME: &str = "1000000000000000000";

/// Where a request goes.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    pub(super) host: String,
    pub(super) path: String,
    pub(super) format: Format,
    pub(super) prefix: String,
}

/// One request, head and body, for a run of a connection's tags.
pub(super) struct Request {
    bytes: Vec<u8>,
    /// Number of the first tag among all tags of all connections.
    first: usize,
    /// Where each sample's value and time stand: all tags of the run, and all again for each further round.
    places: Vec<(usize, usize)>,
    run: usize,
    rounds: u64,
}

impl Request {
    /// The request for `rounds` samples of each of these tags of a connection that has `tags` in all.
    pub(super) fn new(goal: &Goal, connection: usize, tags: usize, run: Range<usize>, rounds: usize) -> Request {
        let mut body = Vec::new();
        let mut places = Vec::with_capacity(run.len() * rounds);
        let first = connection * tags + run.start;
        let (between, around) = match goal.format {
            Format::Line => ("\n", ["", "\n"]),
            Format::Json => (",\n", ["[", "]"]),
        };
        body.extend_from_slice(around[0].as_bytes());
        for (i, tag) in (0..rounds).flat_map(|_| run.clone()).enumerate() {
            if i > 0 {
                body.extend_from_slice(between.as_bytes());
            }
            let (before, amid, after) = match goal.format {
                Format::Line => (format!("loadgen,c=c{connection},t=t{tag} v="), " ", ""),
                Format::Json => (
                    format!("{{\"tag\":\"{}/loadgen/c{connection}/t{tag}/v\",\"value\":", goal.prefix),
                    ",\"time\":",
                    "}",
                ),
            };
            body.extend_from_slice(before.as_bytes());
            let value_at = body.len();
            body.extend_from_slice(VALUE.as_bytes());
            body.extend_from_slice(amid.as_bytes());
            places.push((value_at, body.len()));
            body.extend_from_slice(TIME.as_bytes());
            body.extend_from_slice(after.as_bytes());
        }
        body.extend_from_slice(around[1].as_bytes());
        let kind = match goal.format {
            Format::Line => "text/plain; charset=utf-8",
            Format::Json => "application/json",
        };
        let mut bytes = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            goal.path,
            goal.host,
            body.len()
        )
        .into_bytes();
        let head = bytes.len();
        bytes.append(&mut body);
        places.iter_mut().for_each(|(value_at, time_at)| (*value_at, *time_at) = (*value_at + head, *time_at + head));
        Request { bytes, first, places, run: run.len(), rounds: 0 }
    }

    pub(super) fn samples(&self) -> u64 {
        self.places.len() as u64
    }

    /// Samples of each tag that were written so far.
    pub(super) fn rounds(&self) -> u64 {
        self.rounds
    }

    /// The request with the values of the next rounds, the first of which is at this time and the others
    /// each so much later.
    pub(super) fn write(&mut self, time_ns: i64, every_ns: i64) -> &[u8] {
        let mut time_ns = time_ns;
        let mut time = [0; TIME.len()];
        for round in self.places.chunks(self.run) {
            // A time outside of nineteen digits would be cut; the clock of no machine that runs this says one.
            let _ = write!(&mut time[..], "{time_ns:019}");
            for (i, (value_at, time_at)) in round.iter().enumerate() {
                let hundredths = reading::hundredths(self.first + i, self.rounds);
                digits(&mut self.bytes[*value_at..*value_at + VALUE.len()], hundredths);
                self.bytes[*time_at..*time_at + TIME.len()].copy_from_slice(&time);
            }
            self.rounds += 1;
            time_ns = time_ns.saturating_add(every_ns);
        }
        &self.bytes
    }
}

/// Writes `12.34`.
fn digits(place: &mut [u8], hundredths: u32) {
    let digit = |of: u32| b'0' + (of % 10) as u8;
    place.copy_from_slice(&[
        digit(hundredths / 1_000),
        digit(hundredths / 100),
        b'.',
        digit(hundredths / 10),
        digit(hundredths),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn goal(format: Format) -> Goal {
        Goal { host: "h:1".to_owned(), path: "/write?db=rig".to_owned(), format, prefix: "site/rig".to_owned() }
    }

    fn body(request: &[u8]) -> (String, String) {
        let text = String::from_utf8(request.to_vec()).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        (head.to_owned(), body.to_owned())
    }

    #[test]
    fn lines_have_the_values_of_their_round() {
        let mut request = Request::new(&goal(Format::Line), 1, 10, 3..5, 2);
        for call in 0..2 {
            let (head, body) = body(request.write(1_790_000_000_000_000_000 + 2 * call, 1));
            assert!(head.starts_with("POST /write?db=rig HTTP/1.1\r\nHost: h:1\r\n"), "{head}");
            let line = |round: u64, tag: usize| {
                let value = reading::value(tag, round);
                format!("loadgen,c=c1,t=t{} v={value:.2} 179000000000000000{round}\n", tag - 10)
            };
            let first = 2 * call as u64;
            let lines = [(first, 13), (first, 14), (first + 1, 13), (first + 1, 14)];
            assert_eq!(body, lines.map(|(round, tag)| line(round, tag)).concat());
        }
        assert_eq!((request.samples(), request.rounds()), (4, 4));
    }

    #[test]
    fn json_is_an_array_with_the_same_values() {
        let mut request = Request::new(&goal(Format::Json), 0, 10, 0..10, 1);
        let (_, body) = body(request.write(1_790_000_000_000_000_000, 0));
        let samples: Vec<Value> = serde_json::from_str(&body).expect("JSON");
        assert_eq!(samples.len(), 10);
        assert_eq!(samples[7]["tag"], "site/rig/loadgen/c0/t7/v");
        assert_eq!(samples[7]["value"].as_f64(), Some(reading::value(7, 0)));
        assert_eq!(samples[7]["time"], 1_790_000_000_000_000_000_i64);
    }
}
