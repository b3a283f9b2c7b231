// Money as people say it.

/** @param {number} usd */
export function dollars(usd) {
  return usd < 0.005 ? "less than $0.01" : `$${usd.toFixed(2)}`;
}
