// Slack's short names of emoji. The table comes when the page stands; until then a name is shown as it is written.
import { signal } from "../vendor/signals.mjs";
import { html } from "../html.js";

/** @type {import("../vendor/signals.mjs").Signal<Record<string, string>>} */
const table = signal({});
fetch(new URL("../vendor/emoji.json", import.meta.url))
  .then((answer) => answer.json())
  .then((found) => (table.value = found))
  .catch(() => {});

/** The signs that one puts on a message most often. */
export const USUAL = [
  ...["+1", "eyes", "white_check_mark", "tada", "heart", "question", "x", "octagonal_sign"],
  ...["-1", "raised_hands", "clap", "pray", "wave", "muscle", "ok_hand", "point_up"],
  ...["smile", "joy", "thinking_face", "sweat_smile", "open_mouth", "cry", "sunglasses", "smiling_imp"],
  ...["rocket", "fire", "sparkles", "bulb", "bug", "warning", "construction", "hourglass"],
  ...["100", "star", "coffee", "birthday", "robot_face", "unicorn_face", "see_no_evil", "mag"],
];

/**
 * @param {string} name without colons; with a skin tone perhaps
 * @returns {string} empty if there is none of this name
 */
export function character(name) {
  const [plain, tone] = name.split("::");
  const found = table.value[plain] || "";
  return found + ((found && tone && table.value[tone]) || "");
}

/** @param {{name: string}} props */
export function Emoji({ name }) {
  const found = character(name);
  return found
    ? html`<span role="img" aria-label=${name.replaceAll("_", " ")} title=${`:${name}:`}>${found}</span>`
    : html`<span>:${name}:</span>`;
}

/**
 * The names in which these words are, the best first.
 * @param {string} asked
 * @returns {string[]}
 */
export function namesWith(asked) {
  const words = asked.trim().toLowerCase().replaceAll(":", "").split(/[\s_]+/);
  const found = Object.keys(table.value).filter((name) => words.every((word) => name.includes(word)));
  const whole = words.join("_");
  /** @param {string} name */
  const rank = (name) => (name === whole ? 0 : name.startsWith(whole) ? 1 : 2);
  return found.sort((a, b) => rank(a) - rank(b));
}
