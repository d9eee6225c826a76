// Requests that change the gallery. All have the key, and go to this server alone.

import { answerTo, ask, json, refusalOf, unreachable } from "./ask.js";
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

/** Add a file as it is, with {label, name}; `sent` gets the share that has been sent. What the gallery
 *  has already is left alone: status 412, with its `id`. A refusal says after how many seconds to `wait`. */
export function addPhoto(file, about, sent) {
  const body = new FormData();
  body.append("photo", file, file.name || "photo");
  for (const [name, value] of Object.entries(about)) if (value) body.append(name, value);
  const request = new XMLHttpRequest(); // fetch() tells nothing of what has been sent
  request.open("POST", "api/v1/photos");
  for (const [name, value] of Object.entries({ ...signed(), "If-None-Match": "*" })) request.setRequestHeader(name, value);
  request.responseType = "json";
  request.upload.addEventListener("progress", ({ loaded, total }) => sent(loaded / total));
  return new Promise((done, fail) => {
    request.addEventListener("load", () => {
      const { status, response } = request;
      const headers = { get: (name) => request.getResponseHeader(name) };
      const ok = status >= 200 && status < 300;
      if (ok && response) return done(response);
      const id = headers.get("location")?.split("/").at(-1);
      return fail(Object.assign(refusalOf({ ok, status, headers }, response), { id, wait: Number(headers.get("Retry-After")) }));
    });
    request.addEventListener("error", () => fail(unreachable()));
    request.send(body);
  });
}
