// Slack's own notation, as nodes: `*bold*`, `<@U…>`, `<https://…|label>`, `<!date^…>`. Nothing in it becomes HTML.
import { html } from "../html.js";
import { webAddress } from "../text.js";
import { ago, clock, day, full, now } from "../time.js";
import { Emoji } from "./emoji.js";
import { channels, go, me, people } from "./state.js";

/** @typedef {import("../html.js").Children} Children */

const QUOTED = /^(?:&gt;|>) ?/; // apps write the second, too
const FENCE = /```\n?([\s\S]*?)\n?```/;
const TOKEN =
  /<([@#!]?)([^<>|]*)(?:\|([^<>]*))?>|`([^`\n]+)`|:([a-z0-9_+'-]+(?:::skin-tone-[2-6])?):|(?<![\p{L}\p{N}])(\*|_|~)(?=\S)(.*?\S)\6(?![\p{L}\p{N}])/u;

/** @param {string} text */
export function plain(text) {
  return text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}

/**
 * A text in Slack's notation.
 * @param {{text: string}} props
 */
export function Mrkdwn({ text }) {
  return html`<div class="mrkdwn" dir="auto">${blocks(text)}</div>`;
}

/** @param {string} text @returns {Children[]} */
function blocks(text) {
  const fence = FENCE.exec(text);
  if (!fence) return quotes(text);
  const before = text.slice(0, fence.index);
  const after = text.slice(fence.index + fence[0].length).replace(/^\n/, "");
  const code = html`
    <div class="scroller" tabindex="0" role="group" aria-label="Code">
      <pre>${plain(fence[1])}</pre>
    </div>
  `;
  return [...(before ? quotes(before.replace(/\n$/, "")) : []), code, ...(after ? blocks(after) : [])];
}

/** @param {string} text @returns {Children[]} */
function quotes(text) {
  /** @type {Children[]} */
  const found = [];
  const lines = text.split("\n");
  for (let n = 0; n < lines.length;) {
    const quoted = QUOTED.test(lines[n]);
    let end = n;
    while (end < lines.length && QUOTED.test(lines[end]) === quoted) end += 1;
    const part = lines.slice(n, end).map((line) => (quoted ? line.replace(QUOTED, "") : line)).join("\n");
    found.push(quoted ? html`<blockquote>${inline(part)}</blockquote>` : html`<p>${inline(part)}</p>`);
    n = end;
  }
  return found;
}

/** @param {string} text @returns {Children[]} */
export function inline(text) {
  /** @type {Children[]} */
  const found = [];
  let rest = text;
  while (rest) {
    const token = TOKEN.exec(rest);
    if (!token) break;
    if (token.index) found.push(plain(rest.slice(0, token.index)));
    found.push(node(token));
    rest = rest.slice(token.index + token[0].length);
  }
  if (rest) found.push(plain(rest));
  return found;
}

/** @param {RegExpExecArray} token @returns {Children} */
function node([whole, kind, target, label, code, emoji, mark, marked]) {
  if (code !== undefined) return html`<code>${plain(code)}</code>`;
  if (emoji !== undefined) return html`<${Emoji} name=${emoji} />`;
  if (mark === "*") return html`<strong>${inline(marked)}</strong>`;
  if (mark === "_") return html`<em>${inline(marked)}</em>`;
  if (mark === "~") return html`<del>${inline(marked)}</del>`;
  if (kind === "@") return html`<${Mention} id=${target} />`;
  if (kind === "#") return html`<${ChannelLink} id=${target} label=${label} />`;
  if (kind === "!") return special(target, label);
  const address = webAddress(plain(target));
  const words = label === undefined ? plain(target) : inline(label);
  if (!address) return plain(whole);
  return html`<${Link} address=${address}>${words}<//>`;
}

/**
 * A link out of the page; one to a message of this workspace stays in it.
 * @param {{address: string, children: Children}} props
 */
export function Link({ address, children }) {
  const mine = address.startsWith(`${location.origin}/archives/`);
  return mine
    ? html`<a href=${address}>${children}</a>`
    : html`<a href=${address} target="_blank" rel="noopener noreferrer">${children}</a>`;
}

/** @param {{id: string}} props */
export function Mention({ id }) {
  const name = people.value[id]?.handle || people.value[id]?.name || id;
  return html`<span class=${id === me.value ? "mention mine" : "mention"}>@${name}</span>`;
}

/** @param {{id: string, label?: string}} props */
export function ChannelLink({ id, label }) {
  const known = channels.value.find((each) => each.id === id);
  if (!known) return html`<span class="mention">#${label || id}</span>`;
  return html`<button type="button" class="mention link" onClick=${() => go(id)}>#${known.name}</button>`;
}

/** @param {string} target @param {string | undefined} label @returns {Children} */
function special(target, label) {
  const [kind, ts, format] = target.split("^");
  if (kind === "date" && Number(ts)) {
    return html`<${DateIn} at=${Number(ts) * 1000} format=${format || "{date} {time}"} />`;
  }
  if (kind === "here" || kind === "channel" || kind === "everyone") {
    return html`<span class="mention mine">@${kind}</span>`;
  }
  return html`<span class="mention">${label ? plain(label) : `@${kind}`}</span>`;
}

/** A time in the words that the app chose. @param {{at: number, format: string}} props */
function DateIn({ at, format }) {
  /** @type {Record<string, () => string>} */
  const parts = {
    time: () => clock(at),
    time_secs: () => new Date(at).toLocaleTimeString("en-GB"),
    ago: () => ago(at, now.value),
    date_num: () => new Date(at).toISOString().slice(0, 10),
  };
  const words = plain(format).replace(/\{(\w+)\}/g, (_, name) => (parts[name] || (() => day(at)))());
  return html`<time datetime=${new Date(at).toISOString()} title=${full(at)}>${words}</time>`;
}
