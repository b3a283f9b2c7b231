// Between what people type and what Slack sends: "@peerbot" is a mention, and & < > are escaped.
import { people } from "./state.js";

/** @param {string} text as typed @returns {string} as sent */
export function escaped(text) {
  const safe = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return safe.replace(/(?<![\p{L}\p{N}@])@([a-z0-9._-]*[a-z0-9])/giu, (whole, handle) => {
    const person = Object.values(people.value).find((each) => each.handle === handle.toLowerCase());
    return person ? `<@${person.id}>` : whole;
  });
}

/** @param {string} text as sent @returns {string} as typed */
export function unescaped(text) {
  return text
    .replace(/<@(\w+)>/g, (whole, id) => (people.value[id] ? `@${people.value[id].handle}` : whole))
    .replace(/<(https?:[^|>]+)(?:\|[^>]*)?>/g, "$1")
    .replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}
