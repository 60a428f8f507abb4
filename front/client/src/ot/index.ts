export { apply, baseLength, invert, isNoop, isWellFormed, normalise, outputLength, parseOperation, sameOperation, split } from "./operation.js";
export type { Component, Operation, Side } from "./operation.js";
export { compose, transform, transformPosition, transformSelection } from "./transform.js";
export type { Bias } from "./transform.js";
export { fromDiff, fromInput, fromLineDiff } from "./diff.js";
export { widen } from "./surrogates.js";
