// Reads 480 blocks of 125 holding registers in turn with npm's modbus-serial, until it is ended.
"use strict";

const ModbusRTU = require("modbus-serial");

const BLOCKS = 480;
const REGISTERS = 125;
const TRIES = 600;

async function connect(host, port) {
    for (let n = 0; ; n += 1) {
        const client = new ModbusRTU();
        try {
            await client.connectTCP(host, { port });
            client.setID(1);
            return client;
        } catch (error) {
            if (n >= TRIES) throw error;
            await new Promise((resolve) => setTimeout(resolve, 50));
        }
    }
}

async function main(host, port) {
    const client = await connect(host, port);
    for (;;) {
        for (let block = 0; block < BLOCKS; block += 1) {
            await client.readHoldingRegisters(block * REGISTERS, REGISTERS);
        }
    }
}

main(process.argv[2], Number(process.argv[3])).catch((error) => {
    console.error(error.message);
    process.exit(1);
});
