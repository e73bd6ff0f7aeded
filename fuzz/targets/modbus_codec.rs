//! The Modbus client's splitter, codec and session take any bytes from a device.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, stream)) = bytes.split_first() else { return };
    modbus::codec::fuzz_stream(stream, usize::from(*cut).max(1));
    modbus::session::fuzz_answers(stream);
});
