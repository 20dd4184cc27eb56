"use strict";
/* Draws the points of a map on a canvas. Texts of documents reach the page as textContent alone. */
(async () => {
  const $ = (id) => document.getElementById(id);
  const meta = JSON.parse($("meta").textContent), ids = $("ids").textContent.split(".").slice(1);
  const letters = atob($("packed").textContent), packed = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) packed[i] = letters.charCodeAt(i);
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(unpacked).arrayBuffer());
  const n = ids.length, EXAMPLE = 255, xs = new Uint16Array(bytes.buffer, 0, n), ys = new Uint16Array(bytes.buffer, 2 * n, n);
  const codes = meta.modes.map((_, m) => bytes.subarray((4 + m) * n, (5 + m) * n));
  const texts = new TextDecoder().decode(bytes.subarray((4 + meta.modes.length) * n)).split("\n");
  const gaps = new Set(meta.gaps), REASON = 1, SOURCE = 3, TOPIC = 4;
  // Okabe and Ito's colours, which people tell apart whatever colours they see; each with a shape of its own.
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7a6a00", "#5b4b9a", "#333333", "#a0522d", "#00808a"];
  const FIFTHS = ["#00224e", "#35456c", "#666970", "#a69d75", "#e1cc55"], GREY = "#97a1ab", INK = "#1c2733", SLOTS = 11;
  const hidden = new Set();
  let mode = 0, zoom = 1, left = 0, top = 0, focus = -1, pinned = -1, box = null, start = null, words = [];

  const canvas = $("map"), pen = canvas.getContext("2d");
  const slot = (code) => Math.min(code, SLOTS);
  function style(code) {
    const title = meta.modes[mode].title, label = meta.modes[mode].labels[code];
    if (code === EXAMPLE) return { colour: INK, shape: 3, fill: "#fff" };
    if (label === "dropped" || label === "not ranked" || slot(code) === SLOTS) return { colour: GREY, shape: 0, small: true };
    if (title === "rank") return { colour: FIFTHS[code], shape: [1, 2, 4, 5, 6][code] };
    return { colour: COLOURS[slot(code)], shape: title === "verdict" ? 1 : 1 + (code % 6) };
  }
  function shape(p, kind, x, y, r) {
    if (kind === 0) p.arc(x, y, r, 0, 7);
    else if (kind === 1) p.rect(x - r, y - r, 2 * r, 2 * r);
    else if (kind === 2 || kind === 6) { const d = kind === 2 ? r : -r; p.moveTo(x, y - 1.3 * d); p.lineTo(x + 1.2 * r, y + d); p.lineTo(x - 1.2 * r, y + d); }
    else if (kind === 3) { p.moveTo(x, y - 1.5 * r); p.lineTo(x + 1.5 * r, y); p.lineTo(x, y + 1.5 * r); p.lineTo(x - 1.5 * r, y); }
    else if (kind === 4) { p.rect(x - 1.4 * r, y - r / 2, 2.8 * r, r); p.rect(x - r / 2, y - 1.4 * r, r, 2.8 * r); }
    else p.rect(x - 1.4 * r, y - r / 2, 2.8 * r, r);
    p.closePath();
  }
  function mark(p, s, x, y, r) {
    p.beginPath(); shape(p, s.shape, x, y, s.small ? 0.8 * r : r);
    p.fillStyle = s.fill || s.colour; p.fill();
    if (s.fill) { p.strokeStyle = s.colour; p.lineWidth = 1.5; p.stroke(); }
  }

  function stamp(s, r, members, alpha) { // one picture of the mark, put down many times: paths of 20,000 marks are slow
    const half = Math.ceil(1.7 * r + 2), ratio = window.devicePixelRatio || 1, picture = document.createElement("canvas");
    picture.width = picture.height = Math.ceil(2 * half * ratio);
    const p = picture.getContext("2d");
    p.scale(ratio, ratio); mark(p, s, half, half, r);
    pen.globalAlpha = alpha;
    for (const i of members) pen.drawImage(picture, px(i) - half, py(i) - half, 2 * half, 2 * half);
    pen.globalAlpha = 1;
  }

  let width = canvas.clientWidth, height = canvas.clientHeight;
  const size = () => [width, height], scale = () => (Math.min(width, height) - 36) * zoom;
  const px = (i) => (xs[i] / 65535 - 0.5 - left) * scale() + width / 2;
  const py = (i) => (0.5 - ys[i] / 65535 - top) * scale() + height / 2;
  const group = (i) => codes[mode][i] === EXAMPLE ? (gaps.has(i) ? "gap" : "example") : slot(codes[mode][i]);
  const matches = (i) => words.every((word) => texts[i].toLowerCase().includes(word));
  const seen = (i) => !hidden.has(group(i)) && matches(i);
  let shown = [];

  function draw() {
    const [w, h] = size(), ratio = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) { canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio); }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, w, h);
    shown = []; for (let i = 0; i < n; i++) if (seen(i)) shown.push(i);
    const r = Math.min(7, (n > 5000 ? 1.7 : n > 500 ? 2.4 : 4) * Math.sqrt(zoom));
    const groups = new Map();
    for (const i of shown) { const g = group(i); if (!groups.has(g)) groups.set(g, []); groups.get(g).push(i); }
    const examples = () => stamp(style(EXAMPLE), r, groups.get("example") || [], 1);
    for (const g of [...groups.keys()].filter((one) => one >= 0).sort((a, b) => b - a)) {
      if (g === 0) examples();
      const members = groups.get(g), s = style(codes[mode][members[0]]);
      stamp(s, r, members, s.small ? 0.55 : 0.85);
    }
    if (!groups.has(0)) examples();
    for (const i of groups.get("gap") || []) mark(pen, { colour: INK, fill: "#d55e00", shape: 2 }, px(i), py(i), meta.gaps.length > 60 ? 1.5 * r : Math.max(5, 2 * r));
    regions(w, h);
    for (const i of [pinned, focus]) if (i >= 0) { pen.strokeStyle = "#000"; pen.lineWidth = 2; pen.beginPath(); pen.arc(px(i), py(i), r + 5, 0, 7); pen.stroke(); }
    if (box) { pen.strokeStyle = INK; pen.lineWidth = 1.5; pen.setLineDash([6, 4]); pen.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]); pen.setLineDash([]); }
  }
  function regions(w, h) {
    if (!$("names").checked) return;
    const placed = [];
    pen.font = "600 12.5px system-ui, sans-serif"; pen.textAlign = "center";
    for (const [name, x, y] of meta.regions) {
      const half = pen.measureText(name).width / 2 + 4;
      const cx = Math.min(w - half, Math.max(half, (x / 65535 - 0.5 - left) * scale() + w / 2)), cy = (0.5 - y / 65535 - top) * scale() + h / 2;
      const free = (at) => at > 14 && at < h - 4 && !placed.some(([ox, oy, o]) => Math.abs(at - oy) < 17 && Math.abs(cx - ox) < half + o);
      const at = [0, -18, 18, -36, 36, -54, 54].map((d) => cy + d).find(free);
      if (at === undefined || cy < 0 || cy > h) continue;
      placed.push([cx, at, half]);
      pen.fillStyle = "#ffffffd0"; pen.fillRect(cx - half, at - 12, 2 * half, 16); pen.fillStyle = INK; pen.fillText(name, cx, at);
    }
  }

  function nearest(x, y, most) {
    let best = -1, least = most * most;
    for (const i of shown) { const d = (px(i) - x) ** 2 + (py(i) - y) ** 2; if (d < least) { least = d; best = i; } }
    return best;
  }
  const label = (m, i) => meta.modes[m].labels[codes[m][i]];
  function row(name, value) {
    const dt = document.createElement("dt"), dd = document.createElement("dd"), bdi = document.createElement("bdi");
    dt.textContent = name; bdi.textContent = value; dd.append(bdi);
    return [dt, dd];
  }
  function tell(i) {
    const about = $("about");
    about.replaceChildren();
    if (i < 0) { about.append(...row("Point", "none: move over the map, or use the arrow keys on it")); return; }
    about.append(...row("Beginning of the text", texts[i] || "(none)"));
    if (codes[0][i] === EXAMPLE) about.append(...row("What it is", gaps.has(i) ? "example of the target with hardly any documents near it" : "example of the target"));
    else for (const m of [0, REASON, 2, SOURCE, TOPIC, 5]) about.append(...row(meta.modes[m].title, label(m, i)));
    about.append(...row("Full explanation", "tamis explain " + ids[i]));
  }
  function count() {
    const inside = box ? shown.filter((i) => px(i) >= box[0] && px(i) <= box[2] && py(i) >= box[1] && py(i) <= box[3]) : [];
    const body = $("counts");
    body.replaceChildren();
    $("inside").textContent = box ? `${inside.length.toLocaleString("en")} points in the box; "pool (estimate)" is how many documents of the pool they stand for.` : "No box yet: drag one over the map, or press B on it.";
    if (!box) return;
    const add = (kind, name, points, pool) => {
      const tr = document.createElement("tr");
      for (const value of [kind, name, points.toLocaleString("en"), pool]) { const td = document.createElement("td"); td.textContent = value; tr.append(td); }
      tr.children[2].className = tr.children[3].className = "n"; body.append(tr);
    };
    for (const m of [REASON, SOURCE]) {
      const sums = new Map();
      for (const i of inside) if (codes[m][i] !== EXAMPLE) { const at = sums.get(label(m, i)) || [0, 0]; at[0]++; at[1] += meta.weights[codes[REASON][i]]; sums.set(label(m, i), at); }
      for (const [name, [points, pool]] of [...sums].sort((a, b) => b[1][1] - a[1][1]).slice(0, 12)) add(meta.modes[m].title, name, points, Math.round(pool).toLocaleString("en"));
    }
    const examples = inside.filter((i) => codes[0][i] === EXAMPLE);
    if (examples.length) add("target", "examples", examples.length, "–");
    const lacking = examples.filter((i) => gaps.has(i)).length;
    if (lacking) add("target", "examples with hardly any documents near them", lacking, "–");
  }

  function legend() {
    const list = $("legend"), { labels, counts } = meta.modes[mode];
    list.replaceChildren();
    const item = (key, name, s, number) => {
      const li = document.createElement("li"), button = document.createElement("button"), glyph = document.createElement("canvas"), text = document.createElement("bdi");
      glyph.width = glyph.height = 32; glyph.className = "glyph"; glyph.setAttribute("aria-hidden", "true");
      const p = glyph.getContext("2d"); p.scale(2, 2); mark(p, s, 8, 8, 5);
      button.type = "button"; button.setAttribute("aria-pressed", String(!hidden.has(key)));
      text.textContent = `${name} (${number.toLocaleString("en")})`;
      button.append(glyph, text);
      button.onclick = () => { hidden.has(key) ? hidden.delete(key) : hidden.add(key); button.setAttribute("aria-pressed", String(!hidden.has(key))); refresh(); };
      li.append(button); list.append(li);
    };
    labels.slice(0, SLOTS).forEach((name, code) => item(code, name, style(code), counts[code]));
    if (labels.length > SLOTS) item(SLOTS, `${labels.length - SLOTS} others`, style(SLOTS), counts.slice(SLOTS).reduce((a, b) => a + b, 0));
    if (meta.examples > meta.gaps.length) item("example", "example of the target", style(EXAMPLE), meta.examples - meta.gaps.length);
    if (meta.gaps.length) item("gap", "example with hardly any documents near it", { colour: INK, fill: "#d55e00", shape: 2 }, meta.gaps.length);
  }
  function refresh() { draw(); count(); $("found").textContent = `${shown.length.toLocaleString("en")} of ${n.toLocaleString("en")} points shown`; }
  function look(factor, x, y) {
    const [w, h] = size(), before = scale();
    zoom = Math.min(60, Math.max(1, zoom * factor));
    const change = 1 / before - 1 / scale();
    left += (x - w / 2) * change; top += (y - h / 2) * change;
    if (zoom === 1) left = top = 0;
    box = null; refresh();
  }

  canvas.onmousedown = (e) => { start = [e.offsetX, e.offsetY]; };
  canvas.onmousemove = (e) => {
    if (start && e.buttons) box = [Math.min(start[0], e.offsetX), Math.min(start[1], e.offsetY), Math.max(start[0], e.offsetX), Math.max(start[1], e.offsetY)];
    focus = nearest(e.offsetX, e.offsetY, 12);
    tell(focus < 0 ? pinned : focus); draw();
  };
  canvas.onmouseup = (e) => {
    if (box && start && box[2] - box[0] + box[3] - box[1] < 8) { box = null; pinned = nearest(e.offsetX, e.offsetY, 12); tell(pinned); }
    else if (!box || (start && e.offsetX === start[0] && e.offsetY === start[1])) { pinned = nearest(e.offsetX, e.offsetY, 12); tell(pinned); }
    start = null; refresh();
  };
  canvas.onmouseleave = () => { focus = -1; tell(pinned); draw(); };
  canvas.addEventListener("wheel", (e) => { if (e.ctrlKey || document.activeElement === canvas) { e.preventDefault(); look(e.deltaY < 0 ? 1.25 : 0.8, e.offsetX, e.offsetY); } }, { passive: false });
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.onkeydown = (e) => {
    const [w, h] = size(), x = focus < 0 ? w / 2 : px(focus), y = focus < 0 ? h / 2 : py(focus);
    if (e.key in ARROWS) {
      const [dx, dy] = ARROWS[e.key];
      let best = -1, least = Infinity;
      for (const i of shown) {
        const along = (px(i) - x) * dx + (py(i) - y) * dy, aside = Math.abs((px(i) - x) * dy) + Math.abs((py(i) - y) * dx);
        if (i !== focus && along > 0.5 && aside < 2 * along + 2 && along + 2 * aside < least) { least = along + 2 * aside; best = i; }
      }
      if (focus < 0) best = nearest(x, y, 1e6);
      if (best >= 0) { focus = best; tell(focus); }
      if (start && focus >= 0) box = [Math.min(start[0], px(focus)) - 3, Math.min(start[1], py(focus)) - 3, Math.max(start[0], px(focus)) + 3, Math.max(start[1], py(focus)) + 3];
    } else if (e.key === "b" || e.key === "B") { start = start ? null : [x, y]; if (start) box = [x - 3, y - 3, x + 3, y + 3]; }
    else if (e.key === "Escape") { box = start = null; focus = pinned = -1; tell(-1); }
    else if (e.key === "Enter") pinned = focus;
    else if (e.key === "+" || e.key === "=") look(1.5, x, y);
    else if (e.key === "-") look(1 / 1.5, x, y);
    else if (e.key === "0") look(0, x, y);
    else return;
    e.preventDefault(); refresh();
  };
  $("in").onclick = () => look(1.5, size()[0] / 2, size()[1] / 2);
  $("out").onclick = () => look(1 / 1.5, size()[0] / 2, size()[1] / 2);
  $("names").onchange = draw;
  $("colour").onchange = () => { mode = $("colour").selectedIndex; for (const key of [...hidden]) if (typeof key === "number") hidden.delete(key); legend(); refresh(); };
  $("words").oninput = () => { words = $("words").value.toLowerCase().split(/\s+/).filter(Boolean); refresh(); };
  for (const one of meta.modes) { const option = document.createElement("option"); option.textContent = one.title; $("colour").append(option); }
  new ResizeObserver(() => { [width, height] = [canvas.clientWidth, canvas.clientHeight]; refresh(); }).observe(canvas);
  legend(); tell(-1); refresh();
  document.body.dataset.ready = String(Math.round(performance.now()));
})();
