// Draws the points with WebGL2: one vertex a point, round and soft at the edge.

const VERTEX = `#version 300 es
layout(location = 0) in vec2 place;
layout(location = 1) in vec4 colour;
uniform vec4 view;
uniform vec2 point;
out vec4 tint;
void main() {
  gl_Position = vec4((place - view.xy) * view.zw, 0.0, 1.0);
  gl_PointSize = colour.a > 0.0 ? point.x + 1.0 : 0.0;
  if (colour.a == 0.0) gl_Position = vec4(2.0, 2.0, 0.0, 1.0);
  tint = vec4(colour.rgb, colour.a * point.y);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 tint;
uniform vec2 point;
out vec4 pixel;
void main() {
  float away = length(gl_PointCoord - 0.5) * (point.x + 1.0);
  float cover = tint.a * clamp(point.x * 0.5 - away + 0.5, 0.0, 1.0);
  pixel = vec4(tint.rgb * cover, cover);
}`;

/**
 * What draws points; `map_flat.js` makes another.
 *
 * @typedef {object} Painter
 * @property {(points: import("./map_data.js").Points) => void} setPoints
 * @property {(colours: Uint8Array, above: Uint32Array) => void} setColours four bytes a point, alpha 0 hides it; rows in
 *     `above` are drawn once more over the others
 * @property {(camera: import("./map_camera.js").Camera, size: number, opacity: number, ratio: number) => void} draw
 * @property {() => void} close
 */

function compile(gl, kind, source) {
  const shader = gl.createShader(kind);
  gl.shaderSource(shader, source);
  gl.compileShader(shader);
  return shader;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {(times: number) => void} restored called when a lost context has come back: draw again
 * @returns {Painter|null} null where there is no WebGL2
 */
export function createGlPainter(canvas, restored) {
  const gl = canvas.getContext("webgl2", { antialias: false, depth: false, powerPreference: "low-power" });
  if (!gl) return null;
  /** kept for a context that comes back */
  let [points, colours, above] = [null, new Uint8Array(), new Uint32Array()];
  let [lost, place] = [0, {}];
  let buffers = [];

  function build() {
    const program = gl.createProgram();
    gl.attachShader(program, compile(gl, gl.VERTEX_SHADER, VERTEX));
    gl.attachShader(program, compile(gl, gl.FRAGMENT_SHADER, FRAGMENT));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return false;
    gl.useProgram(program);
    place = { view: gl.getUniformLocation(program, "view"), point: gl.getUniformLocation(program, "point") };
    buffers = [gl.createBuffer(), gl.createBuffer(), gl.createBuffer()];
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[0]);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.UNSIGNED_SHORT, false, 0, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[1]);
    gl.enableVertexAttribArray(1);
    gl.vertexAttribPointer(1, 4, gl.UNSIGNED_BYTE, true, 0, 0);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffers[2]);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    return true;
  }

  function sendPoints() {
    const both = new Uint16Array(points.n * 2);
    for (let row = 0; row < points.n; row++) {
      both[2 * row] = points.x[row];
      both[2 * row + 1] = points.y[row];
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[0]);
    gl.bufferData(gl.ARRAY_BUFFER, both, gl.STATIC_DRAW);
  }

  function sendColours() {
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[1]);
    gl.bufferData(gl.ARRAY_BUFFER, colours, gl.DYNAMIC_DRAW);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, above, gl.DYNAMIC_DRAW);
  }

  if (!build()) return null;
  canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
  canvas.addEventListener("webglcontextrestored", () => {
    if (!build()) return;
    if (points) sendPoints();
    sendColours();
    restored(++lost);
  });

  return {
    setPoints(given) {
      points = given;
      if (!gl.isContextLost()) sendPoints();
    },
    setColours(given, over) {
      [colours, above] = [given, over];
      if (!gl.isContextLost()) sendColours();
    },
    draw(camera, size, opacity, ratio) {
      if (gl.isContextLost() || !points) return;
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clear(gl.COLOR_BUFFER_BIT);
      const { scale, width, height } = camera;
      gl.uniform4f(place.view, camera.x, camera.y, (2 * scale) / width, (-2 * scale) / height);
      gl.uniform2f(place.point, size * ratio, opacity);
      gl.drawArrays(gl.POINTS, 0, Math.min(points.n, colours.length / 4));
      if (!above.length) return;
      gl.uniform2f(place.point, (size + 1) * ratio, Math.max(opacity, 0.9));
      gl.drawElements(gl.POINTS, above.length, gl.UNSIGNED_INT, 0);
    },
    close: () => gl.getExtension("WEBGL_lose_context")?.loseContext(),
  };
}
