// Shapes drawn around points: fewer corners, what lies inside, and how that joins what was chosen before.

/** @typedef {[number, number][]} Polygon corners in order; the last is joined to the first */

const MOST = 200;

/** Distance of a point from a piece of line, squared. */
function away([x, y], [ax, ay], [bx, by]) {
  const length = (bx - ax) ** 2 + (by - ay) ** 2;
  const t = length ? Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length)) : 0;
  return (x - ax - t * (bx - ax)) ** 2 + (y - ay - t * (by - ay)) ** 2;
}

/** Corners that keep the line within a tolerance (Douglas & Peucker). */
function thin(points, tolerance) {
  const keep = new Uint8Array(points.length);
  keep[0] = keep[points.length - 1] = 1;
  const stack = [[0, points.length - 1]];
  while (stack.length) {
    const [from, to] = /** @type {number[]} */ (stack.pop());
    let [worst, at] = [tolerance * tolerance, -1];
    for (let middle = from + 1; middle < to; middle++) {
      const distance = away(points[middle], points[from], points[to]);
      if (distance > worst) [worst, at] = [distance, middle];
    }
    if (at >= 0) {
      keep[at] = 1;
      stack.push([from, at], [at, to]);
    }
  }
  return points.filter((_, at) => keep[at]);
}

/** The same shape with at most so many corners. @param {Polygon} points @returns {Polygon} */
export function simplify(points, most = MOST) {
  let result = points;
  for (let tolerance = 0.5; result.length > most; tolerance *= 1.5) result = thin(points, tolerance);
  return result;
}

/** @returns {Polygon} */
export const rectangle = ([ax, ay], [bx, by]) => [[ax, ay], [bx, ay], [bx, by], [ax, by]];

/**
 * Whether a place lies inside, by the winding number: loops and crossings stay inside.
 *
 * @param {Float64Array} xs of the corners
 * @param {Float64Array} ys
 */
export function contains(xs, ys, x, y) {
  let winding = 0;
  for (let at = 0, last = xs.length - 1; at < xs.length; last = at++) {
    if (ys[last] <= y === ys[at] <= y) continue; // this side does not cross the height of the place
    const side = (xs[at] - xs[last]) * (y - ys[last]) - (x - xs[last]) * (ys[at] - ys[last]);
    if (ys[last] <= y ? side > 0 : side < 0) winding += ys[last] <= y ? 1 : -1;
  }
  return winding !== 0;
}

/**
 * Rows of the points inside a shape, in units of the map.
 *
 * @param {import("./map_data.js").Points} points
 * @param {Polygon} polygon
 * @param {(row: number) => boolean} shown
 */
export function inside(points, polygon, shown) {
  const rows = [];
  if (polygon.length < 3) return rows;
  const [xs, ys] = [0, 1].map((axis) => Float64Array.from(polygon, (corner) => corner[axis]));
  points.within(Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys), (row) => {
    if (contains(xs, ys, points.x[row], points.y[row]) && shown(row)) rows.push(row);
  });
  return rows;
}

/** @param {Set<number>} before @param {number[]} rows @param {"new"|"add"|"remove"} mode @returns {Set<number>} */
export function combine(before, rows, mode) {
  if (mode === "new") return new Set(rows);
  const result = new Set(before);
  for (const row of rows) mode === "add" ? result.add(row) : result.delete(row);
  return result;
}

/** What the keys held down mean. @returns {"new"|"add"|"remove"} */
export const modeOf = (event) => (event.altKey ? "remove" : event.shiftKey ? "add" : "new");
