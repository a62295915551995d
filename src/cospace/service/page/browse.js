// Everything in the index, in its order: some thousands at a time, and more as somebody comes near the end.

const AT_ONCE = 5000;
const NEAR_END = 400;
const COLUMNS = /** @type {const} */ (["numbers", "rgb", "widths", "heights"]);

/** Two stretches of columns as one. */
function joined(first, second) {
  const whole = { total: second.total };
  for (const name of COLUMNS) {
    const column = new first[name].constructor(first[name].length + second[name].length);
    column.set(first[name]);
    column.set(second[name], first[name].length);
    whole[name] = column;
  }
  return whole;
}

/** @param {any} app @param {() => boolean} wanted whether everything is what the grid shows now */
export function createBrowsing(app, wanted) {
  /** @type {any} */
  let known = null;
  let coming = false;

  const browsing = {
    /** What is known of it, or the first of it. @returns {Promise<import("./grid.js").Source>} */
    async first() {
      if (known?.version !== app.info().version) {
        const { numbers, rgb, widths, heights, total, version } = await app.api.browse(0, AT_ONCE);
        known = { numbers, rgb, widths, heights, total, version };
      }
      return known;
    },
    /** The grid shows the tile at a place. @param {number} place */
    async near(place) {
      if (coming || !known || !wanted()) return undefined;
      const { length } = known.numbers;
      if (length >= known.total || place < length - NEAR_END) return undefined;
      coming = true;
      try {
        const more = await app.api.browse(length, AT_ONCE);
        if (more.version !== known.version) return undefined;
        known = { ...joined(known, more), version: known.version };
        if (wanted()) app.grid.show(known, app.grid.firstVisible(), true).catch(app.notices.problem);
      } catch (error) {
        return app.notices.problem(error);
      } finally {
        coming = false;
      }
      return wanted() && browsing.near(app.grid.lastVisible()); // somebody may have gone on meanwhile
    },
  };
  return browsing;
}
