/**
 * A real Redis with the module, and real fronts, for tests: each test starts its own, and they end with it.
 *
 *     STOA_MODULE=…/libstoa.so STOA_FRONT_BINARY=…/stoa-front npm test -- real
 */
import { spawn, type ChildProcess } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { connect as dial, createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach } from "vitest";

const module = process.env["STOA_MODULE"];
const binary = process.env["STOA_FRONT_BINARY"];
/** Whether there is something to start. */
export const runs = module !== undefined && binary !== undefined;

const SECRET = "a secret for simulations, long enough to be taken";
/** How long everything may take to settle in the end: longer than any back-off. */
export const QUIET_MS = 30_000;

export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export async function until(what: string, holds: () => boolean | Promise<boolean>, ms = QUIET_MS): Promise<void> {
  const end = Date.now() + ms;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`waited ${ms} ms for: ${what}`);
    await sleep(20);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** What this test started: it ends with it. */
const children: ChildProcess[] = [];
const directories: string[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true, force: true });
});

function start(command: string, args: string[]): ChildProcess {
  const child = spawn(command, args, { stdio: "ignore" });
  children.push(child);
  child.on("error", (error) => console.log(command, error.message));
  return child;
}

/** A process that listens. */
export interface Listening {
  port: number;
  process: ChildProcess;
}

const newDirectory = async () => {
  const directory = await mkdtemp(join(tmpdir(), "stoa-client-"));
  directories.push(directory);
  return directory;
};
const server = process.env["STOA_REDIS_SERVER"] ?? "redis-server";

async function answers(port: number): Promise<void> {
  await until("Redis", async () => {
    const line = new Redis(port);
    const answer = await line.call("PING").catch(() => undefined);
    line.cut();
    return answer === "PONG";
  });
}

/** Starts a Redis with the module, with further settings if need be. What it stores is in `directory`. */
export async function startServer(...settings: string[]): Promise<Listening & { directory: string }> {
  const port = await freePort();
  const directory = await newDirectory();
  const process = start(server, ["--port", String(port), "--bind", "127.0.0.1", "--dir", directory, "--save", "", "--loadmodule", String(module), ...settings]);
  await answers(port);
  return { port, process, directory };
}

export const startRedis = async (): Promise<number> => (await startServer()).port;

/** Starts a sentinel that watches a primary; it takes a replica when the primary was silent for a second. Returns the URL for fronts. */
export async function startSentinel(primary: number): Promise<string> {
  const port = await freePort();
  const directory = await newDirectory();
  const file = join(directory, "sentinel.conf");
  const watched = [`monitor rooms 127.0.0.1 ${primary} 1`, "down-after-milliseconds rooms 1000", "failover-timeout rooms 5000"];
  await writeFile(file, [`port ${port}`, "bind 127.0.0.1", `dir ${directory}`, ...watched.map((line) => `sentinel ${line}`), ""].join("\n"));
  start(server, [file, "--sentinel"]);
  await answers(port);
  await until("the sentinel knows the replica", async () => {
    const line = new Redis(port);
    const known = fields(await line.call("SENTINEL", "MASTER", "rooms")).get("num-slaves");
    line.cut();
    return known === "1";
  });
  return `redis-sentinel://127.0.0.1:${port}?sentinelServiceName=rooms`;
}

export type FrontProcess = Listening;

/**
 * Starts a front, with further settings if need be; on a port of its own unless `--listen` names one.
 *
 * @param redis the port of a server, or a URL
 */
export async function startFront(redis: number | string, ...settings: string[]): Promise<FrontProcess> {
  const listen = settings.indexOf("--listen");
  const port = listen < 0 ? await freePort() : Number(settings.splice(listen, 2)[1]?.split(":")[1]);
  // Tests write faster than people; those about limits say so themselves.
  const limits = settings.includes("--limits") ? [] : ["--limits", "off"];
  const args = ["--listen", `127.0.0.1:${port}`, "--redis-url", typeof redis === "string" ? redis : `redis://127.0.0.1:${redis}`, "--jwt-secret", SECRET, "--threads", "1", "--log", "error", ...limits, ...settings];
  const process = start(String(binary), args);
  await until("the front", () => isReady(port));
  return { port, process };
}

/** Not by `fetch`: in tests with a page that is the page's, which may not ask other origins. */
const isReady = (port: number) =>
  new Promise<boolean>((resolve) => {
    get(`http://127.0.0.1:${port}/readyz`, (answer) => resolve(answer.resume().statusCode === 200)).on("error", () => resolve(false));
  });

/** What lets a user in, for so many seconds, with further claims if need be. */
export function token(user: string, lifetimeS = 3_600, claims: object = {}): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ ...claims, sub: user, exp: Math.floor(Date.now() / 1000) + lifetimeS })}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

export type Reply = string | number | null | Reply[];

/** A connection to Redis: one command at a time, and it can be cut at any point of it. */
export class Redis {
  private readonly socket: Socket;
  private received = Buffer.alloc(0);
  private waiting: { resolve: (reply: Reply) => void; reject: (error: Error) => void } | undefined;

  constructor(port: number) {
    this.socket = dial(port, "127.0.0.1");
    this.socket.setNoDelay(true);
    this.socket.on("data", (bytes) => this.arrived(bytes));
    this.socket.on("error", () => undefined);
    this.socket.on("close", () => this.waiting?.reject(new Error("CUT")));
  }

  cut(): void {
    this.socket.destroy();
  }

  call(...words: string[]): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.socket.destroyed) return reject(new Error("CUT"));
      this.waiting = { resolve, reject };
      this.socket.write(`*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`);
    });
  }

  private arrived(bytes: Buffer): void {
    this.received = Buffer.concat([this.received, bytes]);
    const read = parse(this.received, 0);
    if (read === undefined) return;
    this.received = this.received.subarray(read.end);
    const waiting = this.waiting;
    this.waiting = undefined;
    if (read.reply instanceof Error) waiting?.reject(read.reply);
    else waiting?.resolve(read.reply);
  }
}

/** One reply in RESP2; `undefined` while a part of it is missing. */
function parse(bytes: Buffer, at: number): { reply: Reply | Error; end: number } | undefined {
  const line = bytes.indexOf("\r\n", at);
  if (line < 0) return undefined;
  const kind = String.fromCharCode(bytes[at] as number);
  const rest = bytes.toString("utf8", at + 1, line);
  let end = line + 2;
  if (kind === "-") return { reply: new Error(rest), end };
  if (kind === ":") return { reply: Number(rest), end };
  if (kind === "+") return { reply: rest, end };
  const count = Number(rest);
  if (count < 0) return { reply: null, end };
  if (kind === "$") return bytes.length < end + count + 2 ? undefined : { reply: bytes.toString("utf8", end, end + count), end: end + count + 2 };
  const items: Reply[] = [];
  for (let i = 0; i < count; i++) {
    const item = parse(bytes, end);
    if (item === undefined) return undefined;
    items.push(item.reply as Reply);
    end = item.end;
  }
  return { reply: items, end };
}

/** A reply that is a map. */
export function fields(reply: Reply): Map<string, Reply> {
  const list = reply as Reply[];
  return new Map(list.flatMap((name, i) => (i % 2 === 0 ? [[String(name), list[i + 1] as Reply] as const] : [])));
}
