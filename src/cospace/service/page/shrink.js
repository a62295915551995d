// Images made small before they are sent. Loaded with the first upload.

const LONGEST = 768;
const MOST_BYTES = 200_000;
const SMALL = "image/webp"; // what images are made into
const QUALITIES = [0.9, 0.8, 0.65, 0.5];

/**
 * @param {Blob} blob
 * @param {string[]} types what the server takes
 * @returns {Promise<Blob|null>} null for what is no image, or none that the browser can decode
 */
export async function shrink(blob, types) {
  if (!types.includes(SMALL)) return null;
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && blob.size <= MOST_BYTES && types.includes(blob.type)) return blob;
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = "white"; // as the index shows what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  let small = blob;
  for (const quality of QUALITIES) {
    small = await canvas.convertToBlob({ type: SMALL, quality });
    if (small.size <= MOST_BYTES) break;
  }
  return small;
}
