"""A Modbus TCP server by pymodbus. Prints what it holds, decoded by Python's struct, as JSON.

usage: pymodbus_server.py PORT SEED
"""
import asyncio
import json
import random
import struct
import sys

from pymodbus.server import StartAsyncTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

port, seed = int(sys.argv[1]), int(sys.argv[2])
rng = random.Random(seed)
registers = [rng.randrange(65536) for _ in range(400)]
bits = [rng.random() < 0.5 for _ in range(64)]
held = {}


def put(at, order, raw):
    """Big-endian bytes into registers, in one of the four orders of bytes and words."""
    words = [raw[i : i + 2] for i in range(0, len(raw), 2)]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    for i, word in enumerate(words):
        registers[at + i] = int.from_bytes(word, "big")


at = 0
for order in ("ABCD", "CDAB", "BADC", "DCBA"):
    for kind, code, value in (
        ("f32", ">f", rng.uniform(-1e6, 1e6)),
        ("u32", ">I", rng.randrange(2**32)),
        ("i32", ">i", rng.randrange(-(2**31), 2**31)),
        ("f64", ">d", rng.uniform(-1e12, 1e12)),
        ("u64", ">Q", rng.randrange(2**53)),
        ("i64", ">q", rng.randrange(-(2**53), 2**53)),
    ):
        raw = struct.pack(code, value)
        put(at, order, raw)
        held[f"{kind}_{order}"] = {"at": f"holding:{at}", "type": kind, "order": order, "value": struct.unpack(code, raw)[0]}
        at += len(raw) // 2
for i in range(at, at + 40):
    held[f"u16_{i}"] = {"at": f"holding:{i}", "type": "u16", "value": registers[i]}
    signed = registers[i] - 65536 if registers[i] > 32767 else registers[i]
    held[f"i16_{i}"] = {"at": f"holding:{i}", "type": "i16", "value": signed}
for bit in range(16):
    held[f"bit_{bit}"] = {"at": f"holding:300.{bit}", "type": "bool", "value": bool(registers[300] >> bit & 1)}
for i in range(32):
    held[f"coil_{i}"] = {"at": f"coil:{i}", "type": "bool", "value": bits[i]}


async def main():
    device = SimDevice(
        1,
        simdata=(
            [SimData(0, values=bits, datatype=DataType.BITS)],
            [SimData(0, values=bits, datatype=DataType.BITS)],
            [SimData(0, values=registers, datatype=DataType.REGISTERS)],
            [SimData(0, values=registers, datatype=DataType.REGISTERS)],
        ),
    )
    print(json.dumps(held), flush=True)
    await StartAsyncTcpServer(device, address=("127.0.0.1", port))


asyncio.run(main())
