// What lies over the points: previews, the names of regions, results of the query, lines to neighbours, the lasso.

const FONT = '600 13px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif';
const BADGE = '700 11px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif';
const NAMES_UNTIL = 12;
const HEIGHT = 20;

/** Where a name is tried, in pixels below its place; it stands beside previews rather than over them. */
const TRIED = [0, 24, -24, 40, -40, 56, -56];

/** @typedef {{left: number, top: number, width: number, x: number, y: number, label: string, at: number}} Plate */

/** Whether dark words are read better on a colour than light ones. @param {string} fill "rgb(r g b)" */
function light(fill) {
  const [red, green, blue] = fill.match(/\d+/g)?.map(Number) ?? [0, 0, 0];
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140;
}

/**
 * Names that do not cover each other, the largest regions first.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {import("./map_data.js").Points} points
 * @param {import("./map_camera.js").Camera} camera
 * @param {number[]} sizes of the regions
 * @param {import("./map_previews.js").Drawn[]} drawn
 * @returns {Plate[]}
 */
function plates(context, points, camera, sizes, drawn) {
  context.font = FONT;
  /** @type {Plate[]} */
  const placed = [];
  const order = points.clusters.map((_, at) => at).sort((a, b) => sizes[b] - sizes[a]);
  for (const at of order) {
    const { x, y } = points.clusters[at];
    const { label } = points.clusters[at];
    if (!label) continue;
    const width = context.measureText(label).width + 10;
    const left = camera.toX(x) - width / 2;
    const covers = (top, other, height) => left < other.left + other.width && other.left < left + width && top < other.top + height && other.top < top + HEIGHT;
    const free = (top) => !placed.some((other) => covers(top, other, HEIGHT));
    const places = TRIED.map((below) => camera.toY(y) + below - HEIGHT / 2).filter(free);
    const best = places.find((top) => !drawn.some((preview) => covers(top, preview, preview.height))) ?? (camera.width < 600 ? undefined : places[0]);
    if (best !== undefined) placed.push({ left, top: best, width, x, y, label, at });
  }
  return placed;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {import("./map_camera.js").Camera} camera
 */
export function createOverlay(canvas, camera) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  /** @type {Plate[]} */
  let names = [];

  function dot(x, y, radius, fill, edge, width = 2) {
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.lineWidth = width;
    context.strokeStyle = edge;
    context.fillStyle = fill;
    if (fill) context.fill();
    if (width) context.stroke();
  }

  return {
    context,
    /** @param {number} ratio device pixels a pixel */
    clear(ratio) {
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, camera.width, camera.height);
      context.imageSmoothingQuality = "medium";
    },
    /** @param {(at: number) => string|null} dotOf the colour of a region, where points are coloured by regions */
    names(points, sizes, drawn, colours, dotOf) {
      names = camera.zoom < NAMES_UNTIL ? plates(context, points, camera, sizes, drawn) : [];
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.lineJoin = "round";
      for (const { left, top, width, label, at } of names) {
        const fill = dotOf(at);
        if (fill) dot(left - 4, top + HEIGHT / 2, 5, fill, colours.edge, 1.5);
        context.lineWidth = 5;
        context.strokeStyle = colours.plate;
        context.strokeText(label, left + width / 2, top + HEIGHT / 2);
        context.fillStyle = colours.text;
        context.fillText(label, left + width / 2, top + HEIGHT / 2);
      }
    },
    /** @returns {Plate|undefined} the name at a pixel */
    nameAt: (x, y) => names.find(({ left, top, width }) => x >= left && x <= left + width && y >= top && y <= top + HEIGHT),
    /** The results of the query, the best drawn last. */
    results(points, rows, colourOf, colours) {
      for (let at = rows.length - 1; at >= 0; at--) {
        dot(camera.toX(points.x[rows[at]]), camera.toY(points.y[rows[at]]), at < 10 ? 6 : 4.5, colourOf(at), colours.edge, 1.5);
      }
    },
    /** A badge at the corner of a preview that is a result: its rank. @param {import("./map_previews.js").Drawn} preview */
    badge({ left, top }, rank, fill, colours) {
      const words = String(rank);
      const width = Math.max(18, 9 + 7 * words.length);
      context.font = BADGE;
      context.beginPath();
      context.roundRect(left - 9, top - 9, width, 18, 9);
      context.fillStyle = fill;
      context.strokeStyle = colours.edge;
      context.lineWidth = 2;
      context.stroke();
      context.fill();
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillStyle = light(fill) ? "#161616" : "#ffffff";
      context.fillText(words, left - 9 + width / 2, top + 0.5);
    },
    /** Lines from a point to its true neighbours. */
    lines(points, row, neighbours, colours) {
      const [x, y] = [camera.toX(points.x[row]), camera.toY(points.y[row])];
      for (const [width, style] of [[4, colours.edge], [1.75, colours.accent]]) {
        context.beginPath();
        for (const other of neighbours) {
          context.moveTo(x, y);
          context.lineTo(camera.toX(points.x[other]), camera.toY(points.y[other]));
        }
        context.lineWidth = width;
        context.strokeStyle = style;
        context.stroke();
      }
      for (const other of neighbours) dot(camera.toX(points.x[other]), camera.toY(points.y[other]), 4, colours.accent, colours.edge);
    },
    ring(points, row, colours, radius = 9) {
      const [x, y] = [camera.toX(points.x[row]), camera.toY(points.y[row])];
      dot(x, y, radius, "", colours.edge, 5);
      dot(x, y, radius, "", colours.accent, 2.5);
    },
    /** @param {[number, number][]} polygon in pixels */
    shape(polygon, colours) {
      context.beginPath();
      polygon.forEach(([x, y], at) => (at ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.closePath();
      context.fillStyle = colours.wash;
      context.fill("nonzero");
      context.setLineDash([6, 4]);
      context.lineWidth = 2;
      context.strokeStyle = colours.accent;
      context.stroke();
      context.setLineDash([]);
    },
  };
}
