//! The few requests that a measured device knows, taken apart and answered (*Modbus Application
//! Protocol V1.1b3*, 6.3, 6.6 and 6.12; *Messaging on TCP/IP V1.0b*, 3.1).
//!
//! It knows holding registers only, which is all that `loadgen modbus --config` makes.

/// Bytes before the function: transaction, protocol, length, unit.
const HEADER_BYTES: usize = 7;
/// Longest frame that the protocol allows.
pub(crate) const FRAME_BYTES_MAX: usize = 260;
/// Most registers of one read.
const READ_MAX: u16 = 125;
const READ_HOLDING: u8 = 0x03;
const WRITE_ONE: u8 = 0x06;
const WRITE_SEVERAL: u8 = 0x10;
const ILLEGAL_FUNCTION: u8 = 0x01;
const ILLEGAL_ADDRESS: u8 = 0x02;

/// What a request was, for whoever counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// So many registers from an address.
    Read(u16, u16),
    /// One register or several.
    Write,
    /// Something that was refused.
    Other,
}

/// The registers of a device.
#[derive(Debug)]
pub(crate) struct Registers(pub(crate) Vec<u16>);

/// Takes the first whole request off `input` and puts its answer behind `out`; `Ok(None)` where there
/// is no whole one, an error where the bytes are no Modbus and the connection is to be closed.
pub(crate) fn answer(
    input: &mut &[u8],
    registers: &mut Registers,
    out: &mut Vec<u8>,
) -> Result<Option<Asked>, NoModbus> {
    let Some(header) = input.get(..HEADER_BYTES) else { return Ok(None) };
    let length = usize::from(word(header, 4));
    if word(header, 2) != 0 || !(2..=FRAME_BYTES_MAX - 6).contains(&length) {
        return Err(NoModbus);
    }
    let Some(frame) = input.get(..6 + length) else { return Ok(None) };
    *input = &input[6 + length..];
    let at = out.len();
    out.extend_from_slice(&frame[..HEADER_BYTES]);
    let pdu = &frame[HEADER_BYTES..];
    let asked = reply(pdu, registers, out);
    let asked = asked.unwrap_or_else(|code| {
        out.extend_from_slice(&[pdu[0] | 0x80, code]);
        Asked::Other
    });
    let length = (out.len() - at - 6) as u16;
    out[at + 4..at + 6].copy_from_slice(&length.to_be_bytes());
    Ok(Some(asked))
}

/// The bytes are no Modbus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoModbus;

fn reply(pdu: &[u8], registers: &mut Registers, out: &mut Vec<u8>) -> Result<Asked, u8> {
    let (address, second) = match pdu {
        [_, a, b, c, d, ..] => (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])),
        _ => return Err(ILLEGAL_FUNCTION),
    };
    let start = usize::from(address);
    match pdu[0] {
        READ_HOLDING => {
            let run = registers.0.get_mut(start..start + usize::from(second)).filter(|_| second <= READ_MAX);
            let run = run.filter(|run| !run.is_empty()).ok_or(ILLEGAL_ADDRESS)?;
            out.extend_from_slice(&[READ_HOLDING, (second * 2) as u8]);
            for register in run {
                out.extend_from_slice(&register.to_be_bytes());
                // A value that never changes would be a kinder job than plants give.
                *register = register.wrapping_add(1);
            }
            Ok(Asked::Read(address, second))
        }
        WRITE_ONE => {
            *registers.0.get_mut(start).ok_or(ILLEGAL_ADDRESS)? = second;
            out.extend_from_slice(&pdu[..5]);
            Ok(Asked::Write)
        }
        WRITE_SEVERAL => {
            let words = pdu.get(6..).unwrap_or_default().chunks_exact(2);
            let run = registers.0.get_mut(start..start + usize::from(second));
            let run = run.filter(|run| run.len() == words.len() && !run.is_empty()).ok_or(ILLEGAL_ADDRESS)?;
            run.iter_mut().zip(words).for_each(|(register, bytes)| *register = word(bytes, 0));
            out.extend_from_slice(&pdu[..5]);
            Ok(Asked::Write)
        }
        _ => Err(ILLEGAL_FUNCTION),
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(pdu: &[u8], registers: &mut Registers) -> (Asked, Vec<u8>) {
        let mut frame = vec![0x12, 0x34, 0, 0, 0, pdu.len() as u8 + 1, 9];
        frame.extend_from_slice(pdu);
        let (mut input, mut out) = (&frame[..], Vec::new());
        assert_eq!(answer(&mut &frame[..frame.len() - 1], registers, &mut out), Ok(None));
        let asked = answer(&mut input, registers, &mut out).expect("Modbus").expect("whole");
        assert!(input.is_empty());
        assert_eq!((&out[..4], usize::from(word(&out, 4)), out[6]), (&[0x12, 0x34, 0, 0][..], out.len() - 6, 9));
        (asked, out.split_off(7))
    }

    #[test]
    fn reads_count_up_and_writes_stay() {
        let mut registers = Registers(vec![0; 10]);
        assert_eq!(ask(&[6, 0, 9, 0x01, 0xFF], &mut registers), (Asked::Write, vec![6, 0, 9, 1, 0xFF]));
        let several = [0x10, 0, 0, 0, 2, 4, 0, 7, 0, 8];
        assert_eq!(ask(&several, &mut registers), (Asked::Write, several[..5].to_vec()));
        assert_eq!(ask(&[3, 0, 0, 0, 2], &mut registers), (Asked::Read(0, 2), vec![3, 4, 0, 7, 0, 8]));
        assert_eq!(ask(&[3, 0, 9, 0, 1], &mut registers).1, [3, 2, 1, 0xFF]);
        assert_eq!(ask(&[3, 0, 9, 0, 1], &mut registers).1, [3, 2, 2, 0]);
    }

    #[test]
    fn what_it_does_not_have_is_refused_and_no_modbus_ends_the_connection() {
        let mut registers = Registers(vec![0; 10]);
        for (pdu, code) in [
            (&[3, 0, 9, 0, 2][..], 2),
            (&[3, 0, 0, 0, 126], 2),
            (&[3, 0, 0, 0, 0], 2),
            (&[6, 0, 10, 0, 0], 2),
            (&[0x10, 0, 0, 0, 2, 2, 0, 1], 2),
            (&[4, 0, 0, 0, 1], 1),
            (&[3], 1),
        ] {
            assert_eq!(ask(pdu, &mut registers), (Asked::Other, vec![pdu[0] | 0x80, code]), "{pdu:?}");
        }
        for wrong in [[0, 0, 0, 1, 0, 6, 1, 3], [0, 0, 0, 0, 0xFF, 0xFF, 1, 3], [0, 0, 0, 0, 0, 1, 1, 3]] {
            assert_eq!(answer(&mut &wrong[..], &mut registers, &mut Vec::new()), Err(NoModbus));
        }
    }
}
