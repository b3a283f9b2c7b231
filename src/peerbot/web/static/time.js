// Times as people say them. One clock for the whole page makes them go on.
import { signal } from "./vendor/signals.mjs";
import { html } from "./html.js";

/** The time now, in milliseconds, to within half a minute. */
export const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 30_000);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) now.value = Date.now();
});

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const clockFormat = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hour12: false });
const dayFormat = new Intl.DateTimeFormat("en", { weekday: "long", day: "numeric", month: "long" });
const fullFormat = new Intl.DateTimeFormat("en", { dateStyle: "full", timeStyle: "medium", hour12: false });

/**
 * How long ago: "just now", "4 minutes ago", "yesterday". What is to come by a clock that is off is "just now", too.
 * @param {number} at milliseconds
 * @param {number} [from]
 */
export function ago(at, from = Date.now()) {
  const seconds = (from - at) / 1000;
  if (seconds < 45) return "just now";
  if (seconds < 45 * 60) return relative.format(-Math.round(seconds / 60), "minute");
  if (seconds < 22 * 3600) return relative.format(-Math.round(seconds / 3600), "hour");
  if (seconds < 26 * 86400) return relative.format(-Math.round(seconds / 86400), "day");
  if (seconds < 320 * 86400) return relative.format(-Math.round(seconds / (30.4 * 86400)), "month");
  return relative.format(-Math.round(seconds / (365.25 * 86400)), "year");
}

/**
 * The time of day, "14:07".
 * @param {number} at milliseconds
 */
export function clock(at) {
  return clockFormat.format(at);
}

/**
 * The time of day to the second, "14:07:32".
 * @param {number} at milliseconds
 */
export function precise(at) {
  return new Date(at).toLocaleTimeString("en-GB");
}

/**
 * The day: "Today", "Yesterday", "Tuesday, 3 March".
 * @param {number} at milliseconds
 * @param {number} [from]
 */
export function day(at, from = Date.now()) {
  const midnight = new Date(from).setHours(0, 0, 0, 0);
  if (at >= midnight && at < midnight + 86_400_000) return "Today";
  if (at >= midnight - 86_400_000 && at < midnight) return "Yesterday";
  return dayFormat.format(at);
}

/**
 * The time in full, for a title.
 * @param {number} at milliseconds
 */
export function full(at) {
  return fullFormat.format(at);
}

/**
 * How long something took: "0.4 s", "12 s", "4 min 12 s", "2 h 5 min".
 * @param {number} seconds
 */
export function lasted(seconds) {
  if (seconds < 0.95) return `${Math.max(0, seconds).toFixed(seconds < 0.095 ? 2 : 1)} s`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ""}`;
  return `${Math.floor(whole / 3600)} h${whole % 3600 >= 60 ? ` ${Math.floor((whole % 3600) / 60)} min` : ""}`;
}

/**
 * A time that goes on by itself.
 * @param {{at: number}} props milliseconds
 */
export function Ago({ at }) {
  return html`<time datetime=${new Date(at).toISOString()} title=${full(at)}>${ago(at, now.value)}</time>`;
}
