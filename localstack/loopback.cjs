// Preloaded into kinesis-local, which by itself listens on every interface and survives a killed LocalStack.
"use strict";

const { Server } = require("node:net");

const listen = Server.prototype.listen;
const parent = process.ppid;

Server.prototype.listen = function (...options) {
  return listen.apply(this, options.map((option) => (option === "0.0.0.0" ? "127.0.0.1" : option)));
};

setInterval(() => process.ppid === parent || process.exit(1), 1000).unref();
