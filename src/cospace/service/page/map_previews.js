// Previews on the map. Which are shown depends on the zoom alone: panning never makes one appear or vanish.

const SHEET = 1024;
const KEPT_SHEETS = 8;
const NEVER = 255;
const NEAR = 8;
/** Levels a doubling of the zoom. */
const STEPS = 2;

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
/** Longer side of a preview, and the room between two, in pixels. */
const sizeAt = (zoom, small) => clamp((small ? 40 : 46) + 8 * Math.log2(zoom), 36, 88);
const roomAt = (zoom) => clamp(28 - 8 * Math.log2(zoom), 5, 30);

/** How much of each cell's sides is bare, by its middle row and column. */
function insetsOf(bitmap, cell, across) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = /** @type {any} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.drawImage(bitmap, 0, 0);
  const { data, width } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const bare = (x, y) => data[(y * width + x) * 4 + 3] < 128;
  const insets = new Uint8Array(2 * across * across);
  for (let place = 0; place < across * across; place++) {
    const [left, top] = [(place % across) * cell, Math.floor(place / across) * cell];
    let [x, y] = [0, 0];
    while (x < cell / 2 && bare(left + x, top + cell / 2)) x++;
    while (y < cell / 2 && bare(left + cell / 2, top + y)) y++;
    insets.set([x, y], 2 * place);
  }
  return insets;
}

/**
 * @typedef {{row: number, left: number, top: number, width: number, height: number}} Drawn
 * @param {import("./map_data.js").Points} points
 * @param {import("./map_camera.js").Camera} camera
 * @param {() => void} changed called when a sheet has come
 */
export function createPreviews(points, camera, changed) {
  const { cell, across } = /** @type {any} */ (points);
  /** @type {Map<number, {bitmap?: ImageBitmap, insets?: Uint8Array}>} the latest used last */
  const sheets = new Map();
  /** Rows of all previews by importance, the level at which each appears, and those that appear, in that order. */
  let [order, appears, placed, ends] = [[], new Uint8Array(points.n), [], []];
  let [base, lowest, closed] = [0, 0, false];
  /** @type {Drawn[]} */
  let drawn = [];
  /** @type {(row: number) => boolean} */
  let shown = () => true;

  const levelOf = (scale) => Math.floor(STEPS * Math.log2(scale / base));

  /** Forget what is shown where; `first` rows are more important than others. */
  function arrange(isShown, first = []) {
    shown = isShown;
    const rows = [];
    for (let row = 0; row < points.n; row++) if (points.sprite[row] >= 0) rows.push(row);
    rows.sort((a, b) => points.sprite[a] - points.sprite[b]);
    const important = first.filter((row) => points.sprite[row] >= 0);
    const leading = new Set(important);
    order = [...important, ...rows.filter((row) => !leading.has(row))];
    base = 0;
  }

  function restart(scale) {
    base = scale;
    lowest = levelOf(scale * 0.75);
    appears.fill(NEVER);
    [placed, ends] = [[], []];
  }

  /** Add what appears at one more level: the most important first, as long as it touches none that is there. */
  function addLevel(level) {
    const scale = base * 2 ** (level / STEPS);
    const zoom = 2 ** ((level + 1) / STEPS);
    const apart = (sizeAt(zoom, camera.width < 600) + roomAt(zoom)) / scale;
    const taken = new Map();
    const key = (x, y) => Math.floor(x / apart) * 65536 + Math.floor(y / apart);
    const put = (row) => {
      const at = key(points.x[row], points.y[row]);
      const there = taken.get(at);
      if (there) there.push(row);
      else taken.set(at, [row]);
    };
    placed.forEach(put);
    const free = (row) => {
      const [x, y] = [points.x[row], points.y[row]];
      for (let dx = -1; dx <= 1; dx++) {
        for (let dy = -1; dy <= 1; dy++) {
          for (const other of taken.get(key(x + dx * apart, y + dy * apart)) ?? []) {
            if (Math.abs(points.x[other] - x) < apart && Math.abs(points.y[other] - y) < apart) return false;
          }
        }
      }
      return true;
    };
    const fair = zoom * zoom * 5 < points.sheets; // far away only the first sheet, which is a fair sample
    for (const row of order) {
      if (appears[row] !== NEVER || (fair && points.sprite[row] >= SHEET) || !shown(row) || !free(row)) continue;
      appears[row] = level - lowest;
      placed.push(row);
      put(row);
    }
    ends.push(placed.length);
  }

  function inView(level) {
    const rows = [];
    const [left, top, right, bottom] = camera.seen(60);
    const wanted = level - lowest;
    if (camera.zoom >= NEAR) points.within(left, top, right, bottom, (row) => appears[row] <= wanted && rows.push(row));
    else {
      for (let at = 0; at < ends[wanted]; at++) {
        const [x, y] = [points.x[placed[at]], points.y[placed[at]]];
        if (x >= left && x <= right && y >= top && y <= bottom) rows.push(placed[at]);
      }
    }
    return rows;
  }

  async function load(number) {
    const sheet = {};
    sheets.set(number, sheet);
    try {
      const reply = await fetch(`s/64/${number}?version=${points.version}`);
      if (!reply.ok) return;
      const bitmap = await createImageBitmap(await reply.blob());
      if (closed || sheets.get(number) !== sheet) return bitmap.close();
      Object.assign(sheet, { insets: insetsOf(bitmap, cell, across), bitmap });
      changed();
    } catch {
      sheets.delete(number); // asked for again with the next drawing
    }
  }

  /** The sheet if it is here; otherwise it is asked for, and the one unused for longest goes. */
  function sheetOf(number) {
    const sheet = sheets.get(number);
    if (sheet) {
      sheets.delete(number);
      sheets.set(number, sheet);
      return sheet;
    }
    load(number);
    for (const [old, { bitmap }] of sheets) {
      if (sheets.size <= KEPT_SHEETS) break;
      bitmap?.close();
      sheets.delete(old);
    }
    return {};
  }

  /** @param {CanvasRenderingContext2D} context @param {Drawn} place @param {{edge: string, line: string}} colours */
  function paint(context, { row, left, top, width, height }, colours, border) {
    const { bitmap, insets } = sheetOf(Math.floor(points.sprite[row] / SHEET));
    if (!bitmap) return;
    const place = points.sprite[row] % SHEET;
    const [x, y] = [insets[2 * place], insets[2 * place + 1]];
    context.fillStyle = colours.line;
    context.fillRect(left - border - 1, top - border - 1, width + 2 * border + 2, height + 2 * border + 2);
    context.fillStyle = colours.edge;
    context.fillRect(left - border, top - border, width + 2 * border, height + 2 * border);
    context.drawImage(bitmap, (place % across) * cell + x, Math.floor(place / across) * cell + y, cell - 2 * x, cell - 2 * y, left, top, width, height);
  }

  /** Where a preview is drawn; null while its sheet is on its way, or where it has none. @returns {Drawn|null} */
  function rectangleOf(row, size) {
    const { bitmap, insets } = sheetOf(Math.floor(points.sprite[row] / SHEET));
    if (!bitmap) return null;
    const place = points.sprite[row] % SHEET;
    const width = size * (1 - (2 * insets[2 * place]) / cell);
    const height = size * (1 - (2 * insets[2 * place + 1]) / cell);
    if (width < 1 || height < 1) return null;
    return { row, left: camera.toX(points.x[row]) - width / 2, top: camera.toY(points.y[row]) - height / 2, width, height };
  }

  return {
    arrange,
    /**
     * @param {CanvasRenderingContext2D} context in pixels of the page
     * @param {{fitted: number, fainter: number, faint: (row: number) => boolean, front: number, colours: any}} style
     */
    draw(context, style) {
      if (base !== style.fitted) restart(style.fitted);
      const level = Math.max(lowest, levelOf(camera.scale));
      while (lowest + ends.length <= level) addLevel(lowest + ends.length);
      const size = sizeAt(camera.zoom, camera.width < 600);
      const rows = inView(level);
      drawn = /** @type {Drawn[]} */ (rows.map((row) => rectangleOf(row, size)).filter(Boolean));
      for (const place of drawn) {
        if (place.row === style.front) continue;
        context.globalAlpha = style.faint(place.row) ? style.fainter : 1;
        paint(context, place, style.colours, 1.5);
      }
      context.globalAlpha = 1;
    },
    /** One preview in front of all, a little larger. */
    front(context, row, colours) {
      const place = points.sprite[row] >= 0 ? rectangleOf(row, 1.3 * sizeAt(camera.zoom, camera.width < 600)) : null;
      if (place) paint(context, place, { edge: colours.accent, line: colours.edge }, 3);
      return Boolean(place);
    },
    /** The row of the preview at a pixel, or -1. */
    at: (x, y) => drawn.findLast(({ left, top, width, height }) => x >= left && y >= top && x <= left + width && y <= top + height)?.row ?? -1,
    /** @returns {Drawn[]} what was drawn last */
    drawn: () => drawn,
    none: () => { drawn = []; },
    close() {
      closed = true;
      sheets.forEach(({ bitmap }) => bitmap?.close());
      sheets.clear();
    },
  };
}
