/** People with an unmodified socket.io-client, and what they hear. */
import { QUIET_MS, token, until } from "real-front";
import { io, type ManagerOptions, type Socket, type SocketOptions } from "socket.io-client";
import { connect, type Stoa, type WebSocketConstructor } from "stoa";
import { afterEach } from "vitest";
import WebSocket from "ws";

/** What an acknowledgement says. */
export interface Refusal {
  code: string;
  message: string;
  retry: boolean;
  retry_after_ms?: number;
}
export type Answer<T = any> = { ok: T; error?: undefined } | { ok?: undefined; error: Refusal };

const open: { close(): unknown }[] = [];
afterEach(() => open.splice(0).forEach((it) => it.close()));

/** Closes it when the test ends. */
export function closes<T extends { close(): unknown }>(it: T): T {
  open.push(it);
  return it;
}

export type Options = Partial<ManagerOptions & SocketOptions> & { namespace?: string; name?: string };

/** What a page does: the address, a token, and not more patience than a test has. */
export function dial(port: number, user: string, { namespace = "/", name, ...options }: Options = {}): Socket {
  return closes(
    io(`http://127.0.0.1:${port}${namespace}`, {
      // A function, so that who comes back brings a token that has not ended.
      auth: (give) => give({ token: token(user, 3_600, name === undefined ? {} : { name }) }),
      forceNew: true,
      reconnectionDelay: 50,
      reconnectionDelayMax: 500,
      ...options,
    }),
  );
}

/** Somebody who is connected, with all that they hear. */
export class Person {
  readonly events: { event: string; args: unknown[] }[] = [];
  readonly refusals: unknown[] = [];

  constructor(
    readonly user: string,
    readonly socket: Socket,
  ) {
    socket.onAny((event: string, ...args: unknown[]) => this.events.push({ event, args }));
    socket.on("connect_error", (error) => this.refusals.push(error));
  }

  /** What was heard under a name, oldest first. */
  all<T = any>(event: string): T[] {
    return this.events.filter((it) => it.event === event).map(({ args }) => args[0] as T);
  }

  /** Waits for the first that fits, of those that came already too. */
  async hears<T = any>(event: string, fits: (data: T) => boolean = () => true): Promise<T> {
    let found: T | undefined;
    await until(`${this.user} hears ${event}`, () => (found = this.all<T>(event).find(fits)) !== undefined).catch((error) => {
      throw new Error(`${error.message}; there came ${JSON.stringify(this.events).slice(0, 4_000)}`);
    });
    return found as T;
  }

  /** Forgets what was heard. */
  forget(): void {
    this.events.length = 0;
  }

  /** What the server acknowledges. */
  answer<T = any>(event: string, ...args: unknown[]): Promise<Answer<T>> {
    return this.socket.timeout(QUIET_MS).emitWithAck(event, ...args) as Promise<Answer<T>>;
  }

  /** The same, where nothing else than success will do. */
  async does<T = any>(event: string, ...args: unknown[]): Promise<T> {
    const answer = await this.answer<T>(event, ...args);
    if (answer.error !== undefined || answer.ok === undefined) throw new Error(`${this.user} is refused ${event}: ${JSON.stringify(answer)}`);
    return answer.ok;
  }

  /** The same, where it has to be refused. */
  async isRefused(event: string, ...args: unknown[]): Promise<Refusal> {
    const answer = await this.answer(event, ...args);
    if (answer.error === undefined) throw new Error(`${this.user} is not refused ${event}: ${JSON.stringify(answer)}`);
    return answer.error;
  }
}

/** Somebody who has connected. */
export async function person(port: number, user: string, options: Options = {}): Promise<Person> {
  const it = new Person(user, dial(port, user, { name: user[0]?.toUpperCase() + user.slice(1), ...options }));
  await until(`${user} is connected`, () => it.socket.connected).catch((error) => {
    throw new Error(`${error.message}; ${it.refusals.map(String).join()}`);
  });
  return it;
}

/** Somebody with Stoa's own client. */
export function native(port: number, user: string): Stoa {
  const options = { url: `ws://127.0.0.1:${port}/ws`, token: () => token(user), WebSocket: WebSocket as unknown as WebSocketConstructor };
  const stoa = connect({ ...options, backoffMinMs: 50, backoffMaxMs: 500 });
  stoa.on("error", (error) => console.log(user, error.code, error.message));
  return closes(stoa);
}
