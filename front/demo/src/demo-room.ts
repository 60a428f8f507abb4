import type { Room } from "stoa";

/** What this page says of people: the name comes from their token, so nobody takes another's. */
export interface Guest {
  name: string;
}

/** Where somebody points on the shared page, whatever the width of their window. */
export interface Place {
  /** From 0, the left edge of the page, to 1. */
  x: number;
  /** From the top of the page, in CSS pixels: it scrolls along. */
  y: number;
}

/** The room of this page. */
export type DemoRoom = Room<Guest, Place>;
