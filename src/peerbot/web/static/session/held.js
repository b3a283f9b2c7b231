// What a turn's worker was told to keep to.
import { html } from "../html.js";
import { lasted } from "../time.js";
import { settings } from "./state.js";

const NETWORKS = /** @type {Record<string, string>} */ ({
  machine: "whatever this machine reaches",
  internet: "the internet, and no private network",
  gateway: "PeerBot's gateway alone",
  open: "everything",
});

/** @param {{turn: import("./state.js").Turn}} props */
export function Settings({ turn }) {
  const { held } = turn;
  if (!held) return null;
  const repository = turn.repository || settings.value?.repository || "";
  return html`
    <details class="settings">
      <summary>Settings that held</summary>
      <dl class="held small">
          <div><dt>Model</dt><dd>${held.model || "Claude Code's default"}</dd></div>
          ${repository && html`
            <div>
              <dt>Repository</dt>
              <dd>${repository}</dd>
            </div>
          `}
          <div><dt>Budget of the turn</dt><dd>$${held.budget_usd.toFixed(2)}</dd></div>
          <div><dt>Time limit</dt><dd>${lasted(held.turn_seconds)}</dd></div>
          <div><dt>The agent's programs reach</dt><dd>${NETWORKS[held.network] || held.network ||
            "nobody knows"}</dd></div>
        </dl>
    </details>
  `;
}
