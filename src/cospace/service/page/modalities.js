// What the index's modalities are called and what can be done with their items, as /api/info describes them.

import { thumbnail } from "./api.js";

/**
 * @typedef {object} Modality
 * @property {string} name
 * @property {string} noun one item of it
 * @property {string} plural
 * @property {boolean} is_text whether its items are texts
 * @property {string[]} upload_types media types that can be sent as a query
 * @property {boolean} preview whether its items have previews
 * @property {string|null} page address of its own module, which exports `player(url, label)` and perhaps
 *     `recorder(onBlob)`; both give an element
 */

/** The largest preview that an index keeps; larger ones are made where the item is an image. */
const KEPT = 256;

export const capital = (words) => words.charAt(0).toUpperCase() + words.slice(1);
export const withArticle = (noun) => `${/^[aeiou]/i.test(noun) ? "an" : "a"} ${noun}`;
const anyOf = (words) => words.join(", ").replace(/, ([^,]*)$/, " or $1");

/** @param {() => any} info the reply of /api/info, null before it has come */
export function createModalities(info) {
  /** @type {Map<string, Promise<any>>} */
  const modules = new Map();
  /** @returns {Modality[]} */
  const all = () => info()?.modalities ?? [];
  /** @param {string} [name] @returns {Modality} */
  const of = (name) => all().find((one) => one.name === name)
    ?? { name: "", noun: "item", plural: "items", is_text: false, upload_types: [], preview: false, page: null };
  const held = () => all().filter(({ name }) => info().counts?.[name]);
  const files = () => held().filter((one) => !one.is_text);
  const texts = () => held().filter((one) => one.is_text);
  const offered = () => all().filter((one) => one.upload_types.length);
  const types = () => offered().flatMap((one) => one.upload_types);
  /** `image` of `image/png`: browsers name many formats that the service converts or refuses with a reason. */
  const kinds = () => [...new Set(types().map((type) => type.split("/")[0]))];

  return {
    all, of, types,
    /** Those that the index holds items of, files first: what can be found. */
    held: () => [...files(), ...texts()],
    /** What is found where nobody chooses. @returns {Modality} */
    main: () => files()[0] ?? texts()[0] ?? of(),
    several: () => files().length > 1,
    textName: () => all().find((one) => one.is_text)?.name,
    /** What is searched by beside words: "image", or "file" where there are several kinds. */
    uploadNoun: () => (offered().length === 1 ? offered()[0].noun : "file"),
    plurals: () => files().map(({ plural }) => plural).join(" and ") || of().plural,
    /** @param {string} type */
    takes: (type) => kinds().includes(type.split("/")[0]),
    accept: () => kinds().map((kind) => `${kind}/*`).join(","),
    formats: () => anyOf(types().map((type) => type.split("/")[1].toUpperCase())),
    /** @param {import("./api.js").Item|undefined} item */
    hasPreview: (item) => Boolean(item?.hash) && of(item?.modality).preview,
    /** Where the preview of an item lies. @param {{hash: string, modality: string}} item @param {number} size */
    previewOf: ({ hash, modality }, size) => thumbnail(hash, of(modality).page ? Math.min(size, KEPT) : size),
    /** A modality's own module, or null. @param {Modality} modality @returns {Promise<any>} */
    async module({ page }) {
      if (!page) return null;
      const loading = modules.get(page) ?? import(new URL(page, document.baseURI).href); // the page may lie below a path of a proxy
      modules.set(page, loading);
      return loading.catch(() => {
        modules.delete(page); // another try may find it
        return null;
      });
    },
  };
}
