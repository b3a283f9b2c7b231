// What the agent did, step by step: folded, and drawn in blocks that the browser leaves alone until they come into view.
import { Component } from "../vendor/preact.mjs";
import { useState } from "../vendor/hooks.mjs";
import { h, html } from "../html.js";
import { Code, Markdown } from "../markdown.js";
import { DiffOfFile } from "../diff.js";
import { counted, number } from "../text.js";
import { clock, full } from "../time.js";
import { base, search } from "./state.js";

/** @typedef {import("./state.js").Step} Step */

const A_BLOCK = 12;
const A_ROW = 27; // pixels, about
const LANGUAGES = /** @type {Record<string, string>} */ ({ Bash: "bash" });

/**
 * The steps of a turn, those that match the search if there is one.
 * @param {{turn: number, steps: Step[]}} props
 */
export function StepList({ turn, steps }) {
  const wanted = search.value.trim().toLowerCase();
  const found = wanted ? steps.filter((step) => matches(step, wanted)) : steps;
  const strange = steps.filter((step) => step.kind === "unknown");
  const shown = found.filter((step) => step.kind !== "unknown");
  const blocks = [];
  for (let at = 0; at < shown.length; at += A_BLOCK) blocks.push(shown.slice(at, at + A_BLOCK));
  return html`
    ${wanted && html`<p class="dim small" role="status">${counted(shown.length, "step")} with “${search.value}”</p>`}
    <div class="steps">${blocks.map((block, n) => h(Block, { key: n, turn, steps: block }))}</div>
    ${strange.length > 0 &&
      html`<p class="dim small">${
        counted(strange.length, "entry", "entries")
      } of the transcript are of kinds that this page does not know (${
        [...new Set(strange.map((step) => step.title))].slice(0, 5).join(", ")
      }).</p>`}
  `;
}

/** @param {Step} step @param {string} wanted */
function matches(step, wanted) {
  const texts = [step.title, step.tool, step.text, step.result?.text || "", step.result?.change?.path || ""];
  return texts.some((text) => text.toLowerCase().includes(wanted));
}

/**
 * Some steps. It is drawn again only if one of them is another.
 * @param {{turn: number, steps: Step[]}} props
 */
class Block extends Component {
  /** @override @param {{turn: number, steps: Step[]}} next */
  shouldComponentUpdate(next) {
    const before = /** @type {any} */ (this.props).steps;
    return next.steps.length !== before.length || next.steps.some((step, n) => step !== before[n]);
  }

  /** @override */
  render() {
    const { turn, steps } = /** @type {any} */ (this.props);
    const size = { containIntrinsicBlockSize: `auto ${steps.length * A_ROW}px` };
    return html`<div class="block" style=${size}>${
      steps.map((/** @type {Step} */ step) => h(OneStep, { key: step.key, turn, step }))
    }</div>`;
  }
}

/** @param {{turn: number, step: Step}} props */
function OneStep({ turn, step }) {
  switch (step.kind) {
    case "said":
      return html`
        <div class="step said">
          <${By} step=${step} />
          <${Markdown} text=${step.text} />
          <${Rest} turn=${turn} step=${step} />
        </div>
      `;
    case "tool":
      return h(Tool, { turn, step });
    case "thought":
      return h(Folded, {
        turn,
        step,
        name: "Thought",
        title: step.text ? firstLine(step.text) : "not shared by the model",
      });
    case "told":
      return h(Folded, { turn, step, name: "Told", title: firstLine(step.text) });
    case "unreadable":
      return html`<p class="step notice warning">${step.text}</p>`;
    case "event":
      return h(Folded, { turn, step, name: "Event", title: step.title || firstLine(step.text) });
    default:
      return h(Folded, { turn, step, name: "Result", title: firstLine(step.text) });
  }
}

/** @param {string} text */
function firstLine(text) {
  const lines = text.trim().split("\n");
  return (lines.find((line) => line && !/^<[^>]*>$/.test(line)) || lines[0]).slice(0, 160);
}

/** @param {{step: Step}} props */
function By({ step }) {
  return step.agent ? html`<span class="badge">subagent ${step.agent.slice(0, 12)}</span>` : null;
}

/** @param {{step: Step}} props */
function At({ step }) {
  const at = Date.parse(step.at);
  return Number.isNaN(at)
    ? null
    : html`<time class="dim" datetime=${new Date(at).toISOString()} title=${full(at)}>${clock(at)}</time>`;
}

/** @param {{turn: number, step: Step, name: string, title: string}} props */
function Folded({ turn, step, name, title }) {
  const [open, setOpen] = useState(false);
  return html`<details class="step ${step.kind}" onToggle=${(/** @type {any} */ e) => setOpen(e.currentTarget.open)}>
    <summary><span class="tool">${name}</span> <${By} step=${step} /> <bdi class="title">${title}</bdi> <${At} step=${step} /></summary>
    ${open && step.text && h(Code, { text: step.text, label: name })}
    ${open && h(Rest, { turn, step })}
  </details>`;
}

/** @param {{turn: number, step: Step}} props */
function Tool({ turn, step }) {
  const [open, setOpen] = useState(false);
  const result = step.result;
  const state = !result ? "no result" : result.failed ? "failed" : "";
  return html`<details class="step tool" onToggle=${(/** @type {any} */ e) => setOpen(e.currentTarget.open)}>
    <summary>
      <span class="tool">${step.tool || "Tool"}</span> <${By} step=${step} />
      <bdi class="title">${step.title || firstLine(step.text)}</bdi>
      ${state && html`<span class="badge ${result?.failed ? "failed" : ""}">${state}</span>`}
      <${At} step=${step} />
    </summary>
    ${open && h(Inside, { turn, step })}
  </details>`;
}

/** @param {{turn: number, step: Step}} props */
function Inside({ turn, step }) {
  const result = step.result;
  if (result?.change) {
    return html`<div class="inside">${h(DiffOfFile, { file: asDiff(result.change.path, [result.change]) })}
      <details><summary>Input and output</summary><${Both} turn=${turn} step=${step} /></details></div>`;
  }
  return html`
    <div class="inside">
      <${Both} turn=${turn} step=${step} />
    </div>
  `;
}

/** @param {{turn: number, step: Step}} props */
function Both({ turn, step }) {
  const result = step.result;
  return html`
    <h3 class="hidden">Input</h3>
    ${step.text && h(Code, { text: step.text, label: "Input", language: LANGUAGES[step.tool] || "" })}
    <${Rest} turn=${turn} step=${step} />
    <h3 class="dim small">${result ? (result.failed ? "Failed" : "Output") : "No result is in the transcript."}</h3>
    ${result &&
      (result.text ? h(Code, { text: result.text, label: "Output" }) : html`<p class="dim small">nothing</p>`)}
    ${result && h(Rest, { turn, step: result })}
  `;
}

/** @param {{turn: number, step: Step}} props */
function Rest({ turn, step }) {
  if (!step.chars) return null;
  return html`<p class="small"><a href=${`${base}/turns/${turn}/steps/${step.id}`} download>All ${
    number(step.chars)
  } characters</a></p>`;
}

/**
 * The edits of a file as a diff, in the order in which they were made.
 * @param {string} path
 * @param {import("./state.js").Change[]} changes
 * @returns {import("../diff.js").FileDiff}
 */
export function asDiff(path, changes) {
  const hunks = changes.flatMap((change) =>
    change.hunks.map((hunk) => ({
      range: `@@ -${hunk.old} +${hunk.new} @@`,
      oldStart: hunk.old,
      newStart: hunk.new,
      lines: hunk.lines,
    }))
  );
  const count = (/** @type {string} */ sign) =>
    hunks.reduce((sum, hunk) => sum + hunk.lines.filter((line) => line[0] === sign).length, 0);
  return {
    oldPath: changes[0]?.created ? "" : path,
    newPath: path,
    notes: changes.some((change) => change.cut) ? ["cut: it is very long"] : [],
    hunks,
    added: count("+"),
    removed: count("-"),
  };
}
