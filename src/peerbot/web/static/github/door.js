// What the local GitHub's pages ask for.
import { ask } from "../door.js";

/**
 * Ask for what is at a page's address; with `body` it is a POST. Throws `Refusal`, with a sentence to show.
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<any>}
 */
export function asked(path, body) {
  return ask(`/-/data${path}`, body);
}
