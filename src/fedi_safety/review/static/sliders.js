// Sliders beside the number fields of a form: both always say the same. Without this the fields alone are there.
"use strict";
(() => {
  for (const range of document.querySelectorAll("input[type=range][data-for]")) {
    const field = range.form.elements[range.dataset.for];
    const say = () => { range.setAttribute("aria-valuetext", field.value); };
    range.hidden = false;
    range.addEventListener("input", () => { field.value = range.value; say(); });
    field.addEventListener("input", () => { range.value = field.value; say(); });
    say();
  }
})();
