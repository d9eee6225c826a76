// Photos far from all others: of something else, or the only one of their kind.

import { remove } from "./deleting.js";
import { tended } from "./tended.js";
import { parts, percent, t } from "./text.js";

const keyOf = ({ id }) => JSON.stringify(["outlier", id]);

/** The list, for curated.js. */
export const outliers = {
  address: "api/v1/outliers",
  entries: (page) => page.photos,
  key: keyOf,
  item,
  said: (count) => t("outliers.count", { count }),
  none: () => t("outliers.none"),
};

function item(outlier) {
  return tended(outlier, keyOf(outlier), ({ button, leave }) => ({
    why: parts("outliers.why", { percent: percent(outlier.similarity) }),
    does: [
      leave(t("curated.leave"), t("curated.left")),
      button(t("deleting.delete"), () => remove(outlier)),
    ],
  }));
}
