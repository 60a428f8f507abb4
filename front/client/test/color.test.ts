import { expect, test } from "vitest";
import { colorOf } from "../src/index.js";

test("the colour of a person is the one that the server says, for ever", () => {
  const users = ["ada", "bo", "", "user-4711", "ädä", "a@b.example"];
  expect(users.map(colorOf)).toEqual(["#ca494d", "#8f7429", "#327ead", "#c9456a", "#26836e", "#c439af"]);
});
