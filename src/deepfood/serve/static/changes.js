// Requests that change the gallery. All have the key, and go to this server alone.

import { answerTo, ask, json } from "./ask.js";
import { keyNow } from "./key.js";

const at = (id) => `api/v1/photos/${encodeURIComponent(id)}`;
const signed = (key = keyNow()) => ({ Authorization: "Bearer " + key });

/** Whether the server takes a key: this opens what is the newest, and changes nothing. */
export const checkKey = (key) => ask("api/v1/admin/reload", { method: "POST", redirect: "error", headers: signed(key) });

/** A photo as it is now: {photo, etag}. */
export async function readPhoto(id, signal) {
  const { body, headers } = await answerTo(at(id), { signal, cache: "no-store" });
  return { photo: body, etag: headers.get("ETag") };
}

/** Change what is given of a photo, unless somebody has changed it since it had this ETag: status 412. */
export function changePhoto(id, etag, change) {
  const { headers, body } = json(change);
  const all = { ...headers, ...signed(), "If-Match": etag };
  return ask(at(id), { method: "PATCH", redirect: "error", headers: all, body });
}

/** Delete a photo, unless somebody has changed it since. */
export function removePhoto(id, etag) {
  const headers = { ...signed(), "If-Match": etag };
  return ask(at(id), { method: "DELETE", redirect: "error", headers });
}

/** Add a file as it is, with {label, name}; `sent` gets the share that has been sent. What the gallery has
 *  already is left alone: status 412, with its `location`. */
export function addPhoto(file, about, sent) {
  const body = new FormData();
  body.append("photo", file, file.name || "photo");
  for (const [name, value] of Object.entries(about)) if (value) body.append(name, value);
  return ask("api/v1/photos", { method: "POST", headers: { ...signed(), "If-None-Match": "*" }, body, sent });
}
