// One event stream a page: it goes on where it was after a cut, a restart of the server, or a time in the background.
//
// A browser allows six connections to a host, and an open stream holds one: so a page has one, and closes it while it is
// hidden. The id of an event is a place in what is told; the server goes on after the last one that we name.

/**
 * @typedef {object} Listener
 * @property {(kind: string, data: any, id: string) => void} event one event, with its JSON
 * @property {(state: "open" | "waiting" | "hidden") => void} [state] whether the stream is open; waiting: it was cut
 * @property {() => void} [gone] the server says for good that there is no stream (401, 403, 404, 204): ask it why
 */

const HIDDEN_MILLISECONDS = 5_000;
const AGAIN_MILLISECONDS = [500, 1_000, 2_000, 4_000, 8_000];

/**
 * Listen to a stream of the server.
 * @param {string} address without `after=`, which is added
 * @param {string[]} kinds the kinds of events to listen to
 * @param {Listener} listener
 * @param {string} [after] the id after which to begin
 * @returns {() => void} ends it
 */
export function listen(address, kinds, listener, after = "") {
  let last = after;
  let tries = 0;
  let ended = false;
  /** @type {EventSource | null} */
  let source = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  const open = () => {
    clearTimeout(timer);
    if (ended || source) return;
    const separator = address.includes("?") ? "&" : "?";
    const mine = new EventSource(last ? `${address}${separator}after=${encodeURIComponent(last)}` : address);
    source = mine;
    mine.onopen = () => {
      tries = 0;
      listener.state?.("open");
    };
    mine.onerror = () => void failed(mine);
    for (const kind of kinds) {
      mine.addEventListener(kind, (event) => {
        if (event.lastEventId) last = event.lastEventId;
        listener.event(kind, JSON.parse(event.data), event.lastEventId);
      });
    }
  };

  /** @param {EventSource} mine */
  const failed = async (mine) => {
    if (mine !== source) return;
    // We open it again ourselves: the browser would ask with the place at which the page was loaded.
    mine.close();
    source = null;
    listener.state?.("waiting");
    if (await refused(address)) {
      if (!ended) listener.gone?.();
      return;
    }
    const wait = AGAIN_MILLISECONDS[Math.min(tries, AGAIN_MILLISECONDS.length - 1)];
    tries += 1;
    timer = setTimeout(open, wait * (0.75 + Math.random() / 2));
  };

  const seen = () => {
    clearTimeout(timer);
    if (document.hidden) {
      timer = setTimeout(() => {
        source?.close();
        source = null;
        listener.state?.("hidden");
      }, HIDDEN_MILLISECONDS);
    } else {
      open();
    }
  };

  document.addEventListener("visibilitychange", seen);
  addEventListener("pageshow", seen);
  open();
  return () => {
    ended = true;
    clearTimeout(timer);
    source?.close();
    source = null;
    document.removeEventListener("visibilitychange", seen);
    removeEventListener("pageshow", seen);
  };
}

/**
 * An EventSource does not say with which status it was refused: ask once more, and leave at the first byte.
 * @param {string} address
 */
async function refused(address) {
  const leave = new AbortController();
  try {
    const response = await fetch(address, {
      signal: leave.signal,
      cache: "no-store",
      headers: { Accept: "text/event-stream" },
    });
    return response.status === 204 || (response.status >= 400 && response.status < 500 && response.status !== 429);
  } catch {
    return false;
  } finally {
    leave.abort();
  }
}
