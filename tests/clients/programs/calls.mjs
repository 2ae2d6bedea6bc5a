// Calls of Node's own clients and of undici with pipelining: see tests/clients/routes.py.
import diagnostics from "node:diagnostics_channel";
import http from "node:http";
import net from "node:net";
import { Client } from "undici";

const { URL: base, KEY: key, TRACEPARENT: traceparent, CHAT: chat, UPLOAD: upload } = process.env;
const headers = { "api-key": key, traceparent, "content-type": "application/json" };
const asking = (content, more = {}) => JSON.stringify({ messages: [{ role: "user", content }], ...more });

function print(status, type, note, body) {
  console.log([status, type, note, Buffer.from(body).toString("base64")].join("\t"));
}

const uses = {
  async fetch() {
    const form = new FormData();
    form.set("file", new Blob([new Uint8Array(4 << 20).fill(7)]), "sound.mp3");
    const parts = async function* () {
      for (const part of [...asking("In chunks")]) yield Buffer.from(part);
    };
    const calls = [
      [chat, { body: asking("What is a trace? ✨") }],
      [chat, { body: asking("What is latency?", { stream: true }) }],
      [chat, { body: ReadableStream.from(parts()), duplex: "half" }],
      [upload, { body: form, headers: { "api-key": key, traceparent } }],
    ];
    for (const [path, more] of calls) {
      const response = await fetch(base + path, { method: "POST", headers, ...more });
      print(response.status, response.headers.get("content-type"), "", Buffer.from(await response.arrayBuffer()));
    }
  },
  // ten calls written to one connection before the first is answered; each gets the answer to its own prompt
  async pipelining() {
    const client = new Client(base, { pipelining: 10 });
    const may = { idempotent: true, blocking: false }; // else undici pipelines no POST
    let sent = 0;
    diagnostics.subscribe("undici:client:sendHeaders", () => sent++);
    const call = async (number) => {
      const body = asking(`Call ${number}`, number % 3 ? {} : { stream: true });
      const response = await client.request({ method: "POST", path: chat, headers, body, ...may });
      const sentBefore = sent;
      const bytes = Buffer.from(await response.body.arrayBuffer());
      return [response.statusCode, response.headers["content-type"], sentBefore, bytes];
    };
    for (const answer of await Promise.all(Array.from({ length: 10 }, (_, number) => call(number)))) print(...answer);
    await client.close();
  },
  async agent() {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (let number = 0; number < 3; number++) {
      await new Promise((done, failed) => {
        const request = http.request(base + chat, { method: "POST", agent, headers }, async (response) => {
          const body = Buffer.concat(await response.toArray());
          print(response.statusCode, response.headers["content-type"], request.reusedSocket, body);
          done();
        });
        request.on("error", failed);
        request.end(asking(`Call ${number}`));
      });
    }
    agent.destroy();
  },
  async http10() {
    for (const stream of [false, true]) {
      const { hostname, port } = new URL(base);
      const socket = net.connect(port, hostname);
      const body = asking("What is HTTP/1.0?", { stream });
      const given = { ...headers, "content-length": Buffer.byteLength(body) };
      const lines = Object.entries(given).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.write(`POST ${chat} HTTP/1.0\r\n${lines.join("")}\r\n${body}`);
      const answer = Buffer.concat(await socket.toArray()); // up to the close
      const end = answer.indexOf("\r\n\r\n");
      const [first, ...rest] = answer.subarray(0, end).toString("latin1").toLowerCase().split("\r\n");
      const type = rest.find((line) => line.startsWith("content-type: ")).slice("content-type: ".length);
      const chunked = rest.some((line) => line.startsWith("transfer-encoding:"));
      print(first.split(" ")[1], type, chunked ? "chunked" : "plain", answer.subarray(end + 4));
    }
  },
};

await uses[process.argv[2]]();
