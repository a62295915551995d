// Files that people search by; the server keeps them for a while, in memory only.

/**
 * What the server knows of uploads, by their hash.
 *
 * @typedef {{upload: string, modality: string, preview: boolean, width: number, height: number}} Upload
 * @param {import("./app.js").App & Record<string, any>} app
 */
export function createUploads(app) {
  /** @type {Map<string, Upload>} */
  const known = new Map();
  const keep = (upload) => {
    known.set(upload.upload, upload);
    return upload;
  };
  return {
    /** @param {string} hash @returns {Upload|undefined} what is known without asking */
    known: (hash) => known.get(hash),
    /** @param {string} hash @returns {Promise<Upload>} fails with status 404 once the server has forgotten it */
    one: async (hash) => known.get(hash) ?? keep(await app.api.get(`api/upload/${encodeURIComponent(hash)}`)),
    /**
     * Send a file. What the browser cannot decode goes as it is: the server then says what it can read.
     *
     * @param {Blob} blob
     * @returns {Promise<string>} the hash that names it in queries
     */
    async send(blob) {
      await app.firstInfo;
      const { shrink } = await import("./shrink.js");
      const small = (await shrink(blob, app.modalities.types())) ?? blob;
      const most = app.info().limits?.upload_bytes ?? Infinity;
      if (small.size > most) {
        throw Object.assign(new Error(`It has ${(small.size / 1e6).toFixed(1)} MB; ${(most / 1e6).toFixed(0)} MB are the most. Save it smaller and try again.`),
          { title: "This file is too large", status: 413 });
      }
      return keep(await app.api.upload(small)).upload;
    },
    /**
     * The first file among what was dropped or pasted that may be one to search by; a file without a type may be.
     *
     * @param {DataTransfer|null} data
     * @returns {File|null}
     */
    fileIn: (data) => [...(data?.files ?? [])].find(({ type }) => !type || !app.info() || app.modalities.takes(type)) ?? null,
  };
}

/** Whether something is the address of a file elsewhere, without its data. @param {DataTransfer|null} data */
export const isRemote = (data) => Boolean(data) && !data?.files.length && [...(data?.types ?? [])].includes("text/uri-list");

/** Where the preview of an upload lies while the server remembers it. */
export const uploadUrl = (hash) => `u/${hash}`;
