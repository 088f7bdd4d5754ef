// Loaded before kinesis-local, which would listen on all interfaces: keeps every server on this machine.
const { Server } = require("node:net");

const listen = Server.prototype.listen;
Server.prototype.listen = function (first, ...rest) {
  if (first !== null && typeof first === "object") {
    return listen.call(this, { ...first, host: "127.0.0.1" }, ...rest);
  }
  return listen.call(this, { port: first, host: "127.0.0.1" }, rest.find((each) => typeof each === "function"));
};
