// What was searched for last, kept in this browser only.

const MOST = 8;

/** @param {any} app */
export function createRecent(app) {
  const place = () => `cospace:recent:${app.info()?.name ?? ""}`;

  function read() {
    try {
      const kept = JSON.parse(localStorage.getItem(place()) ?? "[]");
      return Array.isArray(kept) ? kept.filter((text) => typeof text === "string").slice(0, MOST) : [];
    } catch {
      return [];
    }
  }

  function write(texts) {
    try {
      if (texts.length) localStorage.setItem(place(), JSON.stringify(texts));
      else localStorage.removeItem(place());
    } catch {
      // without storage nothing is remembered
    }
  }

  return {
    /** @returns {string[]} the latest first */
    all: read,
    /** @param {string} text */
    add(text) {
      const words = text.trim().slice(0, 200);
      if (words) write([words, ...read().filter((other) => other !== words)].slice(0, MOST));
    },
    forget: () => write([]),
  };
}
