// Photos that the visitor gave: in memory, and in this tab's history for when the page is loaded again.

const LONGEST = 1024; // pixels: larger photos are shrunk before they are sent
const LONGEST_ON_A_SLOW_LINE = 512;
const SMALL_BYTES = 300 * 1024;
const SMALL_BYTES_ON_A_SLOW_LINE = 60 * 1024;
const KEPT_UPLOADS = 20;
const KEPT_BYTES = 1024 * 1024; // of a photo in the history: browsers bound what they keep there

/** number -> {name, file, blob, url, kept, unread}: `kept` goes into the history; unread: the browser
 *  cannot read the photo. */
export const uploads = new Map();

let newest = 0;

/** Take a file; answers its number. The oldest goes where there are too many. */
export function newUpload(file) {
  const number = Math.max(Date.now(), newest + 1); // another after the page is loaded again
  newest = number;
  uploads.set(number, { name: file.name, file });
  if (uploads.size > KEPT_UPLOADS) {
    const [oldest, { url }] = uploads.entries().next().value;
    if (url) URL.revokeObjectURL(url);
    uploads.delete(oldest);
  }
  return number;
}

/** Make an upload ready to be sent and shown; answers whether that was still to be done. */
export async function prepareUpload(number) {
  const one = uploads.get(number);
  if (one.blob) return false;
  one.blob = await shrink(one);
  one.url = URL.createObjectURL(one.blob);
  await keepUpload(number, one);
  return true;
}

/** Whether the page has an upload, or could take it from the history. It is then the last to go. */
export function hasUpload(number) {
  const photo = history.state?.kept?.[number];
  if (photo) restoreUpload(number, photo);
  const one = uploads.get(number);
  uploads.delete(number);
  if (one) uploads.set(number, one);
  return Boolean(one);
}

/** Have an upload again, from {name, type, bytes} as it was sent. */
export function restoreUpload(number, photo) {
  if (uploads.has(number)) return;
  const blob = new Blob([photo.bytes], { type: photo.type });
  const kept = blob.size > KEPT_BYTES ? undefined : photo;
  uploads.set(number, { name: photo.name, blob, url: URL.createObjectURL(blob), kept });
}

async function keepUpload(number, one) {
  if (one.blob.size > KEPT_BYTES) return;
  one.kept = { name: one.name, type: one.blob.type, bytes: await one.blob.arrayBuffer() };
  const { examples, kept } = history.state ?? {};
  if (!examples?.some(({ upload }) => upload === number)) return; // another search has the page
  history.replaceState({ ...history.state, kept: { ...kept, [number]: one.kept } }, "");
}

/** What the history keeps of the photos that these examples have: number -> photo. */
export function keptOf(examples) {
  const numbers = examples.map(({ upload }) => upload).filter((number) => uploads.get(number)?.kept);
  return Object.fromEntries(numbers.map((number) => [number, uploads.get(number).kept]));
}

/** Whether the browser knows of a slow line, or was told to save data; not all can tell. */
export function isSlow() {
  const { effectiveType = "4g", saveData = false } = navigator.connection ?? {};
  return saveData || effectiveType !== "4g";
}

/** A large photo as a smaller upright JPEG of the same shape; what is small, or what the browser
 *  cannot read (HEIC in most), as it came. */
async function shrink(one) {
  const { file } = one;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    one.unread = true;
    return file;
  }
  const longest = Math.max(bitmap.width, bitmap.height);
  const [most, small] = isSlow()
    ? [LONGEST_ON_A_SLOW_LINE, SMALL_BYTES_ON_A_SLOW_LINE]
    : [LONGEST, SMALL_BYTES];
  if (longest <= most && file.size < small) return file;
  const scale = Math.min(1, most / longest);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // beneath what is transparent, as the server does it
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
  return blob ?? file;
}
