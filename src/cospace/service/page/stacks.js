// Results that show the same take one place: the first of them, with the others behind it.

const COLUMNS = /** @type {const} */ (["numbers", "scores", "rgb", "widths", "heights", "percents"]);

/**
 * A ranking without the rows that lie behind another; how many match is counted without them too.
 *
 * @param {import("./api.js").Ranked & {stacked?: [number, number][]}} ranked `stacked`: a row, and the one it lies behind
 * @returns {import("./api.js").Ranked} `behind` has the numbers of what lies behind a number
 */
export function stacked(ranked) {
  const pairs = ranked.stacked ?? [];
  if (!pairs.length) return ranked;
  const behind = new Map();
  for (const [row, leader] of pairs) {
    const first = ranked.numbers[leader];
    behind.set(first, [...behind.get(first) ?? [], ranked.numbers[row]]);
  }
  const gone = new Set(pairs.map(([row]) => row));
  const before = (end) => end - pairs.filter(([row]) => row < end).length;
  const made = { ...ranked, behind, n: before(ranked.n) };
  for (const name of ["strong", "likely", "maybe", "by_caption"]) made[name] = before(ranked[name] ?? 0);
  for (const name of COLUMNS) made[name] = ranked[name].filter((_, row) => !gone.has(row));
  return made;
}
