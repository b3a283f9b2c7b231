// The key that lets this browser in on this machine, and what pages ask for with it. It comes behind the `#` of a link,
// and stays where the browser keeps it for this port alone. See local/key.py.
import { useRef } from "./vendor/hooks.mjs";
import { html } from "./html.js";
import { ask as askFor } from "./page.js";

const KEPT = "peerbot.key";

/**
 * Take the key out of the address, so that nobody copies it with a link, and keep it.
 * @returns {boolean} whether there was one
 */
export function takeKey() {
  const found = /^#(?:(.*)&)?key=([\w-]+)$/.exec(location.hash);
  if (!found) return false;
  keepKey(found[2]);
  history.replaceState(null, "", location.pathname + location.search + (found[1] ? `#${found[1]}` : ""));
  return true;
}

/** @param {string} key */
function keepKey(key) {
  try {
    localStorage.setItem(KEPT, key);
  } catch {
    // A browser that keeps nothing asks for the key on each page.
  }
}

/**
 * What a request brings with it.
 * @returns {Record<string, string>}
 */
export function withKey() {
  let key = "";
  try {
    key = localStorage.getItem(KEPT) || "";
  } catch {
    // As above.
  }
  return { Authorization: `Bearer ${key}` };
}

/**
 * As `ask` of page.js, with the key.
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
export function ask(path, body) {
  return askFor(path, body, withKey());
}

/**
 * Where a browser without the key gets it: a person pastes it, or the address that has it.
 * @param {{again: () => void}} props
 */
export function KeyForm({ again }) {
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    keepKey((field.current?.value || "").trim().replace(/^.*[#&]key=/, ""));
    again();
  };
  return html`
    <form class="key-form" onSubmit=${submit}>
      <label for="key">Key, or that address</label>
      <p class="actions">
        <input id="key" class="field" ref=${field} type="password" autocomplete="off" required />
        <button class="button primary">Let me in</button>
      </p>
    </form>
  `;
}
