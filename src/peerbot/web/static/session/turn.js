// One turn: who asked what, how it went in time, what the agent did, its answer, what changed, and what it cost.
import { useEffect, useState } from "../vendor/hooks.mjs";
import { h, html } from "../html.js";
import { Markdown } from "../markdown.js";
import { DiffOfFile } from "../diff.js";
import { counted, number, webAddress } from "../text.js";
import { Ago, full, lasted } from "../time.js";
import { base, load, search, stepsOf, streamed } from "./state.js";
import { dollars } from "./money.js";
import { Requests } from "./requests.js";
import { asDiff, StepList } from "./steps.js";
import { Settings } from "./held.js";

/** @typedef {import("./state.js").Turn} TurnData */

const STATES = {
  waiting: "waiting",
  working: "working",
  asks: "needs an answer",
  done: "done",
  failed: "no answer",
  stopped: "stopped",
  refused: "refused",
};
const MOMENTS = /** @type {Record<string, string>} */ ({
  said: "Asked",
  recorded: "Recorded",
  reserved: "Placed",
  started: "Worker up",
  cloned: "Cloned",
  requested: "First request",
  first: "First words",
  saved: "Last checkpoint",
  pushed: "Pushed",
  interrupted: "Interrupted",
  ended: "Work done",
  posted: "Answer posted",
  refused: "Slack refused the answer",
});
const DID = /** @type {Record<string, string>} */ ({
  message: "asked",
  edit: "changed it to",
  delete: "took it back",
  stop: "stopped the work",
  answer: "answered",
  choice: "chose",
});

/** @param {{turn: TurnData, newest: boolean}} props */
export function Turn({ turn, newest }) {
  const working = turn.state === "working" || turn.state === "waiting";
  return html`<section class="turn" id=${`turn-${turn.number}`} aria-labelledby=${`turn-${turn.number}-title`}>
    <header>
      <h2 id=${`turn-${turn.number}-title`}>Turn ${turn.number}</h2>
      <span class="badge ${turn.state}">${working && html`<span class="spinner"></span>`} ${STATES[turn.state]}</span>
      ${turn.seconds !== null && html`<span class="dim small">${lasted(turn.seconds)}</span>`}
      ${turn.usd !== null && html`<span class="dim small">${dollars(turn.usd)}</span>`}
    </header>
    ${turn.unreadable && html`<p class="notice warning">${turn.unreadable}</p>`}
    ${turn.inputs.map((said) => html`<${Asked} said=${said} />`)}
    <${Times} turn=${turn} />
    <${Requests} turn=${turn} start=${startOf(turn)} />
    <${Did} turn=${turn} newest=${newest} />
    ${turn.questions.map((each) => html`<${Question} asked=${each} />`)}
    ${
    turn.words && html`
      <div class="answer">
        <h3>Answer</h3>
        <${Markdown} text=${turn.words} level=${4} />
      </div>
    `
  }
    ${
    turn.notes.map((note) =>
      html`
        <div class="notice">
          <${Markdown} text=${note} />
        </div>
      `
    )
  }
    <${Changed} turn=${turn} />
    <${Costs} turn=${turn} />
    <${Settings} turn=${turn} />
  </section>`;
}

/** @param {{said: import("./state.js").Said}} props */
function Asked({ said }) {
  return html`<div class="asked">
    <p class="small"><b><bdi>${said.who}</bdi></b> <span class="dim">${
    DID[said.what] || said.what
  }</span> <span class="dim"><${Ago} at=${Date.parse(said.at)} /></span></p>
    ${said.text && html`<p class="words" dir="auto">${said.text}</p>`}
    ${said.files.length > 0 && html`<p class="small dim">with ${said.files.join(", ")}</p>`}
  </div>`;
}

/** @param {{asked: TurnData["questions"][number]}} props */
function Question({ asked }) {
  return html`
    <div class="notice question">
      <h3>The agent asked</h3>
      <${Markdown} text=${asked.what} level=${4} />
      <p class="small">${asked.answer
        ? html`<b><bdi>${asked.by || "Answer"}</bdi></b>: <span dir="auto">${asked.answer}</span>`
        : html`<span class="dim">Nobody has answered yet.</span>`}</p>
    </div>
  `;
}

/** When a turn began, in milliseconds; 0 if nobody knows. @param {TurnData} turn */
function startOf(turn) {
  return turn.moments.length ? Date.parse(turn.moments[0].at) : 0;
}

/** @param {{turn: TurnData}} props */
function Times({ turn }) {
  const shown = stepsOf(turn.number).shown.value;
  const first = shown.find((step) => step.kind === "said" || step.kind === "tool" || step.kind === "thought");
  const moments = turn.moments.map((moment) => ({ ...moment, time: Date.parse(moment.at) }));
  if (first?.at) moments.push({ what: "first", at: first.at, about: "", time: Date.parse(first.at) });
  moments.sort((a, b) => a.time - b.time);
  const start = moments[0]?.time;
  if (start === undefined) return null;
  return html`<ol class="times" aria-label="How it went">${
    moments.map((moment) =>
      html`<li class=${moment.what} title=${moment.about}>
        <span>${MOMENTS[moment.what] || moment.what}${
        moment.what === "saved" && turn.saves > 1 ? ` (of ${turn.saves})` : ""
      }</span>
        <time class="dim" datetime=${moment.at} title=${full(moment.time)}>${
        moment.time === start ? clockOf(moment.time) : `+${lasted((moment.time - start) / 1000)}`
      }</time>
        ${moment.what === "interrupted" && html`<span class="because">${moment.about}</span>`}
      </li>`
    )
  }${
    // While it works the journal tells how many there are, and not when.
    turn.saves > 0 && !moments.some((moment) => moment.what === "saved") &&
    html`<li class="saved"><span>${counted(turn.saves, "checkpoint")}</span></li>`}</ol>`;
}

const clockFormat = new Intl.DateTimeFormat("en", { timeStyle: "medium", hour12: false });

/** @param {number} at */
function clockOf(at) {
  return clockFormat.format(at);
}

/** @param {{turn: TurnData, newest: boolean}} props */
function Did({ turn, newest }) {
  const steps = stepsOf(turn.number);
  const [open, setOpen] = useState(newest);
  const all = steps.shown.value;
  const last = all.at(-1);
  const shown = last?.kind === "said" && last.text.trim() === turn.words.trim() ? all.slice(0, -1) : all; // the answer
  const state = steps.state.value;
  useEffect(() => {
    if ((open || search.value) && !streamed(turn.number)) load(turn.number);
  }, [open, search.value, turn.number]);
  if (turn.workers.length === 0 && !shown.length) return null;
  const tools = shown.filter((step) => step.kind === "tool").length;
  return html`<details class="did" open=${open || search.value !== ""} onToggle=${(/** @type {any} */ e) =>
    setOpen(e.currentTarget.open)}>
    <summary>
      <span>What the agent did</span>
      <span class="dim small">${
    state === "" && !newest ? "" : `${counted(shown.length, "step")}, ${counted(tools, "tool call")}`
  }</span>
    </summary>
    ${state === "loading" && html`<p class="dim small"><span class="spinner"></span> Reading the transcript…</p>`}
    ${
    state === "failed" &&
    html`
      <p
        class="notice error">The transcript could not be read. <button class="button" onClick=${() =>
          load(turn.number)}>Try again</button></p>
    `
  }
    ${h(StepList, { turn: turn.number, steps: shown })}
    ${turn.state === "working" && html`<p class="working"><span class="spinner"></span> At work…</p>`}
    ${
    state === "whole" && !shown.length && turn.state !== "working" &&
    html`<p class="dim small">The transcript has no step of this turn.</p>`
  }
  </details>`;
}

/** @param {{turn: TurnData}} props */
function Changed({ turn }) {
  const links = [
    turn.pull_request && { url: turn.pull_request.url, words: `Pull request #${turn.pull_request.number}` },
    turn.commit && { url: turn.commit_url, words: `Commit ${turn.commit.slice(0, 7)}` },
    turn.commits_url && { url: turn.commits_url, words: "All commits of the turn" },
    turn.branch && { url: turn.branch_url, words: turn.branch },
  ].filter((each) => !!each);
  if (!links.length && !turn.files.length && !turn.kept && !turn.session) return null;
  return html`<div class="changed">
    ${
    turn.files.length > 0 &&
    html`<h3>${counted(turn.files.length, "file")} changed</h3>${
      turn.files.map((file) => h(Changes, { key: file.path, turn, file }))
    }`
  }
    ${
    turn.kept && html`<p class="small dim">Work that is on no branch is saved, and the next turn goes on with it.</p>`
  }
    <p class="links small">${
    links.map(({ url, words }) =>
      webAddress(url)
        ? html`<a href=${webAddress(url)} target="_blank" rel="noopener noreferrer">${words}</a>`
        : html`<span>${words}</span>`
    )
  }
      ${
    turn.session &&
    html`<a href=${`${base}/turns/${turn.number}/transcript.jsonl`} download>Download transcript</a><a href=${`${base}/turns/${turn.number}/session.zip`} download>Download for claude --resume</a>`
  }</p>
  </div>`;
}

/** @param {{turn: TurnData, file: import("./state.js").FileChange}} props */
function Changes({ turn, file }) {
  const [open, setOpen] = useState(false);
  const edits = open
    ? stepsOf(turn.number).shown.value.flatMap((step) =>
      step.result?.change && sameFile(step.result.change.path, file.path) ? [step.result.change] : []
    )
    : [];
  useEffect(() => {
    if (open && !streamed(turn.number)) load(turn.number);
  }, [open, turn.number]);
  const size = file.added === null || file.removed === null ? "binary" : "";
  return html`<details class="file" onToggle=${(/** @type {any} */ e) => setOpen(e.currentTarget.open)}>
    <summary><bdi class="mono">${file.path}</bdi> ${
    size || html`<span class="added">+${file.added}</span> <span class="removed">−${file.removed}</span>`
  }</summary>
    ${
    open &&
    (edits.length
      ? h(DiffOfFile, { file: asDiff(file.path, edits) })
      : html`<p class="dim small">The agent changed it by a command, not with its own tools: ${
        webAddress(turn.pull_request?.url || turn.commit_url)
          ? html`<a href=${
            webAddress(turn.pull_request?.url || turn.commit_url)
          } target="_blank" rel="noopener noreferrer">see it on GitHub</a>`
          : "the transcript does not show how"
      }.</p>`)
  }
  </details>`;
}

/** @param {string} edited as the tool had it @param {string} path in the repository */
function sameFile(edited, path) {
  return edited === path || edited.endsWith(`/${path}`);
}

/** @param {{turn: TurnData}} props */
function Costs({ turn }) {
  if (!turn.spent.length && turn.workers.length < 2) return null;
  const usd = turn.usd ?? turn.spent.reduce((sum, each) => sum + each.usd, 0);
  const requests = turn.spent.reduce((sum, each) => sum + each.requests, 0);
  return html`<details class="costs">
    <summary>${
    turn.spent.length ? `${dollars(usd)} · ${counted(requests, "request")}` : counted(turn.workers.length, "worker")
  }${turn.demo ? " · demo model" : ""}</summary>
    ${
    turn.spent.length > 0 &&
    html`
      <div class="scroller" tabindex="0" role="group" aria-label="Costs by model">
        <table>
          <thead>
            <tr>
              <th>Model</th>
              <th align="right">Cost</th>
              <th align="right">Requests</th>
              <th align="right">Read</th>
              <th align="right">From cache</th>
              <th align="right">Written</th>
            </tr>
          </thead>
          <tbody>${turn.spent.map((each) =>
            html`
              <tr>
                <td>${each.model}</td>
                <td align="right">${dollars(each.usd)}</td>
                <td align="right">${number(each.requests)}</td>
                <td align="right">${number(each.input + each.cache_write)}</td>
                <td align="right">${number(each.cache_read)}</td>
                <td align="right">${number(each.output)}</td>
              </tr>
            `
          )}</tbody>
        </table>
      </div>
      <p class="dim small">Tokens, and dollars at list prices.</p>
    `
  }
    <ul class="workers small">${
    turn.workers.map((worker) =>
      html`<li><span class="mono">${worker.name}</span> ${
        worker.because ? `ended: ${worker.because}` : worker.closed ? "ended" : worker.started ? "is up" : "starts"
      }</li>`
    )
  }</ul>
  </details>`;
}
