// @grpc/grpc-js behind lines of JSON: echo_node.py asks, one line a request, and reads one line for each.
//
// node client.mjs ADDRESS [DIRECTORY OF CERTIFICATES]; the package is found by PERSIA_NODE_MODULES.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import readline from "node:readline";

const require = createRequire(path.join(process.env.PERSIA_NODE_MODULES, "of"));
const grpc = require("@grpc/grpc-js");

const [address, certificates] = process.argv.slice(2);
const read = (name) => fs.readFileSync(path.join(certificates, name));
const credentials = certificates
  ? grpc.credentials.createSsl(read("ca.pem"), read("client-key.pem"), read("client.pem"))
  : grpc.credentials.createInsecure();
const unlimited = { "grpc.max_send_message_length": -1, "grpc.max_receive_message_length": -1 };
const GZIP = 2;
const plain = new grpc.Client(address, credentials, unlimited);
const packed = new grpc.Client(address, credentials, { ...unlimited, "grpc.default_compression_algorithm": GZIP });
const same = (bytes) => bytes;
const begun = new Map();

function say(id, line) {
  process.stdout.write(JSON.stringify({ id, ...line }) + "\n");
}

function toMetadata(entries) {
  const metadata = new grpc.Metadata();
  for (const [key, text, bytes] of entries) metadata.set(key, bytes ? Buffer.from(bytes, "base64") : text);
  return metadata;
}

function fromMetadata(metadata) {
  return Object.entries(metadata.getMap()).map(([key, value]) =>
    Buffer.isBuffer(value) ? [key, "", value.toString("base64")] : [key, value, ""],
  );
}

function ask({ id, path, message, size, metadata, seconds, gzip }) {
  const request = size === undefined ? Buffer.from(message, "base64") : payload(size);
  const client = gzip ? packed : plain;
  const options = { deadline: Date.now() + seconds * 1000 };
  const messages = [];
  // A unary answer is read as a stream of one: what ends it is told alike.
  const call = client.makeServerStreamRequest(path, same, same, request, toMetadata(metadata), options);
  begun.set(id, call);
  call.on("data", (bytes) => messages.push(bytes));
  call.on("error", () => {}); // "status" says it
  call.on("status", ({ code, details, metadata }) => {
    begun.delete(id);
    const trailers = fromMetadata(metadata);
    if (code !== grpc.status.OK) say(id, { code, details, trailers });
    else if (size !== undefined) say(id, { code, trailers, same: messages.length === 1 && messages[0].equals(request) });
    else say(id, { code, trailers, messages: messages.map((bytes) => bytes.toString("base64")) });
  });
}

// As echo_clients.payload().
function payload(size) {
  const bytes = Buffer.alloc(size + 3);
  for (let at = 0; at < size; at += 4) bytes.writeUInt32BE(at / 4, at);
  return bytes.subarray(0, size);
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const request = JSON.parse(line);
  if (request.cancel) begun.get(request.id)?.cancel();
  else ask(request);
}).on("close", () => process.exit(0));
