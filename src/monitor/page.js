// Renews the page every two seconds while it is looked at. Without it the page is the same, and still.
"use strict";

const EVERY_MS = 2000;

/** Shows times in this browser's zone and words. */
function tellTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.valueOf())) {
      time.title = time.dateTime;
      time.textContent = at.toLocaleString();
    }
  }
}

async function renew() {
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(answer.statusText);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      keepPictures(page);
      document.querySelector("main").replaceWith(page.querySelector("main"));
      tellTimes();
      document.body.classList.remove("is-stale");
    } catch {
      document.body.classList.add("is-stale");
    }
  }
  setTimeout(renew, EVERY_MS);
}

/** Pictures that are there already stay, so that they do not flicker. */
function keepPictures(page) {
  const there = new Map();
  for (const picture of document.images) there.set(picture.getAttribute("src"), picture);
  for (const picture of page.images) {
    const old = there.get(picture.getAttribute("src"));
    if (old) picture.replaceWith(old);
  }
}

tellTimes();
setTimeout(renew, EVERY_MS);
