// The console's page. What comes from a recording goes into the document as text (`textContent`), nothing as markup: the
// policy that the page is served with would refuse it.

const $ = (id) => document.getElementById(id);
const PAGE = 100; // lines that are asked for at once
const OVERSCAN = 8; // lines kept ready above and below the window
const STAGES = { stt: "speech to text", ser: "emotions" };

/** An element with text and attributes. */
function make(tag, { text, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = printable(text);
  made.append(...children);
  return made;
}

/** Text without what draws no letter and changes how others are read: control and direction marks become visible. */
function printable(text) {
  return String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\u061c]/g, "\ufffd");
}

let saying = 0;

function say(text, bad = false) {
  const said = $("said");
  clearTimeout(saying);
  if (!bad) saying = setTimeout(() => say(""), 8000);
  said.textContent = printable(text);
  said.className = bad ? "said bad" : "said";
  said.hidden = !text;
  if (!text) clearTimeout(saying);
}

async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error ?? `the server answered ${answer.status}`);
  return body;
}

const post = (path, body = {}) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

// ------------------------------------------------------------------------------------------------------- in words

const two = (number) => String(number).padStart(2, "0");

function clock(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const whole = Math.floor(seconds), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const when = (text) => (text ? day.format(new Date(text)) : "");
const precise = (text) => new Date(text).toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
const number = new Intl.NumberFormat();

function size(bytes) {
  if (bytes < 1e6) return `${number.format(Math.ceil(bytes / 1e3))} kB`;
  return `${number.format(Math.round(bytes / 1e5) / 10)} MB`;
}

/** As the command line says it: `12 s left`, `1:20 min left`; nothing while there is nothing to reckon with. */
function left(expected) {
  const times = expected.map((at) => (at === null ? null : Math.max(0, (Date.parse(at) - Date.now()) / 1000)));
  if (!times.length || times.includes(null)) return "";
  const seconds = Math.round(Math.max(...times));
  return seconds < 60 ? `${seconds} s left` : `${Math.floor(seconds / 60)}:${two(seconds % 60)} min left`;
}

const running = (row) => row.status === "queued" || row.status === "processing";

function progress(row) {
  const open = Object.values(row.halves).filter((half) => half.status === "queued" || half.status === "processing");
  const time = left(open.map((half) => half.expected_at));
  return `${Math.round(100 * row.share)}%${time ? `, ${time}` : ""}`;
}

function bar(share, label) {
  const made = make("progress", { max: 1, "aria-label": label });
  made.value = share;
  return made;
}

const state = (status) => make("span", { class: "state", "data-status": status, text: status });

// --------------------------------------------------------------------------------------------------------- the list

const list = {
  total: 0,
  filled: true,
  known: new Map(), // place in the list -> line
  drawn: new Map(), // id -> table row
  asked: new Set(), // stretches that are on their way
  version: 0, // of the question: answers to an earlier one do not count
  question: new URLSearchParams(),
};

function question() {
  const form = new FormData($("filters"));
  const asked = new URLSearchParams();
  for (const name of ["q", "status", "emotion", "language"]) if (form.get(name)) asked.set(name, form.get(name));
  // A day is the viewer's.
  if (form.get("since")) asked.set("since", new Date(`${form.get("since")}T00:00`).toISOString());
  if (form.get("until")) {
    const end = new Date(`${form.get("until")}T00:00`);
    end.setDate(end.getDate() + 1);
    asked.set("until", end.toISOString());
  }
  return asked;
}

async function fetchStretch(offset) {
  const version = list.version, key = `${version} ${offset}`;
  if (list.asked.has(key)) return;
  list.asked.add(key);
  try {
    const answer = await ask(`/api/recordings?${list.question}&offset=${offset}&limit=${PAGE}`);
    if (version !== list.version) return;
    const grown = answer.total - list.total;
    list.total = answer.total;
    list.filled = answer.filled;
    answer.rows.forEach((row, place) => list.known.set(offset + place, row));
    if (grown > 0 && scrolled() > 0 && list.stay) scrollBy(0, grown * rowHeight()); // new ones came in above
    list.stay = false;
    draw();
  } catch (error) {
    say(error.message, true);
  } finally {
    list.asked.delete(key);
  }
}

const rowHeight = () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));
const scrolled = () => Math.max(0, -$("table").getBoundingClientRect().top);

function spacer(body, height) {
  if (!body.firstChild) body.append(make("tr", {}, make("td", { colspan: 7 })));
  body.hidden = !height;
  body.firstChild.firstChild.style.height = `${height}px`;
}

let frame = 0;
const redraw = () => { frame ||= requestAnimationFrame(() => { frame = 0; draw(); }); };

/** Draw what is near the window, whatever the length of the list; rows that stay are changed in place. */
function draw() {
  if ($("list-view").hidden) return;
  const height = rowHeight();
  const first = Math.max(0, Math.min(Math.floor(scrolled() / height) - OVERSCAN, list.total - 1));
  const last = Math.min(list.total, first + Math.ceil(innerHeight / height) + 2 * OVERSCAN);
  const wanted = [];
  for (let place = first; place < last; place++) {
    const row = list.known.get(place);
    if (row) wanted.push([place, row]);
    else fetchStretch(place - (place % PAGE));
  }
  const missing = wanted.length ? wanted[0][0] - first : last - first; // not there yet: as much room as they will take
  spacer($("above"), (first + missing) * height);
  const body = $("rows");
  const keep = new Set(wanted.map(([, row]) => row.id));
  for (const [id, element] of list.drawn) {
    if (!keep.has(id)) {
      element.remove();
      list.drawn.delete(id);
    }
  }
  let before = null;
  for (const [place, row] of wanted) {
    let element = list.drawn.get(row.id);
    if (!element) list.drawn.set(row.id, (element = line()));
    fill(element, row, place);
    const next = before ? before.nextSibling : body.firstChild;
    if (next !== element) body.insertBefore(element, next);
    before = element;
  }
  spacer($("below"), Math.max(0, list.total - first - missing - wanted.length) * height);
  $("table").setAttribute("aria-rowcount", list.total + 1);
  $("table").hidden = !list.total;
  const filtered = list.question.size > 0;
  $("empty").hidden = list.total > 0;
  $("empty").textContent = !list.filled ? "Reading what there is…"
    : filtered ? "Nothing fits these filters." : "No recordings yet. Drop some on this page.";
  const unread = list.question.has("q") && figures.unread
    ? `; the whole text of ${number.format(figures.unread)} more is still to be read, until then their first words count` : "";
  $("count").textContent = list.total ? `${number.format(list.total)} recording${list.total === 1 ? "" : "s"}${unread}` : "";
}

function line() {
  const element = make("tr", { role: "row" });
  for (let cell = 0; cell < 7; cell++) element.append(make("td", { role: "cell" }));
  element.firstChild.className = "name";
  element.firstChild.append(make("a", { dir: "auto" }), make("span", { dir: "auto" }));
  return element;
}

function fill(element, row, place) {
  element.setAttribute("aria-rowindex", place + 2);
  if (element.shown === row && !running(row)) return;
  element.shown = row;
  const [name, status, share, emotion, language, length, queued] = element.children;
  const link = name.firstChild;
  link.href = `#/${row.id}`;
  link.textContent = printable(row.name) || "(erased)";
  name.lastChild.textContent = printable(row.problem || row.preview || row.ref);
  status.replaceChildren(state(row.status));
  if (!running(row)) share.replaceChildren();
  else {
    if (!share.firstChild) share.append(make("div", { class: "bar" }, make("span"), bar(0, "Progress")));
    share.firstChild.firstChild.textContent = progress(row);
    share.firstChild.lastChild.value = row.share;
  }
  emotion.textContent = printable(row.emotion ?? "");
  language.textContent = row.language ?? "";
  length.textContent = clock(row.seconds);
  queued.textContent = when(row.queued_at);
}

let refreshing = 0;

/** Ask again for what is shown: soon, and once for many changes. */
function refresh(wait = 300) {
  refreshing ||= setTimeout(() => {
    refreshing = 0;
    list.version++;
    list.stay = true;
    const height = rowHeight();
    const first = Math.floor(scrolled() / height), last = first + Math.ceil(innerHeight / height);
    for (let offset = first - (first % PAGE); offset <= last; offset += PAGE) fetchStretch(offset);
    for (const place of [...list.known.keys()]) if (place < first - PAGE || place > last + PAGE) list.known.delete(place);
  }, wait);
}

function startQuestion() {
  list.question = question();
  list.version++;
  list.known.clear();
  list.total = 0;
  fetchStretch(0);
}

/** Lines that changed. Those that are shown change in place; what may have come or gone is asked for. */
function take(rows) {
  const places = new Map([...list.known].map(([place, row]) => [row.id, place]));
  let moved = false;
  for (const row of rows) {
    const place = places.get(row.id);
    if (place === undefined) moved = true;
    else {
      const known = list.known.get(place);
      if (list.question.size && (known.status !== row.status || known.emotion !== row.emotion || known.language !== row.language)) moved = true;
      list.known.set(place, row);
    }
    if (row.id === open) openAgain();
  }
  redraw();
  if (moved) refresh();
}

// ------------------------------------------------------------------------------------------------------ how it does

let figures = { states: {}, stages: {} };

function showFigures(data) {
  figures = data;
  const parts = [];
  for (const [stage, name] of Object.entries(STAGES)) {
    const { waiting, running: busy, oldest_at } = data.stages[stage] ?? {};
    const oldest = oldest_at ? `, longest ${clock((Date.now() - Date.parse(oldest_at)) / 1000)}` : "";
    parts.push([name, `${number.format(busy)} running, ${number.format(waiting)} waiting${oldest}`]);
  }
  const { recordings, audio_seconds, compute_seconds, minutes } = data.recently ?? {};
  const speed = compute_seconds ? `, ${number.format(Math.round((10 * audio_seconds) / compute_seconds) / 10)}× real time` : "";
  parts.push([`last ${minutes} min`, `${number.format(recordings)} done${speed}`]);
  if (data.workers) {
    const down = Object.entries(data.workers).filter(([, up]) => !up).map(([name]) => name);
    parts.push(["services", down.length ? `down: ${down.join(", ")}` : `${Object.keys(data.workers).length} running`, down.length]);
  } else parts.push(["services", "not known here"]);
  if (data.failing) parts.push(["store", "does not answer; this is what was last known", true]);
  $("figures").replaceChildren(...parts.map(([term, text, bad]) =>
    make("div", {}, make("dt", { text: term }), make("dd", { text, class: bad ? "bad" : "" }))));
  choices("status", Object.entries(data.states).filter(([, count]) => count));
  choices("emotion", Object.entries(data.emotions));
  choices("language", Object.entries(data.languages));
}

function choices(name, counts) {
  const select = $("filters").elements[name], chosen = select.value;
  const options = counts.map(([value, count]) => make("option", { value, text: `${value} (${number.format(count)})` }));
  if (chosen && !counts.some(([value]) => value === chosen)) options.push(make("option", { value: chosen, text: chosen }));
  if (document.activeElement === select) return; // not under somebody's hand
  select.replaceChildren(select.options[0], ...options);
  select.value = chosen;
}

// ---------------------------------------------------------------------------------------------------- one recording

let open = null, opened = null, again = 0;

const openAgain = () => { again ||= setTimeout(() => { again = 0; if (open) showOne(open); }, 200); };

async function showOne(id) {
  let one;
  try {
    one = await ask(`/api/recordings/${encodeURIComponent(id)}`);
  } catch (error) {
    if (id === open) {
      say(error.message, true);
      location.hash = "#/";
    }
    return;
  }
  if (id !== open) return;
  const fresh = opened?.id !== id;
  opened = one;
  document.title = `${printable(one.name) || "erased"} – speechpipe`;
  $("one-name").textContent = printable(one.name) || "(erased)";
  $("one-facts").replaceChildren(state(one.status), [clock(one.seconds), one.language, one.emotion && `mostly ${one.emotion}`,
    one.revision > 1 && `revision ${one.revision}`, when(one.queued_at)].filter(Boolean).map((text) => ` · ${printable(text)}`).join(""));
  $("one-problem").replaceChildren(
    ...(one.problem ? [make("p", { class: one.status === "held" ? "problem care" : "problem", text: one.problem })] : []),
    ...one.warnings.map((text) => make("p", { class: "problem care", text })));
  showHalves(one);
  showActions(one);
  $("one-files").replaceChildren(...one.files.map((name) =>
    make("a", { class: "button", href: `/recordings/${one.id}/files/${name}`, download: "", text: name })));
  const frame = $("report"), source = `/recordings/${one.id}/report`, version = `${one.id} ${one.revision}`;
  $("one-report").hidden = !one.record;
  if (!one.record) {
    frame.removeAttribute("src");
    frame.dataset.version = "";
  } else if (frame.dataset.version !== version) {
    frame.dataset.version = version;
    frame.src = `${source}?revision=${one.revision}`;
  }
  $("story").replaceChildren(...one.story.map((moment) => make("li", {},
    make("time", { datetime: moment.at, text: precise(moment.at) }), make("span", { class: "dim", text: moment.stage }),
    make("b", { text: moment.what }), make("span", { text: moment.detail, dir: "auto" }))));
  const source_ = [["id", one.id], ["object", one.uri], ["size", size(one.size)], ["type", one.type ?? "not said"],
    ...(one.supersedes ? [["supersedes", one.supersedes]] : []), ...Object.entries(one.metadata)];
  $("one-source").replaceChildren(...source_.flatMap(([name, value]) =>
    [make("dt", { text: name }), make("dd", { text: value, dir: "auto" })]));
  if (fresh) {
    scrollTo(0, 0);
    $("one-name").focus({ preventScroll: true });
  }
}

function showHalves(one) {
  $("one-halves").replaceChildren(...Object.entries(one.halves).map(([stage, half]) => {
    const busy = half.status === "queued" || half.status === "processing";
    const made = make("div", { class: "half" }, make("h3", { text: STAGES[stage] }));
    const line = make("p", {}, state(half.status));
    if (half.attempts > 1) line.append(` · attempt ${half.attempts}`);
    made.append(line);
    if (half.status === "processing") {
      const time = left([half.expected_at]);
      made.append(make("p", { class: "dim", text: `${Math.round(100 * half.share)}%${time ? `, ${time}` : ""}` }));
      made.append(bar(half.share, `Progress of ${STAGES[stage]}`));
    }
    if (half.problem && !busy) made.append(make("p", { text: half.problem }));
    return made;
  }));
}

function showActions(one) {
  const stages = Object.keys(one.halves);
  const buttons = [];
  if (one.status === "held") buttons.push(["Let it run", () => decide(one, "release", {}, "released")]);
  if (one.may_redrive) {
    for (const stage of stages) {
      buttons.push([`Run ${STAGES[stage]} again`, () => decide(one, "redrive", { stages: [stage] }, `running again: ${STAGES[stage]}`), "quiet"]);
    }
    if (stages.length > 1) buttons.push(["Run both again", () => decide(one, "redrive", { stages }, "running again: both halves"), "quiet"]);
  }
  if (one.status !== "erased") buttons.push(["Erase…", () => confirmErase(one), "danger"]);
  const focused = document.activeElement?.closest("#one-actions") ? document.activeElement.textContent : null;
  $("one-actions").replaceChildren(...buttons.map(([text, action, kind]) => {
    const button = make("button", { type: "button", text, class: kind ?? "" });
    button.addEventListener("click", action);
    return button;
  }));
  if (focused) ([...$("one-actions").children].find((button) => button.textContent === focused) ?? $("one-name")).focus();
}

async function decide(one, verb, body, done) {
  for (const button of $("one-actions").children) button.disabled = true;
  try {
    await post(`/api/recordings/${one.id}/${verb}`, body);
    say(`${one.name}: ${done}.`);
    if (verb === "erase") location.hash = "#/";
    else openAgain();
  } catch (error) {
    say(error.message, true);
    openAgain();
  }
}

function confirmErase(one) {
  const dialog = $("erase");
  $("erase-name").textContent = printable(one.name);
  $("erase-upload").checked = false;
  dialog.returnValue = "";
  dialog.onclose = () => {
    if (dialog.returnValue === "erase") decide(one, "erase", { upload: $("erase-upload").checked }, "erased");
  };
  dialog.showModal();
}

/** Nothing of one recording stays to be seen, or clicked, under the next one's address. */
function clearOne() {
  for (const part of ["facts", "problem", "halves", "actions", "files", "source"]) $(`one-${part}`).replaceChildren();
  $("story").replaceChildren();
  $("one-name").textContent = "…";
  $("one-report").hidden = true;
  $("report").removeAttribute("src");
  $("report").dataset.version = "";
  if ($("erase").open) $("erase").close("");
}

function route() {
  const id = /^#\/(rec_[a-z0-9]+)$/.exec(location.hash)?.[1] ?? null;
  if (id === open && id) return;
  const was = open;
  open = id;
  opened = null;
  $("one-view").hidden = !id;
  $("list-view").hidden = Boolean(id);
  if (id) {
    list.at = was ? list.at : scrollY;
    clearOne();
    showOne(id);
  } else {
    document.title = "speechpipe";
    draw();
    scrollTo(0, list.at ?? 0);
    if (was) (list.drawn.get(was)?.querySelector("a") ?? $("main")).focus({ preventScroll: true });
  }
}

// ---------------------------------------------------------------------------------------------------------- uploads

const waiting = [];
let sending = 0;

function upload(files) {
  const fields = [...$("options").querySelectorAll("[name]")].filter((field) => field.value.trim());
  const options = Object.fromEntries(fields.map((field) => [field.name, field.value.trim()]));
  for (const file of files) {
    const item = make("li", {}, make("span", { text: file.name, dir: "auto", title: printable(file.name) }));
    item.append(bar(0, `Upload of ${printable(file.name)}`), make("span", { class: "dim", text: size(file.size) }));
    $("uploads").append(item);
    waiting.push({ file, options, item });
  }
  next();
}

function next() {
  while (sending < 3 && waiting.length) {
    const one = waiting.shift();
    sending++;
    send(one)
      .then(() => {
        one.item.lastChild.textContent = "uploaded";
        setTimeout(() => one.item.remove(), 4000);
      })
      .catch((error) => one.item.replaceChildren(one.item.firstChild, make("span", { class: "bad", text: error.message, role: "alert" })))
      .finally(() => { sending--; next(); });
  }
}

/** The file goes where the server says, straight to the bucket wherever it can. */
async function send({ file, options, item }) {
  const { url, type } = await post("/api/uploads", { name: file.name, size: file.size, type: file.type, options });
  const show = (bytes) => { item.children[1].value = file.size ? bytes / file.size : 1; };
  let there = 0;
  for (let tries = 0; ; tries++) {
    try {
      await put(url, type, file, there, show);
      break;
    } catch (error) {
      if (!(error instanceof Broken) || url.startsWith("/") || tries === RETRIES) throw error;
      await new Promise((done) => setTimeout(done, 1000 * 2 ** tries));
      there = await put(url, type, file, null, show).catch(() => there); // a session knows what has arrived
      if (there === file.size) break;
    }
  }
  show(file.size);
}

const RETRIES = 6; // a minute in all

class Broken extends Error {}

/** Send a file from a byte on; with `from` null ask the session how much has arrived, which is what comes back. */
function put(url, type, file, from, show) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest(); // fetch tells nothing of how far an upload is
    request.open("PUT", url);
    request.setRequestHeader("content-type", type);
    if (from === null) request.setRequestHeader("content-range", `bytes */${file.size}`);
    else if (from > 0) request.setRequestHeader("content-range", `bytes ${from}-${file.size - 1}/${file.size}`);
    request.upload.onprogress = (event) => { if (from !== null) show(from + event.loaded); };
    request.onload = () => {
      if (request.status < 300) return done(file.size);
      if (request.status === 308) return done(Number(/-(\d+)$/.exec(request.getResponseHeader("range") ?? "")?.[1] ?? -1) + 1);
      if (request.status >= 500) return failed(new Broken(`the bucket answered ${request.status}`));
      let reason;
      try { reason = JSON.parse(request.responseText).error; } catch { /* no words of ours */ }
      failed(new Error(typeof reason === "string" ? reason : `the bucket answered ${request.status}`));
    };
    request.onerror = () => failed(new Broken("the connection broke; try again"));
    request.send(from === null ? null : from ? file.slice(from) : file);
  });
}

// ------------------------------------------------------------------------------------------------------------- live

function live() {
  const events = new EventSource("/api/events");
  const shown = (state, text) => {
    $("live").dataset.state = state;
    if ($("live").textContent !== text) $("live").textContent = text;
  };
  events.addEventListener("open", () => {
    shown("live", "live");
    startOver();
  });
  events.addEventListener("error", () => {
    shown("down", "the connection broke; trying again");
    if (events.readyState === EventSource.CLOSED) setTimeout(live, 3000); // refused, not broken: no new try by itself
  });
  events.addEventListener("rows", (event) => take(JSON.parse(event.data)));
  events.addEventListener("figures", (event) => { showFigures(JSON.parse(event.data)); redraw(); });
  events.addEventListener("resync", startOver);
}

function startOver() {
  refresh(0);
  if (open) openAgain();
}

let typing = 0;
$("filters").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(startQuestion, 150); });
$("filters").addEventListener("reset", () => setTimeout(startQuestion));
$("filters").addEventListener("submit", (event) => { event.preventDefault(); startQuestion(); });
$("files").addEventListener("change", (event) => { upload(event.target.files); event.target.value = ""; });
addEventListener("scroll", redraw, { passive: true });
addEventListener("resize", redraw);
addEventListener("hashchange", route);
setInterval(() => { // the time that is left runs on between two writes
  redraw();
  if (opened && running(opened)) showHalves(opened);
}, 1000);

let over = 0;
const files = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", (event) => { if (files(event)) { over++; $("veil").hidden = false; } });
addEventListener("dragleave", (event) => { if (files(event) && --over <= 0) { over = 0; $("veil").hidden = true; } });
addEventListener("dragover", (event) => { if (files(event)) event.preventDefault(); });
addEventListener("drop", (event) => {
  if (!files(event)) return;
  event.preventDefault();
  over = 0;
  $("veil").hidden = true;
  location.hash = "#/";
  upload(event.dataTransfer.files);
});

route();
live();
