// The secret that lets this browser in, and what pages ask for with it. It comes behind the `#` of a link and stays where
// the browser keeps it for this port alone. See local/github/door.py.
import { Refusal } from "../page.js";

const KEPT = "peerbot.github.key";

/** Take the key out of the address, so that nobody copies it with a link, and keep it. */
export function takeKey() {
  const found = /^#(?:(.*)&)?key=([\w-]+)$/.exec(location.hash);
  if (!found) return;
  keepKey(found[2]);
  history.replaceState(null, "", location.pathname + location.search + (found[1] ? `#${found[1]}` : ""));
}

/** @param {string} key */
export function keepKey(key) {
  try {
    localStorage.setItem(KEPT, key);
  } catch {
    // A browser that keeps nothing asks for the key on each page.
  }
}

/**
 * Ask for what is at a page's address; with `body` it is a POST. Throws `Refusal`, with a sentence to show.
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<any>}
 */
export async function asked(path, body) {
  let response;
  let key = "";
  try {
    key = localStorage.getItem(KEPT) || "";
  } catch {
    // As above.
  }
  try {
    response = await fetch(`/-/data${path}`, {
      method: body ? "POST" : "GET",
      headers: { Accept: "application/json", Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
      body: body && JSON.stringify(body),
      cache: "no-store",
    });
  } catch {
    throw new Refusal(0, "", "The local GitHub does not answer. It runs as long as `peerbot local` runs.");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw new Refusal(response.status, "", answer.error || `The local GitHub said ${response.status}.`);
}
