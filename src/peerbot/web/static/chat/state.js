// What the page knows of the workspace: everything that is drawn comes from these signals, and the stream changes them.
import { computed, signal } from "../vendor/signals.mjs";
import { ask, takeKey, withKey } from "../door.js";
import { Refusal } from "../page.js";
import { listen } from "../stream.js";

/** @typedef {Record<string, any>} Message */
/** @typedef {{id: string, name: string, handle: string, kind: string}} Person */
/** @typedef {{id: string, name: string, kind: string, members: string[], shared: boolean, archived: boolean}} Channel */

export const me = signal("");
export const bot = signal("");
/** @type {import("../vendor/signals.mjs").Signal<Record<string, Person>>} */
export const people = signal({});
/** @type {import("../vendor/signals.mjs").Signal<Channel[]>} */
export const channels = signal([]);
/** @type {import("../vendor/signals.mjs").Signal<Record<string, {messages: Message[], more: boolean}>>} */
export const messages = signal({});
/** Threads that were opened, by channel and time. @type {import("../vendor/signals.mjs").Signal<Record<string, Message[]>>} */
export const threads = signal({});
/** @type {import("../vendor/signals.mjs").Signal<Message[]>} */
export const whispers = signal([]);
/** @type {import("../vendor/signals.mjs").Signal<{modals: any[], home: any, working: string[], hears: boolean}>} */
export const views = signal({ modals: [], home: null, working: [], hears: true });
/** @type {import("../vendor/signals.mjs").Signal<Record<string, any>>} */
export const about = signal({});
/** @type {import("../vendor/signals.mjs").Signal<Record<string, number>>} */
export const unread = signal({});
/** @type {import("../vendor/signals.mjs").Signal<"loading" | "open" | "waiting" | "gone">} */
export const connection = signal("loading");
/** What a screen reader says next. */
export const spoken = signal("");
/** A sentence for the person, about what did not work. */
export const trouble = signal("");

/** Where we are: a channel or the Home tab, and perhaps a thread. @type {import("../vendor/signals.mjs").Signal<{channel: string, thread: string}>} */
export const place = signal({ channel: "", thread: "" });
export const HOME = "home";

export const channel = computed(() => channels.value.find((each) => each.id === place.value.channel));
export const threadKey = computed(() => `${place.value.channel}/${place.value.thread}`);

/** @param {string} id */
export function nameOf(id) {
  return people.value[id]?.name || id;
}

/** @param {Channel} each */
export function channelName(each) {
  if (each.kind !== "im") return each.name;
  const other = each.members.find((id) => id !== me.value) || "";
  return nameOf(other);
}

/** @param {string} channel @param {string} [thread] */
export function go(channel, thread = "") {
  const hash = thread ? `#${channel}/${thread}` : `#${channel}`;
  if (location.hash !== hash) location.hash = hash;
  else readHash();
}

function readHash() {
  const [channel, thread = ""] = decodeURIComponent(location.hash.slice(1)).split("/");
  const known = channel === HOME || channels.value.some((each) => each.id === channel);
  place.value = known ? { channel, thread } : { channel: channels.value[0]?.id || "", thread: "" };
  unread.value = { ...unread.value, [place.value.channel]: 0 };
  if (place.value.thread) loadThread(place.value.channel, place.value.thread);
  if (channel === HOME) act("home", {}).catch(say);
}

/** @param {string} channel @param {string} thread */
async function loadThread(channel, thread) {
  const key = `${channel}/${thread}`;
  if (threads.value[key]) return;
  try {
    const asked = new URLSearchParams({ as: me.value, channel, thread_ts: thread });
    const answer = await ask(`/page/thread?${asked}`);
    threads.value = { ...threads.value, [`${channel}/${answer.thread_ts}`]: answer.messages };
    // A message's own address leads to a reply, too: its thread is what there is to see.
    if (answer.thread_ts !== thread && threadKey.value === key) location.replace(`#${channel}/${answer.thread_ts}`);
  } catch (error) {
    say(error);
  }
}

/** Show what did not work. @param {unknown} error */
export function say(error) {
  trouble.value = error instanceof Error ? error.message : String(error);
  if (error instanceof Refusal && error.status === 401) connection.value = "gone";
}

/**
 * Do something as the person who is chosen. Throws `Refusal`.
 * @param {string} name
 * @param {Record<string, unknown>} asked
 */
export async function act(name, asked) {
  trouble.value = "";
  return await ask(`/page/act/${name}`, { as: me.value, ...asked });
}

let end = () => {};

/** Ask for everything, and listen from there on. @param {string} [person] */
export async function load(person = me.value) {
  end();
  let told;
  try {
    told = await ask(`/page/state?as=${encodeURIComponent(person)}`);
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) connection.value = "gone";
    else {
      connection.value = "waiting";
      setTimeout(() => load(person), 2000);
    }
    return;
  }
  me.value = told.me;
  people.value = told.people;
  channels.value = told.channels;
  messages.value = told.messages;
  whispers.value = told.whispers;
  about.value = told.about;
  views.value = told;
  threads.value = {};
  readHash();
  connection.value = "open";
  const address = `/page/stream?as=${encodeURIComponent(told.me)}`;
  end = listen(
    address,
    ["change", "views", "again"],
    { event: heard, state: stateOf, gone: () => load(person) },
    told.place,
    withKey(),
  );
}

/** @param {"open" | "waiting" | "hidden"} state */
function stateOf(state) {
  connection.value = state === "hidden" ? "open" : state;
}

/** @param {string} kind @param {any} data */
function heard(kind, data) {
  if (kind === "views") views.value = data;
  else if (kind === "again") load();
  else changed(data);
}

/** @param {Message[]} list @param {any} change */
function listed(list, change) {
  const at = list.findIndex((message) => message.ts === change.ts);
  const gone = change.kind === "deleted" && change.message.subtype !== "tombstone";
  if (gone) return at < 0 ? list : list.toSpliced(at, 1);
  if (at >= 0) return list.toSpliced(at, 1, change.message);
  const after = list.findIndex((message) => message.ts > change.ts);
  return after < 0 ? [...list, change.message] : list.toSpliced(after, 0, change.message);
}

/** @param {any} change */
function changed(change) {
  const { channel, ts, thread_ts: thread, message } = change;
  if (change.kind === "whispered") {
    if (!whispers.value.some((each) => each.ts === ts)) whispers.value = [...whispers.value, message];
    announce(message, channel, thread);
    return;
  }
  const known = messages.value[channel];
  if (!known) {
    load();
    return;
  }
  const reply = thread && thread !== ts;
  const key = `${channel}/${reply ? thread : ts}`;
  if (threads.value[key]) threads.value = { ...threads.value, [key]: listed(threads.value[key], change) };
  const top = reply ? change.parent && { kind: "updated", ts: thread, message: change.parent } : change;
  const shown = top && (!reply || known.messages.some((each) => each.ts === thread));
  if (shown) messages.value = { ...messages.value, [channel]: { ...known, messages: listed(known.messages, top) } };
  if (change.kind === "posted") announce(message, channel, thread);
}

/** @param {Message} message @param {string} channel @param {string | null} thread */
function announce(message, channel, thread) {
  if (message.user === me.value && message.channel === undefined) return;
  const here = channel === place.value.channel && (!thread || thread === place.value.thread || thread === message.ts);
  if (here) {
    spoken.value = `${nameOf(message.channel ? bot.value : message.user)}: ${String(message.text || "").slice(0, 300)}`;
  } else unread.value = { ...unread.value, [channel]: (unread.value[channel] || 0) + 1 };
}

/** Earlier messages of a channel. @param {string} id */
export async function loadMore(id) {
  const known = messages.value[id];
  const asked = new URLSearchParams({ as: me.value, channel: id, before: known.messages[0]?.ts || "" });
  const answer = await ask(`/page/history?${asked}`);
  messages.value = {
    ...messages.value,
    [id]: { messages: [...answer.messages, ...known.messages], more: answer.more },
  };
}

addEventListener("hashchange", () => takeKey() ? load() : readHash());
