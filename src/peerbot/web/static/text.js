// Small things about text that somebody else wrote: sizes, numbers, and where to cut it.

/**
 * "1 file", "3 files".
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export function counted(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

const numbers = new Intl.NumberFormat("en");

/** @param {number} value */
export function number(value) {
  return numbers.format(value);
}

/**
 * "512 B", "1.5 kB", "12 MB".
 * @param {number} bytes
 */
export function size(bytes) {
  let value = bytes;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 1000 || unit === "GB") {
      return `${value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
    }
    value /= 1000;
  }
  return "";
}

/**
 * The first `most` characters, and three dots if there are more. A character of two halves is not cut.
 * @param {string} text
 * @param {number} most
 */
export function shortened(text, most) {
  if (text.length <= most) return text;
  const cut = text.slice(0, most - 1);
  return `${/[\uD800-\uDBFF]$/.test(cut) ? cut.slice(0, -1) : cut}…`;
}

/**
 * Only whole addresses of the web: any other becomes nothing, so that a link of it leads nowhere.
 * @param {string} address
 */
export function webAddress(address) {
  try {
    const url = new URL(address);
    return url.protocol === "https:" || url.protocol === "http:" || url.protocol === "mailto:" ? url.href : "";
  } catch {
    return "";
  }
}
