// The photo that is searched with, and the part of it that the Model sees.

import { $ } from "./dom.js";
import { leadOf } from "./examples.js";
import { gallery, labelOf, nameOf, photos } from "./gallery.js";
import { uploads } from "./uploads.js";

const MOST_OF_IT = 0.7; // of a photo's area; a square photo has 0.77 in the Model that ships

/** Show the photo, as far as it is known, and say in the headings what is searched. */
export function drawQuery(search) {
  const { words } = search;
  const { id, upload } = leadOf(search);
  const photo = photos.get(id);
  const image = $("query-photo");
  const source = upload ? uploads.get(upload).url : photo && `thumbnails/${photo.id}`;
  $("query-side").hidden = !id && !upload;
  $("query").classList.toggle("without-photo", !source);
  if (source) image.src = source;
  else image.removeAttribute("src");
  $("query-seen").hidden = $("query-part").hidden = true; // until it is loaded
  $("query-name").textContent = upload ? "Your photo" : photo ? nameOf(photo) : "";
  $("query-label").textContent = (upload ? uploads.get(upload).name : labelOf(photo)) ?? "";
  const like = upload ? "like yours" : photo ? `like ${nameOf(photo)}` : id ? "alike" : "";
  const title = ["Photos", like, words && `${like ? "and " : "of "}“${words}”`].filter(Boolean).join(" ");
  $("title").textContent = title;
  document.title = `${title} · deepfood`;
}

/** How wide and high the middle is that the Model sees of a photo; nothing lies beyond a padded one. */
function seenOf(width, height) {
  const { resize, crop } = gallery.fit;
  if (resize === "squash") return [crop * width, crop * height];
  const side = crop * (resize === "pad" ? Math.max(width, height) : Math.min(width, height));
  return [Math.min(side, width), Math.min(side, height)];
}

/** Draw the part of the photo that the Model sees, and say so where that is not most of it. */
export function drawSeen() {
  const { naturalWidth: width, naturalHeight: height, parentElement: frame } = $("query-photo");
  const known = Boolean(gallery.fit && width && $("query-photo").hasAttribute("src"));
  const [wide, high] = known ? seenOf(width, height) : [0, 0];
  $("query-seen").hidden = !known;
  $("query-part").hidden = !known || wide * high > MOST_OF_IT * width * height;
  const shape = frame.clientWidth / frame.clientHeight;
  const scale = Math.min(shape / width, 1 / height); // the whole photo in the frame, whose height is 1
  $("query-seen").style.setProperty("--wide", `${(100 * wide * scale) / shape}%`);
  $("query-seen").style.setProperty("--high", `${100 * high * scale}%`);
}

$("query-photo").addEventListener("load", drawSeen);
$("query-photo").addEventListener("error", () => $("query").classList.add("without-photo"));
