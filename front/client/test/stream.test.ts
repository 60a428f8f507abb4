import { expect, test } from "vitest";
import { orderOf } from "../src/stream.js";

test.each([
  ["the event after what is held", "2.b:5", "2.b", 5, 6, "next"],
  ["the one that is held, again", "2.b:5", "2.b", 4, 5, "old"],
  ["an early one, late", "2.b:5", "2.b", 0, 1, "old"],
  ["one too far", "2.b:5", "2.b", 6, 7, "gap"],
  ["the first after a failover that lost nothing", "2.b:5", "3.c", 5, 6, "next"],
  ["one after a failover that lost something", "2.b:5", "3.c", 4, 5, "gap"],
  ["one of a history that a failover replaced", "2.b:5", "1.a", 5, 6, "gap"],
  ["one of a stream made anew", "1.a:0", "1.b", 0, 1, "gap"],
] as const)("%s", (_what, held, epoch, from, rev, order) => {
  const [heldEpoch, heldRev] = held.split(":") as [string, string];
  expect(orderOf({ epoch: heldEpoch, rev: Number(heldRev) }, { epoch, from, rev })).toBe(order);
});
