// Under the hood of a thread: the way of a message with its times, its requests, the journal's documents, and switches for trouble.
import { signal } from "../vendor/signals.mjs";
import { useEffect, useState } from "../vendor/hooks.mjs";
import { h, html } from "../html.js";
import { Code } from "../markdown.js";
import { ask } from "../door.js";
import { counted, size } from "../text.js";
import { full, lasted, precise } from "../time.js";
import { about, place, say, threadKey } from "./state.js";

/** Whether it is open. */
export const hood = signal(false);

export function Hood() {
  const [seen, setSeen] = useState(/** @type {any} */ (null));
  const [words, setWords] = useState("");
  const { channel, thread } = place.value;
  useEffect(() => {
    setSeen(null);
    if (!thread) return;
    let over = false;
    const look = async () => {
      try {
        const found = await ask(`/page/hood?${new URLSearchParams({ channel, thread_ts: thread })}`);
        if (!over) setSeen(found);
      } catch (error) {
        if (!over) setWords(error instanceof Error ? error.message : "");
      }
    };
    look();
    const timer = setInterval(() => document.hidden || look(), 1000);
    return () => {
      over = true;
      clearInterval(timer);
    };
  }, [threadKey.value]);
  /** @param {string} name */
  const cause = async (name) => {
    try {
      setWords((await ask(`/page/trouble/${name}`, {})).words);
    } catch (error) {
      say(error);
    }
  };
  return html`
    <aside class="hood" aria-label="Under the hood">
      <header class="top"><h2>Under the hood</h2>
          <button type="button" class="button quiet close" aria-label="Close" onClick=${() => (hood.value =
            false)}>✕</button></header>
      <div class="log" tabindex="0" role="region" aria-label="What happened">
          ${!thread && html`<p class="dim">Open a thread to see what happened to its messages.</p>`}
          ${thread && !seen && html`<p><span class="spinner"></span> Reading the journal …</p>`}
          ${(seen?.turns || []).map((/** @type {any} */ turn) => h(Turn, { key: turn.n, turn }))}
          ${seen && html`
            <${Exchanges} heading=${counted(of(seen, "model").length, "request") +
              " to the model since this start"} exchanges=${of(seen, "model")} />
            <${Exchanges} heading=${counted(of(seen, "git").length, "fetch or push", "fetches and pushes") +
              " of git since this start"} exchanges=${of(seen, "git")} />
            <${Documents} documents=${seen.documents} />
          `}
          <h3>Trouble</h3>
          <p class="dim small">Each does what it says, once. The answer still comes, once.</p>
          <ul class="troubles">${(about.value.troubles || []).map((/** @type {any} */ each) =>
            html`<li><button type="button" class="button" onClick=${() =>
              cause(each.cause)}>${each.heading}</button> <span class="small">${each.words}</span></li>`
          )}</ul>
          <p role="status" class="small">${words}</p>
        </div>
    </aside>
  `;
}

/** @param {any} seen @param {"model" | "git"} what */
function of(seen, what) {
  return seen.exchanges.filter((/** @type {any} */ each) => each.what === what);
}

/** @param {{turn: any}} props */
function Turn({ turn }) {
  const first = turn.steps[0]?.events[0]?.at;
  return html`
    <section class="turn">
      <h3>${turn.heading}</h3>
      <ol class="way">${turn.steps.map((/** @type {any} */ step) =>
        html`<li class=${step.events.length ? "" : "to-come"}><b>${step.step}</b>${
          step.events.length
            ? step.events.map((/** @type {any} */ event) =>
              html`<p><span class="dim">${event.words}</span> <${When} at=${event.at} since=${first} /></p>`
            )
            : html`
              <span class="dim">to come</span>
            `
        }</li>`
      )}</ol>
    </section>
  `;
}

/** @param {{at: number | null, since: number | undefined}} props */
function When({ at, since }) {
  if (!at) return null;
  return html`<time class="small" title=${full(at)} datetime=${new Date(at).toISOString()}>${precise(at)}${
    since && at > since ? `, +${lasted((at - since) / 1000)}` : ""
  }</time>`;
}

/**
 * What the gateway passed on for the thread.
 * @param {{heading: string, exchanges: any[]}} props
 */
function Exchanges({ heading, exchanges }) {
  return html`
    <details class="documents">
      <summary>${heading}</summary>
      <ol class="exchanges small">${exchanges.map((each) =>
        html`<li><code>${each.words}</code> <span class="dim">run ${each.run}, HTTP ${each.http}, ${
          size(each.sent)
        } sent${each.received === null ? "" : `, ${size(each.received)} received`}${
          each.seconds === null ? "" : `, in ${lasted(each.seconds)}`
        }</span> <${When} at=${each.at} /></li>`
      )}</ol>
    </details>
  `;
}

/** @param {{documents: {path: string, content: string}[]}} props */
function Documents({ documents }) {
  return html`<details class="documents"><summary>${counted(documents.length, "object")} in the journal</summary>
    ${
    documents.map((each) =>
      html`
        <details key=${each.path}>
          <summary><code>${each.path}</code></summary>
          <${Code} text=${each.content} language="json" label=${each.path} />
        </details>
      `
    )
  }
  </details>`;
}
