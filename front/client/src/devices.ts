import type { DeviceSeen } from "./frames.js";
import * as read from "./wire/answers.js";
import type { Stoa } from "./stoa.js";

/** The connections of this user; get it from `stoa.devices`. The front has to run with `--devices`: else `DISABLED`. */
export class Devices {
  /** @internal */
  constructor(private readonly stoa: Stoa) {}

  /**
   * Lists the user's own connections, this one too (see `stoa.connectionId`).
   *
   * @returns rejects with `DISABLED`, or `OFFLINE`
   */
  list(): Promise<readonly DeviceSeen[]> {
    return this.stoa.ask({ do: "devices.list" }, read.devices);
  }

  /**
   * Ends one of the user's own connections: it is closed with `KICKED` and does not come back by itself. Whoever holds a good
   * token may connect afresh.
   *
   * @param connection from `list`
   * @returns rejects with `DISABLED`, `OFFLINE`, or `NOT_FOUND` if there is no such connection
   */
  async kick(connection: string): Promise<void> {
    await this.stoa.ask({ do: "devices.kick", connection }, read.nothing);
  }
}
