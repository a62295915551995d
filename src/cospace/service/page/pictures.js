// Pictures that people bring: made small in the browser, then kept by the server for a while, in memory only.

const LONGEST = 768;
const MOST_BYTES = 200_000;
const TAKEN = ["image/jpeg", "image/png", "image/webp"];
const QUALITIES = [0.9, 0.8, 0.65, 0.5];

/** @returns {Promise<Blob|null>} null where the browser cannot decode it */
async function shrink(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && blob.size <= MOST_BYTES && TAKEN.includes(blob.type)) return blob;
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = "white"; // as the index shows what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  let small = blob;
  for (const quality of QUALITIES) {
    small = await canvas.convertToBlob({ type: "image/webp", quality });
    if (small.size <= MOST_BYTES) break;
  }
  return small;
}

/**
 * Send a picture up. What the browser cannot decode (HEIC, say) goes as it is: the server then says what it can read.
 *
 * @param {import("./app.js").App & Record<string, any>} app
 * @param {Blob} blob
 * @returns {Promise<string>} the hash that names it in queries
 */
export async function uploadPicture(app, blob) {
  const small = (await shrink(blob)) ?? blob;
  const most = app.info().limits?.upload_bytes ?? Infinity;
  if (small.size > most) {
    throw Object.assign(new Error(`It has ${(small.size / 1e6).toFixed(1)} MB; ${(most / 1e6).toFixed(0)} MB are the most. Save it smaller and try again.`),
      { title: "This picture is too large", status: 413 });
  }
  return (await app.api.upload(small)).upload;
}

/** The first picture among what was dropped or pasted. @param {DataTransfer|null} data @returns {File|null} */
export function pictureIn(data) {
  const files = [...(data?.files ?? [])];
  return files.find((file) => file.type.startsWith("image/") || /\.(jpe?g|png|webp|hei[cf]|gif|bmp|avif|tiff?)$/i.test(file.name)) ?? null;
}

/** Whether something is the address of a picture elsewhere, without its data. @param {DataTransfer|null} data */
export const isRemote = (data) => Boolean(data) && !data?.files.length && [...(data?.types ?? [])].includes("text/uri-list");

/** Where an upload can be seen while the server remembers it. */
export const uploadUrl = (hash) => `/u/${hash}`;
