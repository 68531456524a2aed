// Keys for the review pages. A key only moves the focus; Enter, the browser's own, presses: two keys a decision.
// Nothing here fetches, stores pictures, or is needed: without it every page works.
"use strict";
(() => {
  const OFF = "fedi-safety-keys-off";
  const off = () => { try { return localStorage.getItem(OFF) === "1"; } catch { return false; } };
  const move = (by) => {
    const entries = [...document.querySelectorAll("a.entry")];  // more come by `Older`
    const at = entries.indexOf(document.activeElement);
    const next = entries[at < 0 ? (by > 0 ? 0 : entries.length - 1) : at + by];
    if (next) next.focus();
  };
  document.addEventListener("keydown", (event) => {
    if (off() || event.ctrlKey || event.altKey || event.metaKey || event.repeat && !"jk".includes(event.key)) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === "j" || event.key === "k") { move(event.key === "j" ? 1 : -1); event.preventDefault(); return; }
    if (event.key === "?") {
      const keys = document.getElementById("keys");
      if (keys) { keys.open = !keys.open; keys.querySelector("summary").focus(); event.preventDefault(); }
      return;
    }
    const wanted = "cdrhut".includes(event.key) && document.querySelector(`[data-key="${event.key}"]`);
    if (wanted) { wanted.focus(); event.preventDefault(); }
  });
  // Where more entries came by a button that is gone now, the first of them has the focus.
  let shown = document.querySelectorAll("a.entry").length;
  document.addEventListener("htmx:after:swap", () => {
    const entries = document.querySelectorAll("a.entry");
    if (entries.length > shown && shown) entries[shown].focus();
    shown = entries.length;
  });
  const toggle = document.getElementById("keys-switch");
  if (toggle) {
    toggle.hidden = false;
    toggle.setAttribute("aria-pressed", String(!off()));
    toggle.addEventListener("click", () => {
      try { localStorage.setItem(OFF, off() ? "0" : "1"); } catch { return; }
      toggle.setAttribute("aria-pressed", String(!off()));
    });
  }
})();
