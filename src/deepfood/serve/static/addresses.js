// Addresses of photos elsewhere, which the server fetches from the hosts of its setting `query_url_hosts`.

/** A text as the address of a photo, or null. */
export function asAddress(text) {
  const found = text.trim();
  return /^https?:\/\/\S+$/i.test(found) && URL.canParse(found) ? new URL(found).href : null;
}

/** The address in what is dropped: that of a picture, which may be within a link, or of a link. */
export function addressDropped(transfer) {
  const dropped = new DOMParser().parseFromString(transfer.getData("text/html"), "text/html");
  const picture = dropped.querySelector("img")?.getAttribute("src") ?? "";
  const link = transfer.getData("text/uri-list").split(/[\r\n]+/).find((line) => line && !line.startsWith("#"));
  return asAddress(picture) ?? asAddress(link ?? "");
}
