// Colours for code. It is loaded when the first code is shown (see markdown.js), so that no page waits for it.

// The packages bring no types for these; as addresses that are put together they are loaded side by side, too.
/** @param {string} name @returns {Promise<{default: any}>} */
const part = (name) => import(new URL(`./vendor/highlight/${name}.mjs`, import.meta.url).href);

const NAMES =
  "bash c cpp csharp css diff dockerfile go ini java javascript json kotlin makefile markdown php python ruby rust sql swift typescript xml yaml"
    .split(" ");
const MOST_CHARACTERS = 200_000;

const [core, ...grammars] = (await Promise.all(["core", ...NAMES].map(part))).map((module) => module.default);
grammars.forEach((grammar, n) => core.registerLanguage(NAMES[n], grammar));

/**
 * Colour code; returns HTML of text and `<span class>` alone, or null if the language is unknown or the code is long.
 * The caller lets DOMPurify have the last word.
 * @param {string} code
 * @param {string} language a name, or how a file's name ends
 * @returns {string | null}
 */
export function colours(code, language) {
  if (code.length > MOST_CHARACTERS || !core.getLanguage(language)) return null;
  return core.highlight(code, { language, ignoreIllegals: true }).value;
}

/**
 * The language of a file, by its name; empty if it is unknown.
 * @param {string} path
 */
export function languageOf(path) {
  const name = (path.split("/").at(-1) || "").toLowerCase();
  if (name === "dockerfile" || name === "makefile") return name;
  const ending = name.includes(".") ? name.split(".").at(-1) || "" : "";
  return core.getLanguage(ending) ? ending : "";
}

/**
 * The lines of code, coloured: for each its nodes. Null as `colours` says. They are made without HTML, so that there is
 * nothing to clean: what highlight.js writes is text, and `<span class>` around it.
 * @param {string[]} lines
 * @param {string} language
 * @returns {DocumentFragment[] | null}
 */
export function colouredLines(lines, language) {
  const written = colours(lines.join("\n"), language);
  if (written === null) return null;
  const made = [document.createDocumentFragment()];
  /** The classes of the spans that are open: a line that ends in the middle of one goes on in it. @type {string[]} */
  const open = [];
  for (const [piece, kind] of written.matchAll(/<span class="([^"]*)">|<\/span>|\n|[^<\n]+/g)) {
    if (kind !== undefined) open.push(kind);
    else if (piece === "</span>") open.pop();
    else if (piece === "\n") made.push(document.createDocumentFragment());
    else made[made.length - 1].append(spans(piece, open));
  }
  return made;
}

/** @type {Record<string, string>} */
const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'" };

/** @param {string} written @param {string[]} kinds */
function spans(written, kinds) {
  /** @type {Node} */
  let made = document.createTextNode(written.replace(/&(?:amp|lt|gt|quot|#x27);/g, (name) => ENTITIES[name]));
  for (const kind of kinds.toReversed()) {
    const around = document.createElement("span");
    around.className = kind;
    around.append(made);
    made = around;
  }
  return made;
}
