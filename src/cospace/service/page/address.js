// What the page shows, as data, and its form in the address bar. No page elements here.

/**
 * @typedef {object} Part one chip of the query; a negative weight means "less of this"
 * @property {"text"|"item"|"upload"|"drawing"} kind
 * @property {string} value the words, an item's id, or the hash of an upload
 * @property {number} weight in [-2, 2], never 0
 *
 * @typedef {object} State
 * @property {"search"|"map"|"ask"|"health"} view
 * @property {Part[]} parts the chips
 * @property {string} draft words in the field; they search as a chip does
 * @property {string|null} find the modality to find; null leaves it to the service
 * @property {string[]} where filters such as `label=cat|dog`
 * @property {string[]} right ids of results that were marked right; they and the wrong ones move the query
 * @property {string[]} wrong
 * @property {string|null} item id of the item in the inspector
 * @property {Part|null} subject the item of the Ask view
 */

export const VIEWS = ["search", "map", "ask", "health"];
export const MINUS = -0.7;
export const SIDES = /** @type {const} */ (["right", "wrong"]);
const KINDS = { t: "text", i: "item", u: "upload", d: "drawing" };
const LETTERS = Object.fromEntries(Object.entries(KINDS).map(([letter, kind]) => [kind, letter]));

/** @returns {State} */
export const emptyState = () =>
  ({ view: "search", parts: [], draft: "", find: null, where: [], right: [], wrong: [], item: null, subject: null });

/** Weights are kept to a tenth, within what the service takes, and never 0. */
export function clampWeight(weight) {
  const size = Math.min(2, Math.max(0.1, Math.round(Math.abs(weight) * 10) / 10));
  return weight < 0 ? -size : size;
}

/** @param {Part} part */
const writePart = ({ kind, value, weight }) => `${weight}~${LETTERS[kind]}~${value}`;

/** @returns {Part|null} null for what nobody could have meant */
function readPart(written) {
  const match = /^(-?[\d.]+)~([tiud])~([^]+)$/.exec(written);
  if (!match || !Number(match[1])) return null;
  return { kind: KINDS[match[2]], value: match[3], weight: clampWeight(Number(match[1])) };
}

/** @param {State} state @returns {string} from `#` on */
export function writeAddress(state) {
  const fields = new URLSearchParams();
  if (state.view !== "search") fields.set("view", state.view);
  for (const part of state.parts) fields.append("p", writePart(part));
  if (state.draft.trim()) fields.set("q", state.draft);
  if (state.find) fields.set("find", state.find);
  for (const filter of state.where) fields.append("where", filter);
  for (const side of SIDES) for (const id of state[side]) fields.append(side, id);
  if (state.item !== null) fields.set("item", state.item);
  if (state.subject) fields.set("ask", writePart(state.subject));
  return `#${fields}`;
}

/** @param {string} hash @returns {State} what cannot be read is left out */
export function readAddress(hash) {
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  const view = fields.get("view") ?? "search";
  const find = fields.get("find");
  return {
    view: /** @type {any} */ (VIEWS.includes(view) ? view : "search"),
    parts: /** @type {Part[]} */ (fields.getAll("p").map(readPart).filter(Boolean)),
    draft: fields.get("q") ?? "",
    find: find && /^[a-z_]+$/.test(find) ? find : null,
    where: fields.getAll("where"),
    right: fields.getAll("right"),
    wrong: fields.getAll("wrong"),
    item: fields.get("item"),
    subject: readPart(fields.get("ask") ?? ""),
  };
}

/** Words without quotation marks, which the model would read as words of their own; `don't` keeps its apostrophe. */
export const unquoted = (words) =>
  words.replace(/["“”„«»]/gu, " ").replace(/(^|\s)['‘’]+|['‘’]+(?=\s|$)/gu, "$1").replace(/\s+/gu, " ").trim();

/**
 * The parts that some typed words mean: ` -word` and ` -"two words"` are minus parts, `t-shirt` is a word.
 *
 * @param {string} typed
 * @param {number} [sign] of the words that have no minus of their own
 * @returns {Part[]}
 */
export function readDraft(typed, sign = 1) {
  /** @type {Part[]} */
  const minus = [];
  const rest = typed.replace(/(^|\s)-(?:"([^"]+)"|([^\s"-][^\s"]*))(?=\s|$)/gu, (whole, before, quoted, word) => {
    const value = (quoted ?? word).trim();
    if (value) minus.push({ kind: "text", value, weight: MINUS });
    return value ? before : whole;
  });
  const words = unquoted(rest);
  /** @type {Part[]} */
  const plus = words && words !== "-" ? [{ kind: "text", value: words, weight: sign > 0 ? 1 : MINUS }] : [];
  return [...plus, ...minus];
}

/**
 * Contrastive models read "cat without glasses" as a cat with glasses. What should be a minus, if anything.
 *
 * @param {string} typed
 * @returns {{rest: string, without: string, word: string}|null}
 */
export function findNegation(typed) {
  const match = /(^|\s)(not|without|no)\s+(?:(?:an?|the|any)\s+)?([\p{L}\p{N}][\p{L}\p{N}'’-]*)/iu.exec(typed);
  if (!match) return null;
  const rest = `${typed.slice(0, match.index)} ${typed.slice(match.index + match[0].length)}`;
  return { rest: rest.replace(/\s+/gu, " ").trim(), without: match[3], word: match[2] };
}

/** The words of the parts that are looked for, in small letters. @param {Part[]} parts @returns {Set<string>} */
export const wordsOf = (parts) => new Set(parts.filter(({ kind, weight }) => kind === "text" && weight > 0)
  .flatMap(({ value }) => value.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []));

const SERVER_KEYS = { text: "text", item: "id", upload: "upload", drawing: "upload" };

/** @param {Part} part @returns {import("./api.js").ServerPart} */
export const serverPart = ({ kind, value, weight }) => /** @type {any} */ ({ [SERVER_KEYS[kind]]: value, weight });

/** All parts that search now: the chips, and the words being typed. @param {State} state @returns {Part[]} */
export const searchingParts = (state) => [...state.parts, ...readDraft(state.draft)];

/**
 * How the parts read aloud: "red bus and an image, without night".
 *
 * @param {Part[]} parts
 * @param {(part: Part) => string} nameOf
 */
export function describe(parts, nameOf) {
  const plus = parts.filter((part) => part.weight > 0).map(nameOf);
  const minus = parts.filter((part) => part.weight < 0).map(nameOf);
  return [plus.join(" and "), minus.length && `without ${minus.join(" and ")}`].filter(Boolean).join(", ");
}

/** What marks are about: the words that are looked for; where there are none, the items. @param {State} state */
function subjects(state) {
  const parts = searchingParts(state);
  const texts = parts.filter((part) => part.kind === "text");
  return (texts.length ? texts : parts).map(({ kind, value }) => kind + value);
}

/** The state after another: of a query of which nothing is left the marks are forgotten. @param {State} before @param {State} next */
export function withoutOldMarks(before, next) {
  if (!next.right.length && !next.wrong.length) return next;
  const left = new Set(subjects(next));
  return subjects(before).some((one) => left.has(one)) ? next : { ...next, right: [], wrong: [] };
}
