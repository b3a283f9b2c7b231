// Links from another page of this machine to the local GitHub, with the key that lets this browser in there.

/**
 * Add the key to a link at the moment when somebody uses it, so that it stands in no message.
 * @param {() => {address: string, key: string} | undefined} github where the local GitHub is, as soon as that is known
 */
export function bringKey(github) {
  /** @param {Event} event */
  const prepare = (event) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    const there = github();
    if (!link || !there || link.origin !== there.address || link.hash.includes("key=")) return;
    link.hash = link.hash ? `${link.hash}&key=${there.key}` : `key=${there.key}`;
  };
  for (const kind of ["pointerdown", "click", "auxclick"]) addEventListener(kind, prepare, { capture: true });
}
