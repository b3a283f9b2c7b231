// Each request to the model in a turn, as its transcript tells it: when its reply came, and how many tokens it took.
import { useEffect, useState } from "../vendor/hooks.mjs";
import { html } from "../html.js";
import { counted, number } from "../text.js";
import { clock, full, lasted } from "../time.js";
import { load, stepsOf, streamed } from "./state.js";

/** @typedef {import("./state.js").Step} Step */
/** @typedef {{at: number, model: string, agent: string, tools: string[], read: number, written: number}} Request */

/**
 * @param {{turn: import("./state.js").Turn, start: number}} props `start`: when the turn began, in milliseconds
 */
export function Requests({ turn, start }) {
  const [open, setOpen] = useState(false);
  const steps = stepsOf(turn.number).shown.value;
  useEffect(() => {
    if (open && !streamed(turn.number)) load(turn.number);
  }, [open, turn.number]);
  if (!turn.workers.length) return null;
  const found = open || steps.length ? requestsIn(steps) : [];
  return html`<details class="requests" onToggle=${(/** @type {any} */ e) => setOpen(e.currentTarget.open)}>
    <summary>${
    found.length ? `Each of the ${counted(found.length, "request")} to the model` : "Each request to the model"
  }</summary>
    ${
    open &&
    (found.length ? Table(found, start) : html`<p class="dim small">The transcript has no reply of the model yet.</p>`)
  }
  </details>`;
}

/** @param {Request[]} requests @param {number} start */
function Table(requests, start) {
  return html`
    <div class="scroller" tabindex="0" role="group" aria-label="Requests to the model">
      <table>
        <thead>
          <tr>
            <th>Reply</th>
            <th>Model</th>
            <th>Asked for</th>
            <th align="right">Tokens read</th>
            <th align="right">Written</th>
          </tr>
        </thead>
        <tbody>${requests.map((each) =>
          html`
            <tr>
              <td>${each.at > 0 &&
                html`<time datetime=${new Date(each.at).toISOString()} title=${full(each.at)}>${clock(each.at)}${
                  start && each.at > start ? `, +${lasted((each.at - start) / 1000)}` : ""
                }</time>`}</td>
              <td>${each.model}${each.agent && ` (subagent ${each.agent.slice(0, 12)})`}</td>
              <td>${each.tools.join(", ") || "words"}</td>
              <td align="right">${number(each.read)}</td>
              <td align="right">${number(each.written)}</td>
            </tr>
          `
        )}</tbody>
      </table>
    </div>
  `;
}

/** The requests whose replies these steps are. @param {Step[]} steps */
function requestsIn(steps) {
  /** @type {Map<string, Request>} */
  const found = new Map();
  for (const step of steps) {
    if (!step.request) continue;
    const key = `${step.agent}/${step.request}`;
    const at = Date.parse(step.at) || 0;
    let request = found.get(key);
    if (!request) {
      found.set(key, request = { at, model: step.model, agent: step.agent, tools: [], read: 0, written: 0 });
    }
    if (step.kind === "tool") request.tools.push(step.tool);
    // Each entry of a reply repeats its figures, and the last one has them whole.
    request.read = Math.max(request.read, step.tokens_read);
    request.written = Math.max(request.written, step.tokens_written);
  }
  return [...found.values()];
}
