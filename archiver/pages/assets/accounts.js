// Search and sort a list while the reader types. The page works without it: the list has an order of its own,
// and the controls are hidden until this script shows them.
//
// The controls are an element with data-list="ID", the id of the list. The list is a <ul>; each <li> has:
//   data-name     the names of an entry, searched and sorted by: "Full name @username @former"
//   data-size     a number, sorted with the greatest first
//   data-changed  a time as YYYY-MM-DDTHH:MM:SSZ, or "" if unknown, sorted with the latest first
//
// The controls contain (each may be missing):
//   data-part="search"  <input type="search">; an entry is shown if its names contain every word
//   data-part="sort"    <select> with the values name, size and changed; the list comes in the first order
//   data-part="found"   an element with role="status", which says how many entries are shown
//
// Entries that are equal keep the order of the page. Macros: parts.html, finder.
"use strict";

for (const controls of document.querySelectorAll("[data-list]")) {
  const list = document.getElementById(controls.dataset.list);
  const part = (name) => controls.querySelector(`[data-part="${name}"]`);
  const [search, sort, found] = ["search", "sort", "found"].map(part);
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const entries = [...list.children].map((element) => ({ element, names: plain(element.dataset.name) }));
  const collator = new Intl.Collator("en", { numeric: true });
  const first = (text) => text.replace(/^[^\p{L}\p{N}]+/u, "");
  const orders = {
    name: (a, b) => collator.compare(first(a.dataset.name), first(b.dataset.name)),
    size: (a, b) => Number(b.dataset.size) - Number(a.dataset.size),
    changed: (a, b) => collator.compare(b.dataset.changed, a.dataset.changed),
  };
  let order = sort?.options[0].value;

  function select() {
    const words = plain(search?.value ?? "").split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { element, names } of entries) {
      element.hidden = !words.every((word) => names.includes(word));
      shown += Number(!element.hidden);
    }
    if (found) found.textContent = words.length ? `${shown} of ${entries.length} found` : "";
  }

  function arrange() {
    if (!sort || sort.value === order) return;
    order = sort.value;
    list.append(...entries.map(({ element }) => element).sort(orders[order]));
  }

  search?.addEventListener("input", select);
  sort?.addEventListener("change", arrange);
  // A browser that comes back to the page restores what was typed and chosen.
  addEventListener("pageshow", () => {
    arrange();
    select();
  });
  controls.hidden = false;
}
