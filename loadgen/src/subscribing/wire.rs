//! What a server sends over an unsecured OPC UA connection, as far as it is measured: the answers to
//! CreateMonitoredItems and Publish (OPC 10000-6, 5.2 and 6.7; OPC 10000-4, 5.13.2 and 5.14.5).
//!
//! Invariants
//! - Nothing is taken for granted of the bytes: what does not fit is no message, and ends the reading
//!   of its connection.
//! - What is kept of unfinished messages is bounded by [`MESSAGE_BYTES_MAX`].

use std::collections::HashMap;

/// Longest chunk, and longest message of several.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Messages of several chunks that may be unfinished at once.
const UNFINISHED_MAX: usize = 64;
/// Type, whether it is the last chunk, length.
const CHUNK_HEAD_BYTES: usize = 8;
/// Secure channel, token, sequence number, request.
const SEQUENCE_HEAD_BYTES: usize = 16;
/// Encodings of OPC UA's own namespace, by number (OPC 10000-6, A.3).
const CREATE_MONITORED_ITEMS_RESPONSE: u32 = 754;
const PUBLISH_RESPONSE: u32 = 829;
const DATA_CHANGE_NOTIFICATION: u32 = 811;
/// The overflow bit of a status (OPC 10000-4, 7.39.1).
const OVERFLOW: u32 = 0x80;
/// Severity Bad.
const BAD: u32 = 0x8000_0000;
/// 1970-01-01 in ticks of 100 ns since 1601-01-01.
const UNIX_EPOCH_TICKS: i64 = 116_444_736_000_000_000;

/// The bytes are not what they should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Garbled;

/// One value of a notification.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Change {
    /// Its value, where it is a Double.
    pub(crate) value: Option<f64>,
    /// The server lost values before this one.
    pub(crate) has_overflowed: bool,
    /// When the device says it was, nanoseconds since 1970.
    pub(crate) source_ns: Option<i64>,
}

/// What was in a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    /// Monitored items were made: so many, and so many refused.
    Created {
        /// With a status that is not Bad.
        good: usize,
        /// The others.
        bad: usize,
    },
    /// Values.
    Notified(Vec<Change>),
}

/// Reads one direction of one connection.
#[derive(Default)]
pub(crate) struct Framer {
    kept: Vec<u8>,
    unfinished: HashMap<u32, Vec<u8>>,
}

impl Framer {
    /// Takes what came, and tells of every message in it that is whole.
    pub(crate) fn take(&mut self, bytes: &[u8], mut on: impl FnMut(Seen)) -> Result<(), Garbled> {
        self.kept.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(head) = self.kept.get(start..start + CHUNK_HEAD_BYTES) {
            let length = Reader(&head[4..]).u32()? as usize;
            if !(CHUNK_HEAD_BYTES..=MESSAGE_BYTES_MAX).contains(&length) {
                return Err(Garbled);
            }
            let Some(chunk) = self.kept.get(start..start + length) else { break };
            if chunk.starts_with(b"MSG") {
                let (last, mut rest) = (chunk[3], Reader(&chunk[CHUNK_HEAD_BYTES..]));
                rest.skip(SEQUENCE_HEAD_BYTES - 4)?;
                let request = rest.u32()?;
                match (last, self.unfinished.remove(&request)) {
                    (b'F', None) => message(rest, &mut on)?,
                    (b'F', Some(mut all)) => {
                        all.extend_from_slice(rest.0);
                        message(Reader(&all), &mut on)?;
                    }
                    (b'C', all) => {
                        let mut all = all.unwrap_or_default();
                        all.extend_from_slice(rest.0);
                        if all.len() > MESSAGE_BYTES_MAX || self.unfinished.len() >= UNFINISHED_MAX {
                            return Err(Garbled);
                        }
                        self.unfinished.insert(request, all);
                    }
                    // given up by the server
                    _ => {}
                }
            }
            start += length;
        }
        self.kept.drain(..start);
        Ok(())
    }
}

/// One whole message: its type, its header, and what is measured of it.
fn message(mut body: Reader, on: &mut impl FnMut(Seen)) -> Result<(), Garbled> {
    let kind = body.node_id()?;
    if kind != Some(CREATE_MONITORED_ITEMS_RESPONSE) && kind != Some(PUBLISH_RESPONSE) {
        return Ok(());
    }
    // time, handle, result; then diagnostics, which nobody asked for, names and an additional header
    body.skip(12)?;
    let result = body.u32()?;
    if result & BAD != 0 || body.u8()? != 0 {
        return Ok(());
    }
    for _ in 0..body.length()? {
        body.bytes()?;
    }
    body.node_id()?;
    if body.u8()? != 0 {
        body.bytes()?;
    }
    if kind == Some(CREATE_MONITORED_ITEMS_RESPONSE) {
        return created(body).map(on);
    }
    // subscription, numbers that are available, more notifications, number, time
    body.skip(4)?;
    let available = body.length()?;
    body.skip(available.checked_mul(4).ok_or(Garbled)?)?;
    body.skip(13)?;
    let mut changes = Vec::new();
    for _ in 0..body.length()? {
        let kind = body.node_id()?;
        if body.u8()? == 0 {
            continue;
        }
        let inner = Reader(body.bytes()?);
        if kind == Some(DATA_CHANGE_NOTIFICATION) {
            data_changes(inner, &mut changes)?;
        }
    }
    if !changes.is_empty() {
        on(Seen::Notified(changes));
    }
    Ok(())
}

fn created(mut body: Reader) -> Result<Seen, Garbled> {
    let (mut good, mut bad) = (0, 0);
    for _ in 0..body.length()? {
        *(if body.u32()? & BAD == 0 { &mut good } else { &mut bad }) += 1;
        // id, sampling interval, queue size, filter's result
        body.skip(16)?;
        body.node_id()?;
        if body.u8()? != 0 {
            body.bytes()?;
        }
    }
    Ok(Seen::Created { good, bad })
}

fn data_changes(mut body: Reader, into: &mut Vec<Change>) -> Result<(), Garbled> {
    for _ in 0..body.length()? {
        body.skip(4)?;
        let has = body.u8()?;
        let value = if has & 0x01 != 0 { body.variant()? } else { None };
        let status = if has & 0x02 != 0 { body.u32()? } else { 0 };
        let source = if has & 0x04 != 0 { Some(body.i64()?) } else { None };
        body.skip(if has & 0x10 != 0 { 2 } else { 0 })?;
        body.skip(if has & 0x08 != 0 { 8 } else { 0 })?;
        body.skip(if has & 0x20 != 0 { 2 } else { 0 })?;
        let source_ns = source.and_then(|ticks| ticks.checked_sub(UNIX_EPOCH_TICKS)?.checked_mul(100));
        into.push(Change { value, has_overflowed: status & OVERFLOW != 0, source_ns });
    }
    Ok(())
}

/// Reads from the front of some bytes.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn part(&mut self, count: usize) -> Result<&'a [u8], Garbled> {
        let (part, rest) = self.0.split_at_checked(count).ok_or(Garbled)?;
        self.0 = rest;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Garbled> {
        self.part(N)?.try_into().map_err(|_| Garbled)
    }

    fn skip(&mut self, count: usize) -> Result<(), Garbled> {
        self.part(count).map(|_| ())
    }

    fn u8(&mut self) -> Result<u8, Garbled> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, Garbled> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Garbled> {
        self.array().map(u32::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, Garbled> {
        self.array().map(i64::from_le_bytes)
    }

    /// The length of an array; that of none is -1.
    fn length(&mut self) -> Result<usize, Garbled> {
        Ok(usize::try_from(self.array().map(i32::from_le_bytes)?).unwrap_or(0))
    }

    /// A string or byte string.
    fn bytes(&mut self) -> Result<&'a [u8], Garbled> {
        let length = self.length()?;
        self.part(length)
    }

    /// The number of a node of OPC UA's own namespace; `None` for any other.
    fn node_id(&mut self) -> Result<Option<u32>, Garbled> {
        match self.u8()? {
            0x00 => Ok(Some(u32::from(self.u8()?))),
            0x01 => {
                let (namespace, number) = (self.u8()?, self.u16()?);
                Ok((namespace == 0).then_some(u32::from(number)))
            }
            0x02 => {
                let (namespace, number) = (self.u16()?, self.u32()?);
                Ok((namespace == 0).then_some(number))
            }
            0x03 | 0x05 => {
                self.skip(2)?;
                self.bytes()?;
                Ok(None)
            }
            0x04 => self.skip(2 + 16).map(|()| None),
            _ => Err(Garbled),
        }
    }

    /// A scalar; its value if it is a Double.
    fn variant(&mut self) -> Result<Option<f64>, Garbled> {
        match self.u8()? {
            11 => Ok(Some(f64::from_le_bytes(self.array()?))),
            0 => Ok(None),
            1..=3 => self.skip(1).map(|()| None),
            4 | 5 => self.skip(2).map(|()| None),
            6 | 7 | 10 | 19 => self.skip(4).map(|()| None),
            8 | 9 | 13 => self.skip(8).map(|()| None),
            12 | 15 | 16 => self.bytes().map(|_| None),
            _ => Err(Garbled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk of a message for a request.
    fn chunk(last: u8, request: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = b"MSG".to_vec();
        bytes.push(last);
        bytes.extend((24 + body.len() as u32).to_le_bytes());
        for word in [1, 1, 1, request] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(body);
        bytes
    }

    /// Type and header of a good answer.
    fn head(kind: u16) -> Vec<u8> {
        let mut body = vec![1, 0];
        body.extend(kind.to_le_bytes());
        body.extend([0; 8 + 4 + 4 + 1]);
        body.extend((-1_i32).to_le_bytes());
        body.extend([0, 0, 0]);
        body
    }

    fn publish(values: &[(f64, u32)]) -> Vec<u8> {
        let mut changes = (values.len() as i32).to_le_bytes().to_vec();
        for (value, status) in values {
            changes.extend([9, 0, 0, 0, 0x0F, 11]);
            changes.extend(value.to_le_bytes());
            changes.extend(status.to_le_bytes());
            changes.extend((UNIX_EPOCH_TICKS + 5).to_le_bytes());
            changes.extend([0; 8]);
        }
        changes.extend((-1_i32).to_le_bytes());
        let mut body = head(829);
        body.extend([7, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        body.extend([1, 0, 0, 0, 1, 0, 43, 3, 1]);
        body.extend((changes.len() as i32).to_le_bytes());
        body.extend(changes);
        body.extend([0xFF; 8]);
        body
    }

    fn all(framer: &mut Framer, bytes: &[u8]) -> Result<Vec<Seen>, Garbled> {
        let mut seen = Vec::new();
        framer.take(bytes, |one| seen.push(one)).map(|()| seen)
    }

    #[test]
    fn values_are_told_whatever_the_pieces_they_come_in() {
        let body = publish(&[(4.5, 0), (6.5, 0x480)]);
        let mut bytes = b"ACKF\x0c\0\0\0abcd".to_vec();
        bytes.extend(chunk(b'C', 3, &body[..20]));
        bytes.extend(chunk(b'F', 4, &head(634)));
        bytes.extend(chunk(b'F', 3, &body[20..]));
        let change = |value: f64, has_overflowed| Change { value: Some(value), has_overflowed, source_ns: Some(500) };
        let wanted = Seen::Notified(vec![change(4.5, false), change(6.5, true)]);
        for size in [1, 7, bytes.len()] {
            let mut framer = Framer::default();
            let seen: Vec<Seen> = bytes.chunks(size).flat_map(|part| all(&mut framer, part).expect("sound")).collect();
            assert_eq!(seen, std::slice::from_ref(&wanted), "{size}");
            assert!(framer.kept.is_empty() && framer.unfinished.is_empty());
        }
    }

    #[test]
    fn items_that_were_made_and_refused_are_told_apart() {
        let mut body = head(754);
        body.extend(3_i32.to_le_bytes());
        for status in [0, 0x8034_0000_u32, 0] {
            body.extend(status.to_le_bytes());
            body.extend([0; 16 + 3]);
        }
        let seen = all(&mut Framer::default(), &chunk(b'F', 1, &body)).expect("sound");
        assert_eq!(seen, [Seen::Created { good: 2, bad: 1 }]);
    }

    #[test]
    fn what_does_not_fit_ends_the_reading() {
        assert_eq!(all(&mut Framer::default(), b"MSGF\x01\0\0\0"), Err(Garbled));
        let body = publish(&[(4.5, 0)]);
        for cut in 1..body.len() - 8 {
            // A message that was cut short never becomes values.
            assert!(all(&mut Framer::default(), &chunk(b'F', 1, &body[..cut])).is_err(), "{cut}");
        }
    }
}
