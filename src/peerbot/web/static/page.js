// What every page does: read what the server told it, find its place, and ask the server for JSON.
import { render } from "./vendor/preact.mjs";

/**
 * What the server wrote into the page's head.
 * @returns {Record<string, any>}
 */
export function told() {
  const meta = document.querySelector('meta[name="told"]');
  return JSON.parse(meta?.getAttribute("content") || "{}");
}

/**
 * Draw into the page's one place.
 * @param {import("./html.js").VNode} node
 */
export function show(node) {
  const place = document.getElementById("page");
  if (place) render(node, place);
}

/** A refusal of the server, or no answer (status 0). */
export class Refusal extends Error {
  /**
   * @param {number} status
   * @param {string} code Slack's error word, if there is one
   * @param {string} words a sentence for the person
   */
  constructor(status, code, words) {
    super(words);
    this.status = status;
    this.code = code;
  }
}

/**
 * Ask the server for JSON; with a body it is a POST. Throws `Refusal`, with a sentence to show.
 * @param {string} path
 * @param {unknown} [body] a `Blob` or `FormData` as it is, anything else as JSON
 * @param {Record<string, string>} [headers]
 * @returns {Promise<any>}
 */
export async function ask(path, body, headers = {}) {
  /** @type {RequestInit} */
  const request = { headers: { ...headers, Accept: "application/json" }, cache: "no-store" };
  if (body !== undefined) {
    request.method = "POST";
    const asItIs = body instanceof Blob || body instanceof FormData;
    request.body = asItIs ? body : JSON.stringify(body);
    if (!asItIs) request.headers = { ...request.headers, "Content-Type": "application/json" };
  }
  let response;
  try {
    response = await fetch(path, request);
  } catch {
    throw new Refusal(0, "", "The server does not answer. It may have been stopped.");
  }
  const kind = response.headers.get("Content-Type") || "";
  const answer = kind.startsWith("application/json") ? await response.json().catch(() => ({})) : {};
  if (response.ok) return answer;
  throw new Refusal(
    response.status,
    answer.error || "",
    answer.words || answer.error || `The server said ${response.status}.`,
  );
}
