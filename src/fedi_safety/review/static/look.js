// The one page that has a picture: it goes after seconds, when the window loses the focus, and with Escape.
// Without this script the page leads away by itself in the same time. Nothing here fetches or keeps anything.
"use strict";
(() => {
  const seen = document.getElementById("seen");
  if (!seen) return;
  const gone = () => {
    seen.remove();
    document.getElementById("unseen").hidden = false;
  };
  setTimeout(gone, 1000 * Number(seen.dataset.seconds));
  addEventListener("blur", gone);
  addEventListener("pagehide", gone);
  addEventListener("pageshow", (event) => { if (event.persisted) gone(); });
  document.addEventListener("visibilitychange", () => { if (document.hidden) gone(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") gone(); });
})();
