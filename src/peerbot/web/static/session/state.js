// What the session page knows: turns as the server tells them, and the steps of those that were asked for.
import { batch, signal } from "../vendor/signals.mjs";
import { ask, Refusal } from "../page.js";
import { listen } from "../stream.js";

/** @typedef {{who: string, what: string, door: string, at: string, text: string, files: string[]}} Said */
/** @typedef {{number: number, name: string, reserved: string, started: string | null, closed: string | null, end: string, because: string}} Worker */
/** @typedef {{what: string, at: string, about: string}} Moment */
/** @typedef {{model: string, usd: number, requests: number, input: number, output: number, cache_read: number, cache_write: number}} Spent */
/** @typedef {{path: string, added: number | null, removed: number | null}} FileChange */
/**
 * @typedef {object} Turn as `overview.py` has it
 * @property {number} number
 * @property {"waiting" | "working" | "done" | "asks" | "failed" | "stopped" | "refused"} state
 * @property {Said[]} inputs
 * @property {Worker[]} workers
 * @property {{model: string, budget_usd: number, turn_seconds: number, network: string} | null} held
 * @property {number} saves
 * @property {{what: string, at: string, answer: string, by: string}[]} questions
 * @property {Moment[]} moments
 * @property {string} words
 * @property {string[]} notes
 * @property {FileChange[]} files
 * @property {string} repository
 * @property {string} repository_url
 * @property {string} branch
 * @property {string} branch_url
 * @property {string} commit
 * @property {string} commit_url
 * @property {string} commits_url
 * @property {{number: number, url: string} | null} pull_request
 * @property {boolean} kept
 * @property {boolean} demo
 * @property {number | null} usd
 * @property {Spent[]} spent
 * @property {number | null} seconds
 * @property {boolean} session
 * @property {string} unreadable
 */
/** @typedef {{old: number, new: number, lines: string[]}} Hunk */
/** @typedef {{path: string, created: boolean, hunks: Hunk[], cut: boolean}} Change */
/**
 * @typedef {object} Step as `steps.py` has it; `result` is the step that brings a tool's result
 * @property {string} id
 * @property {string} key
 * @property {"said" | "thought" | "tool" | "result" | "told" | "event" | "unreadable" | "unknown"} kind
 * @property {string} at
 * @property {string} agent
 * @property {string} tool
 * @property {string} call
 * @property {string} title
 * @property {string} text
 * @property {number} chars
 * @property {boolean} failed
 * @property {Change | null} change
 * @property {string} request
 * @property {string} model
 * @property {number} tokens_read
 * @property {number} tokens_written
 * @property {Step} [result]
 */
/** @typedef {{began_by: string, began: string, repository: string, repository_url: string, base: string, branch: string, model: string, instructions: boolean}} Settings */

/** Where this conversation's page is. */
export const base = location.pathname.replace(/\/+$/, "");

/** @type {import("../vendor/signals.mjs").Signal<"loading" | "here" | "sign_in" | "none" | "away">} */
export const view = signal("loading");
export const words = signal("");
export const viewer = signal("");
export const live = signal(/** @type {"" | "open" | "waiting" | "hidden"} */ (""));
export const trouble = signal("");
export const settled = signal(false);
export const leftOut = signal(0);
export const search = signal("");
/** @type {import("../vendor/signals.mjs").Signal<Settings | null>} */
export const settings = signal(null);
/** @type {import("../vendor/signals.mjs").Signal<Turn[]>} */
export const turns = signal([]);

/** The steps of one turn. */
export class Steps {
  constructor() {
    /** @type {import("../vendor/signals.mjs").Signal<Step[]>} */
    this.shown = signal([]);
    /** @type {import("../vendor/signals.mjs").Signal<"" | "loading" | "whole" | "failed">} */
    this.state = signal("");
    this.next = "0.0";
    /** @type {Set<string>} */
    this.keys = new Set();
    /** @type {Map<string, number>} */
    this.calls = new Map();
    /** @type {Step[]} */
    this.queue = [];
  }

  /** @param {Step[]} steps */
  add(steps) {
    this.queue.push(...steps.filter((step) => !this.keys.has(step.key) && this.keys.add(step.key)));
    waiting.add(this);
    draw();
  }

  /** Show some of what came; a frame has to stay short. */
  drain() {
    const found = [...this.shown.value];
    for (const step of this.queue.splice(0, A_FRAME)) {
      const at = step.kind === "result" ? this.calls.get(step.call) : undefined;
      if (at !== undefined) {
        found[at] = { ...found[at], result: step };
        continue;
      }
      if (step.kind === "tool") this.calls.set(step.call, found.length);
      found.push(step);
    }
    this.shown.value = found;
    return this.queue.length > 0;
  }
}

const A_FRAME = 60;
/** @type {Set<Steps>} */
const waiting = new Set();
let drawing = false;

function draw() {
  if (drawing || !waiting.size) return;
  drawing = true;
  const next = document.hidden
    ? setTimeout
    : (/** @type {() => void} */ f) => requestAnimationFrame(() => setTimeout(f));
  next(() => {
    drawing = false;
    batch(() => {
      for (const steps of waiting) if (!steps.drain()) waiting.delete(steps);
    });
    draw();
  });
}

/** @type {Map<number, Steps>} */
const known = new Map();

/** @param {number} turn */
export function stepsOf(turn) {
  let steps = known.get(turn);
  if (!steps) known.set(turn, steps = new Steps());
  return steps;
}

/** Whether the stream brings this turn's steps by itself. @param {number} turn */
export function streamed(turn) {
  return turn === turns.value.at(-1)?.number || stepsOf(turn).state.value === "whole";
}

/** Read the steps of a turn that is over. @param {number} turn */
export async function load(turn) {
  const steps = stepsOf(turn);
  if (steps.state.value === "loading" || steps.state.value === "whole") return;
  steps.state.value = "loading";
  try {
    for (let more = true; more;) {
      const page = await ask(`${base}/turns/${turn}/steps?after=${steps.next}`);
      steps.add(page.steps);
      steps.next = page.next;
      more = page.more;
    }
    steps.state.value = "whole";
  } catch (error) {
    steps.state.value = "failed";
    refused(error);
  }
}

/** @param {unknown} error */
function refused(error) {
  const status = error instanceof Refusal ? error.status : 0;
  if (status === 401) leave("sign_in", String(/** @type {Error} */ (error).message));
  else if (status === 404) leave("none", String(/** @type {Error} */ (error).message));
  else trouble.value = error instanceof Error ? error.message : "The server does not answer.";
}

/** @type {() => void} */
let stop = () => {};

/** @param {"sign_in" | "none" | "away"} to @param {string} why */
function leave(to, why) {
  stop();
  batch(() => {
    words.value = why;
    view.value = to;
    turns.value = [];
    settings.value = null;
    known.clear();
  });
}

/** Find out who the viewer is, and follow the conversation. */
export async function begin() {
  view.value = "loading";
  try {
    viewer.value = (await ask(`${base}/me`)).name;
  } catch (error) {
    if (error instanceof Refusal && (error.status === 401 || error.status === 404)) refused(error);
    else leave("away", error instanceof Error ? error.message : "");
    return;
  }
  view.value = "here";
  stop = listen(`${base}/events`, ["turn", "steps", "about", "over"], {
    event(kind, data) {
      trouble.value = "";
      if (kind === "turn") put(data);
      else if (kind === "steps") {
        const steps = stepsOf(data.turn);
        if (!steps.state.value) steps.state.value = "whole";
        steps.add(data.steps);
      } else if (kind === "about") {
        batch(() => {
          settings.value = data.settings;
          leftOut.value = data.left_out;
          trouble.value = data.trouble;
          settled.value = data.settled || settled.value;
        });
      } else ask(`${base}/me`).then(() => {}, refused);
    },
    state: (now) => (live.value = now),
    gone: () => void ask(`${base}/me`).then(() => {}, refused),
  });
}

/** @param {Turn} turn */
function put(turn) {
  const others = turns.value.filter((each) => each.number !== turn.number);
  turns.value = [...others, turn].sort((a, b) => a.number - b.number);
}

/** Forget the sign-in of this browser. */
export async function signOut() {
  await ask("/sessions/sign-out", {}).catch(() => {});
  leave("sign_in", "You are signed out.");
}
