// The service's HTTP interface, as functions that give plain data or throw a Problem.

import { stacked } from "./stacks.js";

/**
 * @typedef {{text: string, weight: number} | {id: string, weight: number} | {upload: string, weight: number}} ServerPart
 * @typedef {{parts: ServerPart[], find?: string|null, where?: string[], right?: string[], wrong?: string[], k?: number, offset?: number}} Query
 *
 * @typedef {object} Item what the index remembers of one row
 * @property {number} number a handle that holds for one version of the index
 * @property {string} id
 * @property {string} modality
 * @property {string} path file name only
 * @property {string} text
 * @property {string} hash names its previews and its file
 * @property {number} width
 * @property {number} height
 * @property {number} rgb
 * @property {Record<string, string>} extras
 *
 * @typedef {object} Ranked the reply to one query, in columns, best first
 * @property {number} version
 * @property {number} n
 * @property {number} total items that could have been found
 * @property {number} strong so many of the first rows match strongly
 * @property {number} likely so many are likely or better
 * @property {number} maybe so many may fit or are better: what is shown at first
 * @property {string[]} unknown_words of the query, which occur in no caption
 * @property {number} by_caption so many come first since their captions hold all the words
 * @property {number[]} literal items whose captions hold all the words
 * @property {boolean} calibrated whether the percents mean anything
 * @property {Map<number, number[]>} [behind] numbers of results that show the same as a number
 * @property {string} direction
 * @property {Uint32Array} numbers
 * @property {Float32Array} scores
 * @property {Uint32Array} rgb
 * @property {Uint16Array} widths
 * @property {Uint16Array} heights
 * @property {Uint8Array} percents 255 = not calibrated
 *
 * @typedef {Error & {status: number, title: string, field?: string, retryAfter?: number}} Problem
 *     `status` 0: no answer came at all
 */

/** @returns {Problem} */
function problem(status, title, detail, more = {}) {
  return Object.assign(new Error(detail || title), { status, title, ...more });
}

/** @param {Response} response @returns {Promise<Problem>} */
async function refusal(response) {
  const seconds = Number(response.headers.get("retry-after")) || undefined;
  const said = await response.json().catch(() => ({}));
  return problem(response.status, said.title || `The server answered ${response.status}`, said.detail, {
    field: said.field,
    retryAfter: seconds,
  });
}

/**
 * Cut a reply of columns: uint32 length of a JSON header, the header, then the columns one after another.
 *
 * @param {ArrayBuffer} buffer
 * @param {[string, any][]} columns name and typed array of each
 */
export function readColumns(buffer, columns) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  for (const [name, Type] of columns) {
    const bytes = header.n * Type.BYTES_PER_ELEMENT;
    const aligned = at % Type.BYTES_PER_ELEMENT === 0;
    header[name] = aligned ? new Type(buffer, at, header.n) : new Type(buffer.slice(at, at + bytes));
    at += bytes;
  }
  return header;
}

/** @type {[string, any][]} */
const RANKED = [
  ["numbers", Uint32Array], ["scores", Float32Array], ["rgb", Uint32Array],
  ["widths", Uint16Array], ["heights", Uint16Array], ["percents", Uint8Array],
];

/**
 * @param {{lost: () => void, found: () => void}} connection notified of every call without an answer, and of every answer
 */
export function createApi(connection) {
  /** @param {string} path @param {RequestInit} [options] */
  async function call(path, options = {}) {
    let response;
    try {
      response = await fetch(path, options);
    } catch (error) {
      if (options.signal?.aborted) throw error;
      connection.lost();
      throw problem(0, "No connection", "The server does not answer.");
    }
    connection.found();
    if (!response.ok) throw await refusal(response);
    return response;
  }

  /** @param {string} path @param {{signal?: AbortSignal}} [options] @returns {Promise<any>} */
  const get = async (path, { signal } = {}) => (await call(path, { signal })).json();

  const posting = (path, body, signal) =>
    call(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" }, signal });

  /** @param {string} path @param {object} body @param {{signal?: AbortSignal}} [options] @returns {Promise<any>} */
  const post = async (path, body, { signal } = {}) => (await posting(path, body, signal)).json();

  /** @param {string} path @returns {Promise<any>} */
  const remove = async (path) => (await call(path, { method: "DELETE" })).json();

  /** Columns by name and type; see `readColumns`. @param {string} path */
  const columns = async (path, types, { signal } = {}) =>
    readColumns(await (await call(path, { signal })).arrayBuffer(), types);

  return {
    get,
    post,
    remove,
    columns,
    info: () => get("api/info"),
    /** @param {Query} query @returns {Promise<Ranked>} */
    async rank(query, { signal } = {}) {
      const reply = await posting("api/rank", query, signal);
      return stacked(readColumns(await reply.arrayBuffer(), RANKED));
    },
    /** Everything in order, `k` items from a place on, in the columns of a ranking. */
    browse: (offset, k) => columns(`api/browse?offset=${offset}&k=${k}`, RANKED),
    /** @param {Blob} blob @returns {Promise<import("./uploads.js").Upload>} */
    upload: async (blob) => (await call("api/upload", { method: "POST", body: blob })).json(),
    explain: (parts, item, version, options) => post("api/explain", { parts, number: item, version }, options),
    near: (item, version, k, find, options) =>
      get(`api/near?version=${version}&n=${item}&k=${k}${find ? `&find=${find}` : ""}`, options),
  };
}

/** Where the file of some content lies, to be played. */
export const media = (hash) => `m/${hash}`;

/** Where the file of some content lies, byte for byte as it was indexed. */
export const original = (hash) => `o/${hash}`;

/** Where the preview of some content lies; sizes 64, 256, 512, 1280. */
export const thumbnail = (hash, size) => `t/${size}/${hash}`;
