"""Reads 480 blocks of 125 holding registers in turn with pymodbus, until it is ended."""

import asyncio
import sys

from pymodbus.client import AsyncModbusTcpClient

BLOCKS = 480
REGISTERS = 125
TRIES = 600


async def main(host, port):
    client = AsyncModbusTcpClient(host, port=port)
    for _ in range(TRIES):
        if await client.connect():
            break
        await asyncio.sleep(0.05)
    while True:
        for block in range(BLOCKS):
            answer = await client.read_holding_registers(block * REGISTERS, count=REGISTERS, device_id=1)
            if answer.isError():
                sys.exit(f"the device answered {answer}")


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
