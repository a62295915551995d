// Draws the points without WebGL: a small disc for each, mixed into one ImageData.

/** Share of each pixel that a disc covers. @returns {{offsets: [number, number, number][]}} */
function disc(size) {
  const reach = Math.ceil(size / 2);
  const offsets = [];
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      const cover = Math.min(1, Math.max(0, size / 2 - Math.hypot(dx, dy) + 0.5));
      if (cover > 0.05) offsets.push([dx, dy, cover]);
    }
  }
  return { offsets };
}

/** @param {HTMLCanvasElement} canvas @returns {import("./map_gl.js").Painter} */
export function createFlatPainter(canvas) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  let [points, colours, above] = [null, new Uint8Array(), new Uint32Array()];
  /** @type {ImageData|null} */
  let image = null;

  function paintPoint(row, offsets, opacity, camera, ratio) {
    const alpha = colours[4 * row + 3] * opacity;
    if (!alpha) return;
    const { width, height, data } = /** @type {ImageData} */ (image);
    const x = Math.round(camera.toX(points.x[row]) * ratio);
    const y = Math.round(camera.toY(points.y[row]) * ratio);
    if (x < -8 || y < -8 || x > width + 8 || y > height + 8) return;
    for (const [dx, dy, cover] of offsets) {
      if (x + dx < 0 || y + dy < 0 || x + dx >= width || y + dy >= height) continue;
      const at = ((y + dy) * width + x + dx) * 4;
      const over = (alpha * cover) / 255;
      const under = (data[at + 3] / 255) * (1 - over);
      const sum = over + under;
      for (let part = 0; part < 3; part++) data[at + part] = (colours[4 * row + part] * over + data[at + part] * under) / sum;
      data[at + 3] = sum * 255;
    }
  }

  return {
    setPoints: (given) => { points = given; },
    setColours: (given, over) => { [colours, above] = [given, over]; },
    draw(camera, { size, opacity, ratio, rows }) {
      if (!points || !canvas.width || !canvas.height) return;
      if (image?.width !== canvas.width || image.height !== canvas.height) image = context.createImageData(canvas.width, canvas.height);
      else image.data.fill(0);
      const small = disc(size * ratio).offsets;
      for (let row = 0; row < rows; row++) paintPoint(row, small, opacity, camera, ratio);
      const large = disc((size + 1) * ratio).offsets;
      for (const row of above) paintPoint(row, large, Math.max(opacity, 0.9), camera, ratio);
      context.putImageData(image, 0, 0);
    },
    close: () => { image = null; },
  };
}
