// From a plain folder a browser may not read one page from another, so search results come without excerpts there.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// cells that hold a sentence wrap, cells that hold a number do not
document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("table.dataframe tbody :is(td, th)").forEach(c => c.classList.toggle("sentence", c.textContent.length > 24)));
