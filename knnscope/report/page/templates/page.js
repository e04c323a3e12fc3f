// The page reads without this; with it charts answer, engines can be switched off, rows sorted and filtered, and the theme chosen.
"use strict";

const root = document.documentElement;
const button = document.getElementById("theme");
const THEMES = { "": "as the system", light: "light", dark: "dark" };

function showTheme() {
  button.querySelector("span").textContent = THEMES[root.dataset.theme ?? ""];
}

button.addEventListener("click", () => {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(root.dataset.theme ?? "") + 1) % names.length];
  if (next) root.dataset.theme = next;
  else delete root.dataset.theme;
  try {
    localStorage.setItem("knnscope-theme", next);
  } catch {
    // it holds until the page is left
  }
  showTheme();
});
showTheme();

// Engines

const hidden = new Set();
const views = new Map();

function hide(view) {
  view.signal("hidden", [...hidden]).runAsync();
}

for (const box of document.querySelectorAll(".engines input")) {
  box.addEventListener("change", () => {
    if (box.checked) hidden.delete(box.dataset.engine);
    else hidden.add(box.dataset.engine);
    for (const row of document.querySelectorAll("tr[data-engine]")) row.classList.toggle("off", hidden.has(row.dataset.engine));
    for (const view of views.values()) hide(view);
  });
}

// Charts: drawn again when they come into sight, as wide as there is room

async function draw(figure) {
  const place = figure.querySelector(".drawn");
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const live = document.createElement("div");
  live.className = "live";
  const before = [...place.childNodes];
  place.append(live);
  try {
    const { view } = await vegaEmbed(live, spec, { renderer: "svg", actions: false, ast: true, tooltip: { theme: "custom" } });
    for (const node of before) node.remove();
    views.set(figure.id, view);
    if (hidden.size) hide(view);
    figure.classList.add("answers");
  } catch (error) {
    live.remove();
    console.error(error);
  }
}

if (window.vegaEmbed) {
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      draw(target);
    }
  }, { rootMargin: "300px" });
  for (const figure of document.querySelectorAll("figure.chart")) seen.observe(figure);
}

// Rows: sorted by their heads, filtered by a text

const order = new Intl.Collator("en", { numeric: true });

function valueOf(row, column) {
  const cell = row.cells[column];
  return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
}

function compare(a, b) {
  if (a === "" || b === "") return (a === "") - (b === "");
  return typeof a === "number" && typeof b === "number" ? a - b : order.compare(a, b);
}

function sortBy(table, head, column) {
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
  rows.sort(([a], [b]) => (a === "" || b === "" ? compare(a, b) : down ? compare(b, a) : compare(a, b)));
  body.append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const press = document.createElement("button");
    press.type = "button";
    press.textContent = head.textContent;
    press.addEventListener("click", () => sortBy(table, head, column));
    head.replaceChildren(press);
  });
  const label = document.createElement("label");
  label.className = "filter";
  label.textContent = "Rows with ";
  const box = document.createElement("input");
  box.type = "search";
  box.placeholder = "faiss hot 100";
  const count = document.createElement("output");
  label.append(box);
  const line = document.createElement("p");
  line.append(label, " ", count);
  table.parentElement.before(line);
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const row of table.tBodies[0].rows) {
      const text = [...row.cells].map((cell) => ` ${cell.textContent.toLowerCase()} `).join("|");
      row.hidden = !words.every((word) => text.includes(word));
      left += row.hidden ? 0 : 1;
    }
    count.textContent = words.length ? `${left.toLocaleString("en")} rows` : "";
  });
}
