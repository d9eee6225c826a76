// How much of the visitor's photos is sent, where that takes a while.

import { $, announce } from "./dom.js";
import { percent, t } from "./text.js";

const WAIT_MS = 300; // before it is shown

let newest = null; // the one that has the page: {share, timer, before}

/** Do what sends photos: `act` gets the function that is told which share is sent. */
export async function sending(act) {
  const one = { share: 0, timer: 0, before: null };
  newest = one;
  $("sending").hidden = true;
  const sent = (share) => {
    one.share = share;
    if (share < 1) one.timer ||= setTimeout(() => begin(one), WAIT_MS);
    else if (end(one)) announce(t("sending.done"));
    draw(one);
  };
  try {
    return await act(sent);
  } finally {
    end(one);
  }
}

function begin(one) {
  if (newest !== one) return;
  one.before = $("summary").textContent;
  $("sending").hidden = false;
  draw(one);
  announce(t("sending.begun"));
}

function draw(one) {
  if (newest !== one || $("sending").hidden) return;
  $("sending-bar").value = one.share;
  $("summary").textContent = t("sending.share", { share: percent(one.share) });
}

/** Take it from the page; answers whether it was there. */
function end(one) {
  clearTimeout(one.timer);
  if (newest !== one || $("sending").hidden) return false;
  $("sending").hidden = true;
  $("summary").textContent = one.before;
  return true;
}
