// On a phone the list of channels is a drawer.
import { signal } from "../vendor/signals.mjs";
import { html } from "../html.js";

/** Whether it is open. */
export const drawer = signal(false);

export function Menu() {
  return html`
    <button type="button" class="button quiet menu-button" aria-label="Channels" aria-expanded=${drawer.value}
      onClick=${() => (drawer.value = !drawer.value)}>☰</button>
  `;
}
