// Templates without a build: html`<p>${text}</p>` makes Preact's nodes. Where the types of props matter, use h().
import { h } from "./vendor/preact.mjs";
import htm from "./vendor/htm.mjs";

/** @typedef {import("./vendor/preact.mjs").VNode<any>} VNode */
/** @typedef {import("./vendor/preact.mjs").ComponentChildren} Children */

/** @type {(strings: TemplateStringsArray, ...values: any[]) => VNode} */
export const html = /** @type {any} */ (htm).bind(h);

export { Fragment, h, render } from "./vendor/preact.mjs";
