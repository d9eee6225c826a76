// Labels that may be wrong: each photo with why, and what can be done about it in its place.

import { readable } from "./gallery.js";
import { strong, tended } from "./tended.js";
import { parts, t } from "./text.js";

const keyOf = ({ id, label, suggested }) => JSON.stringify([id, label, suggested]);

/** The list, for curated.js. */
export const doubtful = {
  address: "api/v1/labels/doubtful",
  entries: (page) => page.photos,
  key: keyOf,
  item,
  said: (count) => t("doubtful.count", { count }),
  none: () => t("doubtful.none"),
};

function item(doubt) {
  const { label, suggested, agreeing, voters } = doubt;
  return tended(doubt, keyOf(doubt), ({ button, leave, relabel }) => ({
    why: parts("doubtful.why", { label: strong(label), suggested: strong(suggested), agreeing, count: voters }),
    does: [
      button(t("doubtful.set", { label: readable(suggested) }), () => relabel(suggested), ""),
      leave(t("doubtful.keep", { label: readable(label) }), t("doubtful.kept", { label: readable(label) })),
    ],
  }));
}
