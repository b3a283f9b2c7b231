// What people use in blocks: buttons, menus, choices. An unknown one is drawn as a box with its name.
import { signal } from "../vendor/signals.mjs";
import { useRef, useState } from "../vendor/hooks.mjs";
import { html } from "../html.js";
import { webAddress } from "../text.js";
import { Emoji } from "./emoji.js";
import { Mrkdwn, plain } from "./mrkdwn.js";

/**
 * What is done with an element: `use` sends it, `filled` holds what is chosen in the fields beside it.
 * @typedef {object} Doing
 * @property {(action: string, value: string, filled: Record<string, string[]>) => Promise<unknown>} use
 * @property {import("../vendor/signals.mjs").Signal<Record<string, string[]>>} filled
 * @property {string[]} repeated the action ids that more than one element has
 */

/** @param {any[]} blocks @param {Doing["use"]} use @returns {Doing} */
export function doing(blocks, use) {
  /** @type {string[]} */
  const ids = [];
  for (const block of blocks) {
    for (const element of [block.accessory, ...(block.elements || [])]) {
      if (element?.action_id) ids.push(element.action_id);
    }
  }
  return { use, filled: signal({}), repeated: ids.filter((id, n) => ids.indexOf(id) !== n) };
}

/** @param {any} text a text object; its emoji are drawn */
export function words(text) {
  if (!text) return "";
  if (text.type === "mrkdwn") return html`<${Mrkdwn} text=${text.text} />`;
  return String(text.text).split(/(:[a-z0-9_+'-]+:)/).map((part) =>
    /^:[^:]+:$/.test(part) ? html`<${Emoji} name=${part.slice(1, -1)} />` : plain(part)
  );
}

/** @param {{element: any, on: Doing}} props */
export function Element({ element, on }) {
  switch (element.type) {
    case "button":
      return html`<${Button} element=${element} on=${on} />`;
    case "static_select":
      return html`<${Select} element=${element} on=${on} />`;
    case "overflow":
      return html`<${Overflow} element=${element} on=${on} />`;
    case "radio_buttons":
    case "checkboxes":
      return html`<${Choices} element=${element} on=${on} />`;
    case "feedback_buttons":
      return [element.positive_button, element.negative_button].map((button) =>
        html`<${Thumb} action=${element.action_id} button=${button} on=${on} />`
      );
    case "image":
      return html`<span class="named">${element.alt_text || "Image"}</span>`;
    default:
      return html`<${Unknown} kind=${element.type} />`;
  }
}

/** A thing that this page can't draw. @param {{kind: string}} props */
export function Unknown({ kind }) {
  return html`<div class="unknown">This page can't draw “${kind}”.</div>`;
}

/** A button keeps its focus while it waits. @param {() => Promise<unknown>} work @returns {[boolean, () => Promise<void>]} */
function useBusy(work) {
  const [busy, setBusy] = useState(false);
  const going = useRef(false);
  const press = async () => {
    if (going.current) return;
    going.current = true;
    setBusy(true);
    try {
      await work();
    } finally {
      going.current = false;
      setBusy(false);
    }
  };
  return [busy, press];
}

/** @param {{element: any, on: Doing}} props */
function Button({ element, on }) {
  // An action id that several buttons have does not name one of them; its value does.
  const name = on.repeated.includes(element.action_id) && element.value
    ? element.value
    : element.action_id || element.value;
  const [busy, press] = useBusy(() => on.use(name, "", on.filled.value));
  const kind = `button ${element.style || ""}`;
  const label = element.accessibility_label || undefined;
  const address = element.url ? webAddress(element.url) : "";
  if (address) {
    const out = { target: "_blank", rel: "noopener noreferrer" };
    return html`<a class=${kind} href=${address} aria-label=${label} ...${out} onClick=${press}>${
      words(element.text)
    }</a>`;
  }
  return html`
    <button type="button" class=${kind} aria-busy=${busy} aria-label=${label}
      onClick=${press}>${words(element.text)}</button>
  `;
}

/** @param {{action: string, button: any, on: Doing}} props */
function Thumb({ action, button, on }) {
  const [busy, press] = useBusy(() => on.use(action, button.value, {}));
  const label = button.accessibility_label || undefined;
  return html`
    <button type="button" class="button quiet" aria-busy=${busy} aria-label=${label} title=${label}
      onClick=${press}>${words(button.text)}</button>
  `;
}

/** @param {{element: any, on: Doing}} props */
function Select({ element, on }) {
  const chosen = on.filled.value[element.action_id]?.[0] ?? element.initial_option?.value ?? "";
  const label = element.placeholder?.text || "Choose";
  /** @param {any} event */
  const change = (event) => {
    const value = event.currentTarget.value;
    on.filled.value = { ...on.filled.value, [element.action_id]: [value] };
    on.use(element.action_id, value, on.filled.value);
  };
  return html`<select class="field menu" aria-label=${label} value=${chosen} onChange=${change}>
    <option value="" disabled hidden>${label}</option>
    ${
    element.options.map((/** @type {any} */ option) =>
      html`<option value=${option.value}>${plain(option.text.text)}</option>`
    )
  }
  </select>`;
}

let menus = 0;

/** @param {{element: any, on: Doing}} props */
function Overflow({ element, on }) {
  const id = useRef(`menu-${menus++}`);
  /** @param {any} option @param {any} event */
  const choose = (option, event) => {
    event.currentTarget.closest("[popover]").hidePopover();
    on.use(element.action_id, option.value, {});
  };
  return html`
    <span class="overflow">
      <button type="button" class="button" popovertarget=${id.current} aria-label="More choices"
        title="More choices">⋯</button>
      <div popover id=${id.current} class="menu-list" role="menu">
          ${element.options.map((/** @type {any} */ option) =>
            html`<button type="button" role="menuitem" onClick=${(/** @type {any} */ event) => choose(option, event)}>
          ${words(option.text)}${
              option.description && html`<span class="dim small">${words(option.description)}</span>`
            }
        </button>`
          )}
        </div>
    </span>
  `;
}

/** @param {{element: any, on: Doing}} props */
function Choices({ element, on }) {
  const several = element.type === "checkboxes";
  const group = useRef(`choice-${menus++}`);
  const initial = [element.initial_option, ...(element.initial_options || [])].filter(Boolean).map((option) =>
    option.value
  );
  const chosen = on.filled.value[element.action_id] || initial;
  /** @param {string} value @param {boolean} checked */
  const change = (value, checked) => {
    const others = several ? chosen.filter((/** @type {string} */ each) => each !== value) : [];
    on.filled.value = { ...on.filled.value, [element.action_id]: checked ? [...others, value] : others };
    on.use(element.action_id, "", on.filled.value);
  };
  return html`<div class="choices" role=${several ? "group" : "radiogroup"} aria-label="Choose">
    ${
    element.options.map((/** @type {any} */ option) =>
      html`
        <label class="choice">
          <input type=${several ? "checkbox" : "radio"} name=${group.current} checked=${chosen.includes(option.value)}
            onChange=${(/** @type {any} */ event) => change(option.value, event.currentTarget.checked)} />
          <span>${words(option.text)}${option.description &&
            html`<span class="dim small">${words(option.description)}</span>`}</span>
        </label>
      `
    )
  }
  </div>`;
}
