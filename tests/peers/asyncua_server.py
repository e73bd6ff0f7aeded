"""An OPC UA server by asyncua: COUNT variables that change for TICKS ticks of PERIOD_MS, then rest.

Variable i is i * 1e6 + tick. Prints "ready", and what it holds at the end as JSON.

usage: asyncua_server.py PORT COUNT PERIOD_MS TICKS
"""
import asyncio
import json
import logging
import sys

from asyncua import Server, ua

port, count, period_ms, ticks = (int(argument) for argument in sys.argv[1:5])
logging.basicConfig(level=logging.ERROR)


async def main():
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/peer")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    space = await server.register_namespace("urn:peer")
    folder = await server.nodes.objects.add_folder(ua.NodeId("Vars", space), "Vars")
    variables = []
    for i in range(count):
        variables.append(await folder.add_variable(ua.NodeId(f"v{i}", space), f"v{i}", float(i) * 1e6))
    async with server:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        loop = asyncio.get_running_loop()
        due = loop.time()
        for tick in range(1, ticks + 1):
            due += period_ms / 1000
            await asyncio.sleep(max(0, due - loop.time()))
            for i, variable in enumerate(variables):
                await variable.write_value(float(i) * 1e6 + tick)
        held = {f"v{i}": await variable.read_value() for i, variable in enumerate(variables)}
        print(json.dumps(held), flush=True)
        await asyncio.sleep(600)


asyncio.run(main())
