// What the index remembers of rows, by number: fetched a batch at a time, kept until the index changes.

const BATCH = 60;
const KEPT = 20000;

/** @typedef {import("./api.js").Item} Item */

/** @param {import("./app.js").App & Record<string, any>} app */
export function createItems(app) {
  /** @type {Map<number, Item>} */
  const known = new Map();
  /** @type {Map<string, number>} */
  const byId = new Map();
  /** @type {Map<number, Promise<void>>} */
  const coming = new Map();

  /** @param {Item} item */
  function keep(item) {
    if (known.size >= KEPT) known.delete(known.keys().next().value);
    known.set(item.number, item);
    byId.set(item.id, item.number);
    return item;
  }

  async function fetchBatch(numbers) {
    try {
      const reply = await app.api.get(`api/items?version=${app.info().version}&n=${numbers.join(",")}`);
      reply.items.forEach(keep);
    } catch (error) {
      if (error.status === 409) app.refresh(); // the index has changed under the page
      throw error;
    } finally {
      numbers.forEach((item) => coming.delete(item));
    }
  }

  /** Fetch those that are not known. @param {Iterable<number>} numbers @returns {Promise<void>} */
  async function want(numbers) {
    const missing = [...new Set(numbers)].filter((item) => !known.has(item));
    const fresh = missing.filter((item) => !coming.has(item));
    for (let at = 0; at < fresh.length; at += BATCH) {
      const batch = fresh.slice(at, at + BATCH);
      const promise = fetchBatch(batch);
      batch.forEach((item) => coming.set(item, promise));
    }
    await Promise.all(new Set(missing.map((item) => coming.get(item))));
  }

  /** @type {Map<number, Promise<Item[]>>} */
  const pairs = new Map();
  /** @type {Map<number, (found: Item[]|Promise<Item[]>) => void>} */
  let asked = new Map();

  /** Everything that was asked for in one turn goes in one request. */
  async function fetchPairs() {
    const mine = [...asked];
    asked = new Map();
    for (let at = 0; at < mine.length; at += BATCH) {
      const batch = mine.slice(at, at + BATCH);
      const numbers = batch.map(([item]) => item);
      const reply = app.api.get(`api/paired?version=${app.info().version}&n=${numbers.join(",")}`);
      batch.forEach(([item, resolve], place) => resolve(reply.then(({ paired }) => paired[place].map(keep))
        .catch((error) => { pairs.delete(item); throw error; })));
    }
  }

  return {
    want,
    /** What stands in the same rows of the table: a picture's captions, a caption's picture. @param {number} item */
    paired(item) {
      const found = pairs.get(item);
      if (found) return found;
      const { promise, resolve } = Promise.withResolvers();
      if (!asked.size) queueMicrotask(fetchPairs);
      asked.set(item, resolve);
      pairs.set(item, promise);
      return promise;
    },
    /** @param {number} item @returns {Item|undefined} what is known without asking */
    known: (item) => known.get(item),
    /** @param {string} id @returns {string|undefined} what is known without asking */
    modalityOf: (id) => known.get(byId.get(id) ?? -1)?.modality,
    /** @param {number} item @returns {Promise<Item>} */
    async one(item) {
      await want([item]);
      return /** @type {Item} */ (known.get(item));
    },
    /** @param {Iterable<number>} numbers @returns {Promise<Item[]>} in the given order, without those that are gone */
    async all(numbers) {
      const list = [...numbers];
      await want(list);
      return /** @type {Item[]} */ (list.map((item) => known.get(item)).filter(Boolean));
    },
    /** @param {string} id @returns {Promise<Item>} */
    async withId(id) {
      const found = known.get(byId.get(id) ?? -1);
      return found ?? keep(await app.api.get(`api/item?id=${encodeURIComponent(id)}`));
    },
    /** The index has another version: numbers mean other items. */
    forget() {
      known.clear();
      byId.clear();
      pairs.clear();
    },
  };
}
