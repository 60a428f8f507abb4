/** What workers publish with plain Redis commands reaches pages; and who may not see a job does not. */
import { Redis, runs, startFront, startRedis, token } from "real-front";
import { describe, expect, test } from "vitest";
import { dial, Person, person } from "./people.js";

interface JobUpdateEvent {
  type: "job.update";
  jobId: string;
  status: string;
  progress?: number;
  message?: string;
  timestamp: string;
}
const jobId = "test-job-123";

describe.runIf(runs)("jobs", () => {
  test("job updates arrive as they happen, and who comes late gets the newest", async () => {
    const redis = await startRedis();
    const [one, two] = [await startFront(redis), await startFront(redis)];
    const worker = new Redis(redis);
    const ada = await person(one.port, "ada");
    await ada.does("subscribe:job", { jobId });
    // Stored nowhere.
    await worker.call("ROOM.EMIT", `stoa:{jobs.${jobId}}`, "job:update", JSON.stringify({ status: "running", progress: 50 }));
    const running = await ada.hears<JobUpdateEvent>("job:update");
    expect(running).toMatchObject({ type: "job.update", jobId, status: "running", progress: 50 });
    expect(new Date(running.timestamp).getTime()).not.toBeNaN();

    // Kept, so that who subscribes later learns how it stands.
    const timestamp = "2026-01-02T03:04:05.678Z";
    const post = (update: object) => worker.call("MSG.POST", `stoa:{jobs.${jobId}}:log`, "worker", JSON.stringify(update), "TYPE", "job.update");
    await post({ status: "running", progress: 80, timestamp });
    expect(await ada.hears<JobUpdateEvent>("job:update", ({ progress }) => progress === 80)).toMatchObject({ type: "job.update", jobId, status: "running", timestamp });
    await post({ status: "failed", error: { code: "OUT_OF_MEMORY", message: "Too many slides" } });
    const bo = await person(two.port, "bo");
    await bo.does("subscribe:job", { jobId });
    expect(await bo.hears<JobUpdateEvent>("job:update")).toMatchObject({ type: "job.update", jobId, status: "failed", error: { code: "OUT_OF_MEMORY" } });
    expect(bo.all("job:update")).toHaveLength(1);

    await ada.does("unsubscribe:job", { jobId });
    const before = ada.all("job:update").length;
    await post({ status: "again" });
    await bo.hears("job:update", ({ status }) => status === "again");
    await ada.does("get-presence", {});
    expect(ada.all("job:update")).toHaveLength(before);
    worker.cut();
  });

  test("who may not see a job or a document is told so, with a code", async () => {
    const redis = await startRedis();
    const front = await startFront(redis);
    const rooms = { "jobs.mine": "viewer", "deck-1": "viewer" };
    const ada = new Person("ada", dial(front.port, "ada", { auth: { token: token("ada", 3_600, { rooms }) } }));
    await ada.does("subscribe:job", { jobId: "mine" });
    for (const [event, argument] of [["subscribe:job", { jobId: "theirs" }], ["subscribe:presence", { documentId: "deck-2" }], ["join-room", "hall"]] as const) {
      ada.forget();
      ada.socket.emit(event, argument);
      expect(await ada.hears("error")).toMatchObject({ code: "PERMISSION_DENIED", message: expect.stringMatching(/\w/) });
      expect(await ada.isRefused(event, argument)).toMatchObject({ code: "PERMISSION_DENIED", retry: false });
    }
    // Reading is not writing.
    const service = new Redis(redis);
    await service.call("DOC.CREATE", "stoa:{deck-1}:doc:main", "text", "hello");
    service.cut();
    expect(await ada.does("join-document", { documentId: "deck-1" })).toMatchObject({ content: "hello", version: 0 });
    expect(await ada.isRefused("send-message", { roomId: "deck-1", content: "hello" })).toMatchObject({ code: "PERMISSION_DENIED" });
    expect(await ada.isRefused("operation", { documentId: "deck-1", operation: { type: "insert", position: 0, content: "x" }, version: 0 })).toMatchObject({
      code: "PERMISSION_DENIED",
    });
    expect(ada.socket.connected).toBe(true);
  });

  test("rights that are taken away, people who are sent out, and tokens that end are told", async () => {
    const redis = await startRedis();
    const front = await startFront(redis, "--auth-expiring-ms", "3540000");
    const service = new Redis(redis);
    const ada = new Person("ada", dial(front.port, "ada", { auth: { token: token("ada", 3_541) } }));
    await ada.does("join-room", "lobby");
    expect((await ada.hears("auth-expiring")).in_ms).toBeGreaterThan(0);
    expect((await ada.does("refresh-token", { token: token("ada", 7_200) })).expiresIn).toBeGreaterThan(7_000_000);
    expect(await ada.isRefused("refresh-token", "nonsense")).toMatchObject({ code: "AUTH_INVALID" });
    expect(await ada.isRefused("refresh-token", { token: token("bo") })).toMatchObject({ code: expect.stringMatching(/^(AUTH_INVALID|PERMISSION_DENIED)$/) });

    await service.call("ROOM.GRANT", "stoa:{lobby}:access", "ada", "viewer");
    expect(await ada.hears("room-access", ({ role }) => role === "viewer")).toMatchObject({ roomId: "lobby", actions: ["read"] });
    expect(await ada.isRefused("send-message", { roomId: "lobby", content: "hello" })).toMatchObject({ code: "PERMISSION_DENIED" });
    await service.call("ROOM.GRANT", "stoa:{lobby}:access", "ada", "editor");
    await ada.hears("room-access", ({ role }) => role === "editor");
    await ada.does("send-message", { roomId: "lobby", content: "hello" });
    await service.call("ROOM.KICK", "stoa:{lobby}:presence", "USER", "ada", "REASON", "enough");
    expect(await ada.hears("kicked")).toMatchObject({ roomId: "lobby", reason: "enough" });
    expect(await ada.isRefused("send-message", { roomId: "lobby", content: "hello" })).toMatchObject({ code: expect.stringMatching(/^(NOT_JOINED|KICKED)$/) });
    service.cut();
  });
});
