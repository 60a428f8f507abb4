// DOC.SUBMIT and its peers under one load, in one run.
//
//   STOA_MODULE=…/libstoa.so STOA_DATA=… npm start
//
// Two questions. How many submits a second can fifty people make to one document, each waiting for the answer before the
// next one, and what does each submit cost the server's processor? And what does a recorded stream cost that a server
// received from 10 or 50 people at once? Servers run in processes of their own; sides take turns, medians are shown,
// ratios are taken within a round.
import { spawn, fork } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import ot from "ot";
import { type as text } from "ot-text";
import ShareDB from "sharedb/lib/client/index.js";
import WebSocket from "ws";

ShareDB.types.register(text);

const WRITERS = 50;
const ROUNDS = Number(process.env.ROUNDS ?? 3);
const SECONDS = Number(process.env.SECONDS ?? 3);
const KEY = "stoa:{bench}:doc:main";
const here = dirname(fileURLToPath(import.meta.url));

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

// Processor time of a whole process in seconds: /proc counts it in hundredths.
function cpu(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

// A connection to Redis that may have many commands on their way.
class Line {
  constructor(port) {
    this.waiting = [];
    this.bytes = Buffer.alloc(0);
    this.socket = connect(port, "127.0.0.1");
    this.socket.setNoDelay(true);
    this.ready = new Promise((resolve, reject) => this.socket.on("connect", resolve).on("error", reject));
    this.socket.on("data", (bytes) => {
      this.bytes = this.bytes.length === 0 ? bytes : Buffer.concat([this.bytes, bytes]);
      let at = 0;
      for (let read; this.waiting.length > 0 && (read = parse(this.bytes, at)) !== undefined; at = read.end) this.waiting.shift()(read.reply);
      this.bytes = this.bytes.subarray(at);
    });
  }

  call(...words) {
    this.socket.write(encode(words));
    return new Promise((resolve, reject) => this.waiting.push((reply) => (reply instanceof Error ? reject(reply) : resolve(reply))));
  }
}

const encode = (words) => `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`).join("")}`;

// One RESP2 reply; undefined while a part of it is missing.
function parse(bytes, at) {
  const line = bytes.indexOf("\r\n", at);
  if (line < 0) return undefined;
  const kind = bytes[at];
  const rest = bytes.toString("latin1", at + 1, line);
  let end = line + 2;
  if (kind === 45) return { reply: new Error(rest), end };
  if (kind === 43) return { reply: rest, end };
  const count = Number(rest);
  if (kind === 58) return { reply: count, end };
  if (kind === 36) {
    if (count < 0) return { reply: null, end };
    return bytes.length < end + count + 2 ? undefined : { reply: bytes.toString("utf8", end, end + count), end: end + count + 2 };
  }
  const items = [];
  for (let i = 0; i < count; i++) {
    const item = parse(bytes, end);
    if (item === undefined) return undefined;
    items.push(item.reply);
    end = item.end;
  }
  return { reply: items, end };
}

const field = (reply, name) => reply[reply.indexOf(name) + 1];

async function startRedis() {
  const module = process.env.STOA_MODULE;
  if (module === undefined) throw new Error("STOA_MODULE has to name libstoa.so, built with --release");
  const probe = createServer();
  await new Promise((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  const directory = mkdtempSync(join(tmpdir(), "stoa-peers-"));
  const server = process.env.STOA_REDIS_SERVER ?? "redis-server";
  const child = spawn(server, ["--port", port, "--bind", "127.0.0.1", "--dir", directory, "--save", "", "--loadmodule", module], { stdio: "ignore" });
  const stop = () => {
    child.kill("SIGKILL");
    rmSync(directory, { recursive: true, force: true });
  };
  process.on("exit", stop);
  for (let tries = 0; ; tries++) {
    const line = new Line(port);
    if (await line.ready.then(() => line.call("PING")).then((pong) => pong === "PONG", () => false)) return { line, port, pid: child.pid };
    if (tries > 100) throw new Error("Redis does not start");
    await sleep(50);
  }
}

async function startShareDb() {
  const child = fork(join(here, "sharedb-server.mjs"));
  process.on("exit", () => child.kill("SIGKILL"));
  const { port } = await new Promise((resolve) => child.once("message", resolve));
  return { port, pid: child.pid };
}

// Replaces one letter somewhere: the text keeps its length, however long the round is.
const place = (length) => 1 + Math.floor(Math.random() * length * 0.9);

// Runs writers for a while and counts: one entry per submit that was answered, in milliseconds. A writer is a function that
// submits and calls back; the next submit follows at once.
async function measure(pid, writers) {
  const end = performance.now() + SECONDS * 1000;
  const [before, start] = [cpu(pid), performance.now()];
  const delays = [];
  await Promise.all(
    writers.map(
      (submit) =>
        new Promise((resolve, reject) => {
          let sent = 0;
          const next = (error) => {
            if (error) return reject(error);
            const now = performance.now();
            if (sent > 0) delays.push(now - sent);
            if (now >= end) return resolve();
            sent = now;
            submit(next);
          };
          next();
        }),
    ),
  );
  return { perSecond: delays.length / ((performance.now() - start) / 1000), cpuUs: ((cpu(pid) - before) / delays.length) * 1e6, p50: median(delays) };
}

// Where a RESP2 reply ends, without making anything of it; -1 while a part of it is missing.
function skip(bytes, at) {
  const line = bytes.indexOf(13, at);
  if (line < 0 || line + 2 > bytes.length) return -1;
  const kind = bytes[at];
  if (kind === 43 || kind === 45 || kind === 58) return line + 2;
  let count = 0;
  if (bytes[at + 1] === 45) return line + 2;
  for (let i = at + 1; i < line; i++) count = count * 10 + bytes[i] - 48;
  let end = line + 2;
  if (kind === 36) return bytes.length < end + count + 2 ? -1 : end + count + 2;
  for (let i = 0; i < count && end >= 0; i++) end = skip(bytes, end);
  return end;
}

async function stoaWriters(redis, length) {
  await redis.line.call("DEL", KEY);
  await redis.line.call("DOC.CREATE", KEY, "text", "lorem ipsum ".repeat(length / 12));
  const sockets = Array.from({ length: WRITERS }, () => connect(redis.port, "127.0.0.1").setNoDelay(true));
  await Promise.all(sockets.map((socket) => new Promise((resolve, reject) => socket.on("connect", resolve).on("error", reject))));
  const writers = sockets.map((socket, i) => {
    let [rev, seq, bytes, done] = [0, 0, undefined, undefined];
    // The answer holds what came before, so the writer knows the text again. It reads all of it and needs the revision: as
    // little as can be, so that the server is what is measured.
    socket.on("data", (chunk) => {
      bytes = bytes === undefined ? chunk : Buffer.concat([bytes, chunk]);
      if (skip(bytes, 0) !== bytes.length) return;
      const reply = bytes;
      bytes = undefined;
      // *10 $3 rev :123
      const at = reply.indexOf("rev\r\n:");
      if (reply[0] === 45 || at < 0 || at > 16) return done(new Error(reply.toString()));
      rev = Number.parseInt(reply.toString("latin1", at + 6, at + 18), 10);
      done();
    });
    return (next) => {
      done = next;
      socket.write(encode(["DOC.SUBMIT", KEY, rev, `[${place(length)},"x",-1]`, "ID", `client-${i}`, ++seq, "BY", "ada", "c"]));
    };
  });
  return { writers, stop: async () => sockets.forEach((socket) => socket.destroy()) };
}

let documents = 0;
async function shareDbWriters(server, length, subscribed) {
  const id = `main-${documents++}`;
  const open = async () => {
    const connection = new ShareDB.Connection(new WebSocket(`ws://127.0.0.1:${server.port}`));
    const document = connection.get("bench", id);
    return { connection, document };
  };
  const promise = (start) => new Promise((resolve, reject) => start((error) => (error ? reject(error) : resolve())));
  const first = await open();
  await promise((done) => first.document.create("lorem ipsum ".repeat(length / 12), text.uri, done));
  const clients = await Promise.all(Array.from({ length: WRITERS }, open));
  await Promise.all(clients.map(({ document }) => promise((done) => (subscribed ? document.subscribe(done) : document.fetch(done)))));
  // Without a subscription the server sends what came before with the answer, as DOC.SUBMIT does.
  const writers = clients.map(({ document }) => (next) => document.submitOp([place(length), "x", { d: 1 }], next));
  return {
    writers,
    stop: async () => {
      await sleep(200);
      for (const { connection } of [first, ...clients]) connection.close();
    },
  };
}

function stream(name) {
  const folder = process.env.STOA_DATA;
  if (folder === undefined) {
    console.warn(`\nSTOA_DATA is not set: THE STREAM ${name} DID NOT RUN\n`);
    return undefined;
  }
  const lines = gunzipSync(readFileSync(join(folder, `traces/submit-streams/${name}.jsonl.gz`))).toString("utf8").trimEnd().split("\n");
  const [head, ...submits] = lines.map((line) => JSON.parse(line));
  return { ...head, submits };
}

const sha256 = (content) => createHash("sha256").update(content).digest("hex");

// The operations as ot.js takes them: each walks over the whole text that it was made on, so a server has to run once
// to know how long that was. Also says which had nothing left to do, and so make no revision with DOC.SUBMIT.
function forOt({ init, submits }) {
  const server = new ot.Server(init);
  const [operations, idle] = [[], []];
  for (const { rev, op } of submits) {
    const operation = new ot.TextOperation();
    for (const component of op) {
      if (typeof component === "number") operation.retain(component);
      else if (typeof component === "string") operation.insert(component);
      else operation.delete(component.d);
    }
    const length = rev < server.operations.length ? server.operations[rev].baseLength : server.document.length;
    operations.push(operation.retain(length - operation.baseLength));
    idle.push(server.receiveOperation(rev, operation).isNoop());
  }
  return { operations, idle };
}

// ot.js in this very process: transform, apply, append; no JSON, no network, no identities.
function throughOt({ init, submits }, operations) {
  const server = new ot.Server(init);
  const before = process.cpuUsage();
  submits.forEach(({ rev }, at) => server.receiveOperation(rev, operations[at]));
  const used = process.cpuUsage(before);
  return { cpuUs: (used.user + used.system) / submits.length, document: server.document };
}

async function throughStoa(redis, { init, submits }, idle) {
  await redis.line.call("DEL", KEY);
  await redis.line.call("DOC.CREATE", KEY, "text", init);
  const revisions = [0];
  for (const nothing of idle) revisions.push(revisions.at(-1) + (nothing ? 0 : 1));
  const sequences = new Map();
  const commands = submits.map(({ c, rev, op }) => {
    sequences.set(c, (sequences.get(c) ?? 0) + 1);
    const components = op.map((component) => (typeof component === "object" ? -component.d : component));
    return ["DOC.SUBMIT", KEY, revisions[rev], JSON.stringify(components), "ID", `client-${c}`, sequences.get(c), "BY", "ada", "c"];
  });
  const before = cpu(redis.pid);
  // As many on their way at once as one batch of a front.
  for (let at = 0; at < commands.length; at += 64) await Promise.all(commands.slice(at, at + 64).map((words) => redis.line.call(...words)));
  const cpuUs = ((cpu(redis.pid) - before) / commands.length) * 1e6;
  return { cpuUs, document: field(await redis.line.call("DOC.GET", KEY), "content") };
}

const redis = await startRedis();
const shareDb = await startShareDb();
const show = (n) => (n >= 100 ? n.toFixed(0) : n.toPrecision(3));

console.log(`${WRITERS} writers on one document, one submit each on its way; ${ROUNDS} rounds of ${SECONDS} s, medians\n`);
console.log("| document | server | submits/s | p50, ms | server CPU, µs per submit | CPU ÷ DOC.SUBMIT |\n|---|---|---|---|---|---|");
for (const [name, length] of [["1 KB", 1_000], ["100 KB", 100_000]]) {
  const sides = [
    ["Redis, DOC.SUBMIT", redis.pid, () => stoaWriters(redis, length)],
    ["ShareDB 7.0.0", shareDb.pid, () => shareDbWriters(shareDb, length, false)],
    ["ShareDB 7.0.0, all subscribed", shareDb.pid, () => shareDbWriters(shareDb, length, true)],
  ];
  const rounds = sides.map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, [, pid, start]] of sides.entries()) {
      const { writers, stop } = await start();
      rounds[i].push(await measure(pid, writers));
      await stop();
    }
  }
  for (const [i, [side]] of sides.entries()) {
    const of = (value) => show(median(rounds[i].map(value)));
    const ratio = show(median(rounds[i].map(({ cpuUs }, round) => cpuUs / rounds[0][round].cpuUs)));
    console.log(`| ${name} | ${side} | ${of((r) => r.perSecond)} | ${of((r) => r.p50)} | ${of((r) => r.cpuUs)} | ${ratio} |`);
  }
}

console.log("\n| stream | submits | ot.js Server (engine alone), µs | Redis, DOC.SUBMIT (all of it), µs | ot.js ÷ DOC.SUBMIT |\n|---|---|---|---|---|");
for (const name of ["s10", "s50"]) {
  const recorded = stream(name);
  if (recorded === undefined) continue;
  const { operations, idle } = forOt(recorded);
  const rounds = [];
  for (let round = 0; round < ROUNDS; round++) {
    const theirs = throughOt(recorded, operations);
    const ours = await throughStoa(redis, recorded, idle);
    if (sha256(ours.document) !== recorded.final_sha256) throw new Error(`${name}: DOC.SUBMIT ends with another text`);
    if (sha256(theirs.document) !== recorded.final_sha256) throw new Error(`${name}: ot.js ends with another text`);
    rounds.push([theirs.cpuUs, ours.cpuUs]);
  }
  const of = (value) => show(median(rounds.map(value)));
  console.log(`| ${name} | ${operations.length} | ${of((r) => r[0])} | ${of((r) => r[1])} | ${of((r) => r[0] / r[1])} |`);
}
process.exit(0);
