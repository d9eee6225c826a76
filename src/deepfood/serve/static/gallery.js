// What the page knows of the gallery and of its photos.

import { ask } from "./ask.js";
import { t } from "./text.js";

/** id -> what the gallery says of a photo. */
export const photos = new Map();

/** `columns`: the attributes. `fit`: what the Model sees of a photo, once it is known. `count`: of photos.
 *  `changes`: whether who has a key can change it.
 *  `takesUrls`: whether the server fetches photos by their addresses. `takesVotes`: whether on hits;
 *  `keepsPhotos`: whether it keeps the photo asked with, too. `loaded` is done when the server has answered. */
export const gallery = { columns: [], fit: null, count: null, changes: null, takesUrls: false, takesVotes: false, keepsPhotos: false, loaded: null };

/** Ask the server; answers {count, labels}. */
export async function loadGallery() {
  const { photos: count, labels, attributes, resize, crop, changes, ...takes } = await ask("api/v1/gallery");
  gallery.columns = attributes;
  gallery.count = count;
  gallery.takesUrls = takes.query_urls;
  gallery.takesVotes = takes.feedback;
  gallery.keepsPhotos = takes.feedback_photos;
  gallery.fit = { resize, crop };
  gallery.changes = changes;
  return { count, labels };
}

const forgetting = [];

/** `forget` is called when this tab has changed the gallery: what was asked before is out of date. */
export const onChanged = (forget) => forgetting.push(forget);
export const changed = () => forgetting.forEach((forget) => forget());

/** What is known of a photo of the gallery. */
export async function knownPhoto(id, signal) {
  if (!photos.has(id)) photos.set(id, await ask(`api/v1/photos/${encodeURIComponent(id)}`, { signal }));
  return photos.get(id);
}

/** A page of the gallery's photos, as GET /api/v1/photos has it. */
export async function pageOf(listing) {
  const said = Object.entries(listing).filter(([, value]) => value);
  const page = await ask(`api/v1/photos?${new URLSearchParams(said)}`);
  for (const photo of page.photos) photos.set(photo.id, { ...photos.get(photo.id), ...photo });
  return page;
}

export const readable = (label) => label?.replaceAll("_", " "); // folders are named apple_pie
export const nameOf = (photo) => photo.name ?? readable(photo.label) ?? t("photo.unnamed", { id: photo.id.slice(0, 6) });
export const labelOf = (photo) => (photo?.name ? readable(photo.label) : null);
