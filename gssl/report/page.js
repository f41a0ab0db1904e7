// Sorting, values under the pointer, CSV, copying: the page says everything without this script, too.

// ── tables that sort by their heads ──
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && head.classList.contains("text"));
    heads.forEach(h => h.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...body.rows].map(row => ({row, text: textOf(row.cells[column]), n: number(textOf(row.cells[column]))}));
    const numeric = rows.some(r => !isNaN(r.n));
    rows.sort((a, b) => {
      if (!numeric) return (up ? 1 : -1) * a.text.localeCompare(b.text);
      if (isNaN(a.n) || isNaN(b.n)) return isNaN(a.n) - isNaN(b.n); // what is missing stays below
      return (up ? 1 : -1) * (a.n - b.n);
    });
    rows.forEach(r => { r.row.classList.remove("first"); body.append(r.row); });
  }));
}
function textOf(cell) { return cell ? (cell.dataset.v ?? cell.textContent.trim().replace(/\s+/g, " ")) : ""; }
function number(text) { return text === "" || text === "–" ? NaN : Number(text.replace(/,/g, "").replace("−", "-")); }

// ── CSV of tables and figures ──
function tableRows(table) {
  const heads = [...table.tHead.rows[0].cells], rows = [...table.tBodies[0].rows];
  const spread = heads.map((_, i) => rows.some(row => row.cells[i]?.dataset.low !== undefined));
  const name = (head, i) => {
    const text = textOf(head) + (head.dataset.unit ? ` (${head.dataset.unit})` : "");
    return spread[i] ? [text, `${text} low`, `${text} high`] : [text];
  };
  const value = (cell, i) => {
    const text = textOf(cell), n = cell?.classList.contains("num") ? number(text) : NaN;
    const shown = text === "–" ? "" : isNaN(n) ? text : String(n);
    return spread[i] ? [shown, cell?.dataset.low ?? "", cell?.dataset.high ?? ""] : [shown];
  };
  return [heads.flatMap(name), ...rows.map(row => heads.flatMap((_, i) => value(row.cells[i], i)))];
}
function save(name, rows) {
  const field = v => { const text = v === null ? "" : String(v); return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text; };
  const text = rows.map(row => row.map(field).join(",")).join("\r\n") + "\r\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/csv;charset=utf-8"}));
  link.download = `gssl-${name}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
for (const button of document.querySelectorAll(".csv")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const data = button.parentElement.querySelector("script.data"), table = button.parentElement.querySelector("table");
    if (!data) return save(button.dataset.name, tableRows(table));
    const found = JSON.parse(data.textContent);
    save(button.dataset.name, [found.columns, ...found.rows]);
  });
}

// ── values of figures: under the pointer, under a finger, or with the arrow keys ──
const tip = document.body.appendChild(document.createElement("div"));
tip.className = "tip";
tip.setAttribute("role", "status");
let on = null;
function hide() { on?.classList.remove("on"); on = null; tip.textContent = ""; }
function show(mark) {
  hide();
  on = mark.node;
  on.classList.add("on");
  tip.textContent = mark.text;
  const at = on.getBoundingClientRect(), box = tip.getBoundingClientRect();
  const left = Math.min(Math.max(at.x + at.width / 2 - box.width / 2, 8), innerWidth - box.width - 8);
  tip.style.left = `${left}px`;
  tip.style.top = `${at.y > box.height + 12 ? at.y - box.height - 6 : at.bottom + 6}px`;
}
for (const place of document.querySelectorAll(".figure")) {
  const svg = place.querySelector("svg");
  const marks = [...svg.querySelectorAll(".hit")].map(node => {
    const title = node.querySelector("title"), text = title.textContent;
    title.remove(); // else the browser shows it beside ours
    return {node, text, x: Number(node.getAttribute("cx")), y: Number(node.getAttribute("cy"))};
  });
  if (!marks.length) continue;
  let at = -1;
  place.tabIndex = 0;
  place.setAttribute("role", "group");
  place.setAttribute("aria-label", "Values of this figure: left and right arrow keys");
  const point = event => {
    const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const far = marks.map(m => Math.hypot(m.x - p.x, m.y - p.y)), nearest = Math.min(...far);
    if (nearest > 16) return hide();
    at = far.indexOf(nearest);
    show(marks[at]);
  };
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") hide(); });
  place.addEventListener("blur", hide);
  place.addEventListener("keydown", event => {
    const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    if (event.key === "Escape") hide();
    if (!step) return;
    event.preventDefault();
    at = at < 0 && step < 0 ? marks.length - 1 : (at + step + marks.length) % marks.length;
    show(marks[at]);
  });
}
addEventListener("scroll", () => { if (on) hide(); }, {passive: true, capture: true});

// ── words: what the glossary says of them, under the pointer, a finger or the focus ──
for (const word of document.querySelectorAll(".term")) {
  const entry = document.getElementById(word.dataset.term ?? word.hash.slice(1));
  if (!entry) continue;
  const place = word.closest("button") ?? word, mark = {node: word, text: entry.nextElementSibling.textContent};
  place.setAttribute("aria-description", mark.text);
  const open = () => show(mark), shut = () => { if (on === word) hide(); };
  word.addEventListener("pointerenter", open);
  word.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") shut(); });
  place.addEventListener("focus", open);
  place.addEventListener("blur", shut);
  place.addEventListener("keydown", event => { if (event.key === "Escape") shut(); });
  let finger = false; // the keyboard and the mouse follow the link, a finger reads the words
  word.addEventListener("pointerdown", event => { finger = event.pointerType === "touch"; });
  if (place === word) word.addEventListener("click", event => { if (finger) { event.preventDefault(); open(); } });
}

// ── commands ──
for (const button of document.querySelectorAll(".copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try { await navigator.clipboard.writeText(code.textContent); }
    catch { const s = getSelection(); s.selectAllChildren(code); document.execCommand("copy"); s.removeAllRanges(); }
    button.textContent = "Copied"; setTimeout(() => button.textContent = "Copy", 1500);
  });
}

// ── print: everything that is folded opens ──
addEventListener("beforeprint", () => document.querySelectorAll("details:not([open])").forEach(d => { d.open = true; d.dataset.shut = ""; }));
addEventListener("afterprint", () => document.querySelectorAll("details[data-shut]").forEach(d => { d.open = false; delete d.dataset.shut; }));
