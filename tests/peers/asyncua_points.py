"""An OPC UA server by asyncua with COUNT variables that anybody may write, and one that nobody may.

Variable p<i> is a Double, n<i> an Int16; `fixed` cannot be written. Prints "ready". For each line on
standard input it prints as JSON what it holds, and how many nodes each Write call had that wrote any
of it (OPC 10000-4, 5.11.4).

usage: asyncua_points.py PORT COUNT
"""
import asyncio
import json
import logging
import sys

from asyncua import Server, ua
from asyncua.server.internal_session import InternalSession

port, count = int(sys.argv[1]), int(sys.argv[2])
logging.basicConfig(level=logging.ERROR)
calls = []
write = InternalSession.write


async def counted(self, params):
    calls.append(len(params.NodesToWrite))
    return await write(self, params)


async def main():
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/peer")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    space = await server.register_namespace("urn:peer")
    folder = await server.nodes.objects.add_folder(ua.NodeId("Points", space), "Points")
    variables = {}
    for i in range(count):
        for name, value, kind in ((f"p{i}", 0.5, ua.VariantType.Double), (f"n{i}", 1, ua.VariantType.Int16)):
            variables[name] = await folder.add_variable(ua.NodeId(name, space), name, value, kind)
            await variables[name].set_writable()
    variables["fixed"] = await folder.add_variable(ua.NodeId("fixed", space), "fixed", 7.0)
    async with server:
        InternalSession.write = counted
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            held = {name: await variable.read_value() for name, variable in variables.items()}
            print(json.dumps({"held": held, "writes": calls}), flush=True)


asyncio.run(main())
