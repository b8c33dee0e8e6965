// From a plain folder a browser may not read one page from another, so search results come without excerpts there.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// cells that hold a sentence wrap, cells that hold a number do not
document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("table.dataframe tbody :is(td, th)").forEach(c => c.classList.toggle("sentence", c.textContent.length > 24 && !c.classList.contains("number"))));

// a table or a drawing that is wider than its box says so
document.addEventListener("DOMContentLoaded", () => {
  const within = ".pst-scrollable-table-container, .output.text_html, p";
  const boxes = [...document.querySelectorAll(".bd-article :is(table, img)")].map(t => t.closest("figure") ?? t.closest(within)).filter(Boolean);
  const hints = new Map([...new Set(boxes)].map(box => {
    const hint = Object.assign(document.createElement("p"), { className: "scroll-hint", textContent: "It goes on: scroll it sideways →", hidden: true });
    box.after(hint);
    return [box, hint];
  }));
  const look = () => hints.forEach((hint, box) => {
    const wide = box.scrollWidth > box.clientWidth + 1;
    box.classList.toggle("scrolls", wide);
    box.classList.toggle("at-end", box.scrollLeft + box.clientWidth > box.scrollWidth - 4);
    hint.hidden = !wide;
  });
  hints.forEach((_, box) => box.addEventListener("scroll", look, { passive: true }));
  if (hints.size) new ResizeObserver(look).observe(document.querySelector(".bd-article"));
  window.addEventListener("load", look);
});
