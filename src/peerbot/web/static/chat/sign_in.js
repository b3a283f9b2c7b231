// Who somebody is, for an app to which they sign in: they choose a person of the workspace. See local/slack/openid.py.
import { useEffect, useState } from "../vendor/hooks.mjs";
import { html } from "../html.js";
import { Refusal, show } from "../page.js";
import { ask, KeyForm, takeKey } from "../door.js";

/** @typedef {{id: string, name: string, guest: boolean}} Person */

const address = location.pathname + location.search;

function SignIn() {
  const [people, setPeople] = useState(/** @type {Person[] | null} */ (null));
  const [refusal, setRefusal] = useState(/** @type {Refusal | null} */ (null));
  /** @param {object} [choice] */
  const go = async (choice = {}) => {
    setRefusal(null);
    try {
      const answer = await ask(address, choice);
      if (answer.to) location.replace(answer.to);
      else setPeople(answer.people);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      setRefusal(error);
    }
  };
  useEffect(() => void go(), []);
  if (refusal?.status === 401) {
    return html`
      <main class="empty whole">
        <h1>Is it you?</h1>
        <p>Open the chat page in this browser first, by the address that the terminal shows. Or paste the key from it: the
              agent does not have it.</p>
        <${KeyForm} again=${go} />
      </main>
    `;
  }
  if (refusal) {
    return html`
      <main class="empty whole" role="alert">
        <h1>This did not work</h1>
        <p>${refusal.message}</p>
      </main>
    `;
  }
  return html`
    <main class="empty whole">
      <h1>Sign in as</h1>
      <p>On this machine you may be anybody of the workspace.</p>
      <ul class="choices">${(people || []).map((each) =>
        html`<li key=${each.id}><button type="button" class="button" onClick=${() =>
          go({ user: each.id })}>${each.name}${each.guest && " (guest)"}</button></li>`
      )}</ul>
    </main>
  `;
}

takeKey();
show(html`<${SignIn} />`);
