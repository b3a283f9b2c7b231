// What an empty channel says: who answers here, and what to try first.
import { html } from "../html.js";
import { draft, send } from "./composer.js";
import { Mark } from "./message.js";
import { about, bot, channelName, go, people, say } from "./state.js";

/** @param {{channel: import("./state.js").Channel}} props */
export function Welcome({ channel }) {
  const { model, suggestions = [], notes = [] } = about.value;
  const handle = people.value[bot.value]?.handle || "peerbot";
  const direct = channel.kind === "im";
  /** @param {string} text */
  const try_ = async (text) => {
    const whole = direct ? text : `@${handle} ${text}`;
    try {
      const sent = await send(channel.id, "", whole, []);
      if (sent?.ts) go(channel.id, sent.ts);
    } catch (error) {
      draft(`${channel.id}/`, whole);
      say(error);
    }
  };
  return html`<div class="welcome">
    <div class="welcome-top"><span class="avatar bot"><${Mark} /></span><h2>${
    direct ? `Write to ${channelName(channel)}` : `Ask PeerBot in #${channel.name}`
  }</h2></div>
    <p>Everything here runs on this machine: the bot, its workers, a small Slack and a small GitHub. ${
    direct ? "Write" : html`Mention <span class="mention">@${handle}</span> with`
  } what you want done. It works in a thread, shows what it does, and opens a pull request.</p>
    ${
    suggestions.length > 0 && html`
      <h3>Try one of these</h3>
      <ul class="suggestions">${suggestions.map((/** @type {any} */ each) =>
        html`<li><button type="button" class="card" onClick=${() =>
          try_(each.ask)}><b>${each.heading}</b><span class="dim">${each.ask}</span></button></li>`
      )}</ul>
    `
  }
    ${model && html`<p class="notice"><b>${model.heading}</b><br />${model.words}</p>`}
    ${notes.map((/** @type {string} */ note) => html`<p class="dim small">${note}</p>`)}
  </div>`;
}
