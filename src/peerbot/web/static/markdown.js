// Markdown of the model and of people, as nodes that can do no harm.
//
// HTML in it is shown as text and a picture becomes a link, so that nothing is loaded. What marked makes goes through
// DOMPurify all the same. Text that was drawn before is not drawn again: an edit costs what the edited message costs.
import { signal } from "./vendor/signals.mjs";
import { Marked } from "./vendor/marked.mjs";
import DOMPurify from "./vendor/purify.mjs";
import { h } from "./html.js";

/** @type {import("./vendor/signals.mjs").Signal<null | typeof import("./highlight.js")>} */
export const highlighter = signal(null);
let asked = false;

/** Load the colours for code; what was drawn without is drawn again. */
export function wantColours() {
  if (asked) return;
  asked = true;
  import("./highlight.js").then((module) => (highlighter.value = module)).catch(() => (asked = false));
}

const PURIFY = {
  ALLOWED_TAGS: [
    ...["p", "br", "hr", "strong", "em", "del", "code", "pre", "blockquote", "ul", "ol", "li", "a", "span", "div"],
    ...["h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"],
  ],
  ALLOWED_ATTR: [
    "href",
    "title",
    "class",
    "align",
    "start",
    "role",
    "tabindex",
    "aria-label",
    "target",
    "rel",
    "dir",
  ],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  // Of these no value is an address; of the others each has to be one of the web's.
  ADD_URI_SAFE_ATTR: ["target", "rel", "align", "start", "role", "tabindex", "aria-label", "dir"],
  ALLOW_DATA_ATTR: false,
  RETURN_TRUSTED_TYPE: true,
};

/** @param {string} text */
function escaped(text) {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

const marked = new Marked({
  gfm: true,
  breaks: false,
  renderer: {
    html({ text, block }) {
      if (here && /^<!--[^]*-->\s*$/.test(text)) return ""; // nobody is meant to read these in a file
      return block ? `<p>${escaped(text)}</p>` : escaped(text);
    },
    heading({ tokens, depth }) {
      while (outline.length && outline[outline.length - 1] >= depth) outline.pop();
      outline.push(depth);
      const tag = `h${Math.min(6, top + outline.length - 1)}`;
      return `<${tag} class="depth-${depth}">${this.parser.parseInline(tokens)}</${tag}>`;
    },
    image({ href, text }) {
      return link(href, escaped(text || href));
    },
    link({ href, tokens }) {
      return link(href, this.parser.parseInline(tokens));
    },
    code({ text, lang }) {
      const language = (lang || "").trim().split(/\s+/)[0];
      const coloured = language ? highlighter.value?.colours(text, language) : null;
      if (language && !highlighter.value) wantColours();
      return `<div class="scroller" tabindex="0" role="group" aria-label="Code"><pre>${
        coloured ?? escaped(text)
      }</pre></div>`;
    },
    table({ header, rows }) {
      /** @param {string} tag @param {(typeof header)[number]} cell */
      const cellOf = (tag, cell) =>
        `<${tag}${cell.align ? ` align="${cell.align}"` : ""}>${this.parser.parseInline(cell.tokens)}</${tag}>`;
      const head = header.map((cell) => cellOf("th", cell)).join("");
      const body = rows.map((row) => `<tr>${row.map((cell) => cellOf("td", cell)).join("")}</tr>`).join("");
      const table = `<table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table>`;
      return `<div class="scroller" tabindex="0" role="group" aria-label="Table">${table}</div>`;
    },
    checkbox({ checked }) {
      return `<span class="task" role="img" aria-label="${checked ? "done" : "to do"}">${checked ? "☑" : "☐"}</span> `;
    },
  },
});

/** Where the text that is being drawn comes from. @type {Base | undefined} */
let here;
/** The level of its highest heading on the page. */
let top = 3;
/** The depths of the headings around the one that is being drawn: a page's levels must not skip one. @type {number[]} */
let outline = [];

/**
 * @typedef {object} Base
 * @property {string} folder the address of the folder that the text lies in, with a slash at its end
 * @property {string} root the address of the repository's own files, likewise
 */

/** The address that a link leads to: in a repository's text a path leads to a file there. @param {string} href */
function whole(href) {
  if (!here || /^[a-z][a-z0-9+.-]*:/i.test(href) || href.startsWith("//") || href.startsWith("#")) return href;
  try {
    return new URL(href.replace(/^\//, ""), href.startsWith("/") ? here.root : here.folder).href;
  } catch {
    return "";
  }
}

/** @param {string} href @param {string} content */
function link(href, content) {
  return `<a href="${escaped(whole(href))}" target="_blank" rel="noopener noreferrer">${content}</a>`;
}

/** @type {Map<string, {coloured: boolean, made: any}>} */
const drawn = new Map();
const MOST_DRAWN = 500;

/**
 * Clean HTML that another module of ours made of text that is not ours.
 * @param {string} text
 * @returns {any} `TrustedHTML`, for `dangerouslySetInnerHTML`
 */
export function purified(text) {
  return DOMPurify.sanitize(text, PURIFY);
}

/**
 * Markdown as a node.
 * @param {{text: string, class?: string, base?: Base, level?: number}} props `base`: what its relative links are
 * relative to; `level`: of its highest heading, one below that of the heading above it
 */
export function Markdown({ text, class: kind = "", base, level = 3 }) {
  const coloured = highlighter.value !== null;
  const name = `${level}${base ? base.folder : ""}\n${text}`;
  let known = drawn.get(name);
  if (!known || (known.coloured !== coloured && text.includes("```"))) {
    [here, top, outline] = [base, level, []];
    known = { coloured, made: purified(/** @type {string} */ (marked.parse(text))) };
    drawn.delete(name);
    drawn.set(name, known);
    if (drawn.size > MOST_DRAWN) drawn.delete(/** @type {string} */ (drawn.keys().next().value));
  }
  return h("div", {
    class: `markdown ${kind}`,
    dir: "auto",
    dangerouslySetInnerHTML: { __html: /** @type {any} */ (known.made) },
  });
}

/**
 * Code in its scroller, coloured when the colours are there.
 * @param {{text: string, language?: string, label?: string}} props `language`: a name, or a file's path
 */
export function Code({ text, language = "", label = "Code" }) {
  if (language && !highlighter.value) wantColours();
  const module = highlighter.value;
  const name = module && language.includes(".") ? module.languageOf(language) : language;
  const coloured = module && name ? module.colours(text, name) : null;
  const inner = coloured ? h("pre", { dangerouslySetInnerHTML: { __html: purified(coloured) } }) : h("pre", null, text);
  return h("div", { class: "scroller", tabIndex: 0, role: "group", "aria-label": label }, inner);
}
