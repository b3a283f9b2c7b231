// Which sign one puts on a message: the usual ones, and all others by their names.
import { useEffect, useRef, useState } from "../vendor/hooks.mjs";
import { html } from "../html.js";
import { number } from "../text.js";
import { character, namesWith, USUAL } from "./emoji.js";

const MOST_SHOWN = 160;
const IN_A_ROW = 8;

/** @param {{put: (name: string) => void}} props */
export function Picker({ put }) {
  const [asked, setAsked] = useState("");
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  useEffect(() => field.current?.focus(), []);
  const names = namesWith(asked);
  const shown = asked.trim() ? names.slice(0, MOST_SHOWN) : USUAL.filter(character);
  const left = names.length - shown.length;
  /** @param {KeyboardEvent} event */
  const press = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: IN_A_ROW, ArrowUp: -IN_A_ROW }[event.key];
    const inField = event.target === field.current;
    if (event.key === "Enter" && inField) {
      event.preventDefault();
      if (shown[0]) put(shown[0]);
    } else if (step && (!inField || event.key === "ArrowDown")) {
      event.preventDefault();
      const buttons = [.../** @type {HTMLElement} */ (event.currentTarget).querySelectorAll("button")];
      const now = inField ? 0 : buttons.findIndex((each) => each === document.activeElement) + step;
      (now < 0 ? field.current : buttons[Math.min(now, buttons.length - 1)])?.focus();
    }
  };
  return html`
    <div class="picker" onKeyDown=${press}>
      <input class="field" ref=${field} type="text" aria-label="Find a sign" placeholder="Find a sign: heart, rocket …"
        autocomplete="off" value=${asked} onInput=${(/** @type {any} */ event) =>
          setAsked(event.currentTarget.value)} />
      <div class="picker-signs" tabindex="-1" role="group" aria-label="Signs">${shown.map((name) =>
        html`
          <button key=${name} type="button" aria-label=${name.replaceAll("_", " ")}
            title=${`:${name}:`} onClick=${() => put(name)}>${character(name) || name}</button>
        `
      )}</div>
      <p class="dim small" role="status">${shown.length === 0
        ? "No sign has this in its name."
        : left > 0
        ? `${number(left)} more: type ${asked.trim() ? "more of" : ""} a name.`
        : ""}</p>
    </div>
  `;
}
