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
