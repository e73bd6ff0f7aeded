// An OPC UA server by node-opcua: COUNT variables that change for TICKS ticks of PERIOD_MS, then rest.
// Variable i is i * 1e6 + tick. Prints "ready", and what it holds at the end as JSON.
// usage: node node_opcua_server.js MODULES PORT COUNT PERIOD_MS TICKS PKI
const path = require("path");
const [modules, port, count, period, ticks, pki] = process.argv.slice(2);
const { OPCUAServer, OPCUACertificateManager, Variant, DataType, StatusCodes, MessageSecurityMode, SecurityPolicy } =
  require(path.join(modules, "node-opcua"));

async function main() {
  const server = new OPCUAServer({
    port: Number(port),
    host: "127.0.0.1",
    resourcePath: "/peer",
    serverCertificateManager: new OPCUACertificateManager({ rootFolder: pki }),
    securityModes: [MessageSecurityMode.None],
    securityPolicies: [SecurityPolicy.None],
    allowAnonymous: true,
  });
  await server.initialize();
  const space = server.engine.addressSpace.registerNamespace("urn:peer");
  const folder = space.addFolder("ObjectsFolder", { browseName: "Vars", nodeId: "s=Vars" });
  const variables = [];
  for (let i = 0; i < Number(count); i++) {
    const variable = space.addVariable({
      componentOf: folder,
      browseName: `v${i}`,
      nodeId: `s=v${i}`,
      dataType: "Double",
      minimumSamplingInterval: 10,
    });
    variable.setValueFromSource({ dataType: DataType.Double, value: i * 1e6 });
    variables.push(variable);
  }
  await server.start();
  console.log("ready");
  await new Promise((go) => process.stdin.once("data", go));
  let tick = 0;
  const timer = setInterval(() => {
    tick++;
    variables.forEach((variable, i) => {
      variable.setValueFromSource({ dataType: DataType.Double, value: i * 1e6 + tick }, StatusCodes.Good);
    });
    if (tick >= Number(ticks)) {
      clearInterval(timer);
      const held = Object.fromEntries(variables.map((variable, i) => [`v${i}`, variable.readValue().value.value]));
      console.log(JSON.stringify(held));
    }
  }, Number(period));
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
