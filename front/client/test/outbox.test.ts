import { expect, test } from "vitest";
import { Outbox, type OutboxHost } from "../src/outbox.js";
import type { Answer } from "../src/stoa.js";
import type { WriteAnswer } from "../src/wire/index.js";

/** An outbox whose commands are answered here. */
function outbox() {
  const sent: { seq: number; answer(ok: Partial<WriteAnswer>): void }[] = [];
  let seq = 0;
  const host: OutboxHost = {
    room: "lobby",
    client: "page",
    nextSeq: () => ++seq,
    user: () => "ada",
    request: (command, _read, done: (answer: Answer<WriteAnswer>) => void) => {
      const { seq } = command as { seq: number };
      sent.push({ seq, answer: (ok) => done({ ok: { n: seq, epoch: "1.a", rev: seq, duplicate: false, ...ok } as WriteAnswer }) });
    },
    report: () => undefined,
    failed: () => undefined,
    changed: () => undefined,
  };
  const box = new Outbox(host, { queueMax: 10, queueBytesMax: 10_000, ackTimeoutMs: 10_000 }, undefined);
  box.joined();
  const post = () => void box.add({ do: "msg.post", body: "hi", type: "text" });
  const waiting = () => box.entries.map(({ seq }) => seq);
  return { box, sent, post, waiting };
}

test("a write that was accepted is kept until the log has come to it", () => {
  const { box, sent, post, waiting } = outbox();
  post();
  sent[0]?.answer({ rev: 7 });
  box.reached({ epoch: "1.a", rev: 6 });
  expect(waiting()).toEqual([1]);
  box.reached({ epoch: "1.a", rev: 7 });
  expect([waiting(), sent.length]).toEqual([[], 1]);
});

test("a write that was accepted and not seen before a failover is sent again as it was, and happens once", () => {
  const { box, sent, post, waiting } = outbox();
  post();
  post();
  sent[0]?.answer({ rev: 7 });
  sent[1]?.answer({ rev: 8 });
  box.reached({ epoch: "2.b", rev: 7 });
  expect(sent.map(({ seq }) => seq)).toEqual([1, 2, 1]);
  // The first one had come over, the second is lost.
  sent[2]?.answer({ rev: 7, duplicate: true });
  box.reached({ epoch: "2.b", rev: 7 });
  expect([waiting(), sent.map(({ seq }) => seq)]).toEqual([[2], [1, 2, 1, 2]]);
  sent[3]?.answer({ epoch: "2.b", rev: 8 });
  box.reached({ epoch: "2.b", rev: 7 });
  expect(waiting()).toEqual([2]);
  box.reached({ epoch: "2.b", rev: 8 });
  expect([waiting(), sent.length]).toEqual([[], 4]);
});

test("what another primary accepted under the same number is lost, too", () => {
  const { box, sent, post } = outbox();
  post();
  sent[0]?.answer({ epoch: "2.a", rev: 3 });
  box.reached({ epoch: "2.b", rev: 9 });
  expect(sent.map(({ seq }) => seq)).toEqual([1, 1]);
});

test("what was meant for a log that is gone is not sent to the next one", () => {
  const { box, sent, post, waiting } = outbox();
  post();
  sent[0]?.answer({ epoch: "5.a", rev: 3 });
  box.rewind(true);
  box.reached({ epoch: "1.b", rev: 0 });
  expect([waiting(), sent.length]).toEqual([[], 1]);
});

test("a log that goes back has lost what was accepted since, even in epochs of higher numbers", () => {
  const { box, sent, post } = outbox();
  post();
  sent[0]?.answer({ epoch: "5.a", rev: 3 });
  box.rewind(false);
  box.reached({ epoch: "2.b", rev: 2 });
  expect(sent.map(({ seq }) => seq)).toEqual([1, 1]);
});
