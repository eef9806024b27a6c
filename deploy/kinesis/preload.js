// Loaded before the stand-in of Kinesis (`node -r`). It reads a file of its own directory, wherever it is started; and it
// would listen on every interface: here nothing but this machine reaches it.
const net = require("net");
const path = require("path");

process.chdir(path.dirname(process.argv[1]));

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (place, ...more) {
  if (place !== null && typeof place === "object") {
    return listen.call(this, { ...place, host: "127.0.0.1" }, ...more);
  }
  const rest = typeof more[0] === "string" ? more.slice(1) : more;
  return listen.call(this, Number(place), "127.0.0.1", ...rest);
};
