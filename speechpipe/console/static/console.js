// The console's page. Everything that comes from a recording is inserted as text (`textContent`), never as markup; the
// page's Content-Security-Policy would refuse markup anyway.

const $ = (id) => document.getElementById(id);
const PAGE = 100; // rows per request
const OVERSCAN = 8; // rows drawn above and below the viewport
const STAGES = { stt: "Speech to text", ser: "Emotions" };

/** Create an element with text, attributes and children. */
function make(tag, { text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = printable(text);
  element.append(...children);
  return element;
}

/** Replace controls and characters that could disguise the text around them with a visible mark. Direction marks
    disguise nothing, and neither do isolates that end. */
function printable(text) {
  const shown = String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/g, "\ufffd");
  let open = 0;
  for (const [letter] of shown.matchAll(/[\u2066-\u2069]/g)) {
    open += letter === "\u2069" ? -1 : 1;
    if (open < 0) break;
  }
  return open ? shown.replace(/[\u2066-\u2069]/g, "\ufffd") : shown;
}

/** Text from a recording inside a sentence: if it runs from right to left, in its own direction. */
function isolate(text) {
  const rightToLeft = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
  return rightToLeft.test(text) ? `\u2068${printable(text).replace(/[\u2066-\u2069]/g, "")}\u2069` : text;
}

let noticeTimer = 0;

function notify(text, bad = false) {
  const notice = $("said");
  clearTimeout(noticeTimer);
  if (!bad) noticeTimer = setTimeout(() => notify(""), 8000);
  notice.textContent = printable(text);
  notice.className = bad ? "said bad" : "said";
  notice.hidden = !text;
  if (!text) clearTimeout(noticeTimer);
}

async function fetchJson(path, options = {}) {
  const answer = await fetch(path, options);
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error ?? `The server responded with status ${answer.status}`);
  return body;
}

const postJson = (path, body = {}) =>
  fetchJson(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

// ----------------------------------------------------------------------------------------------------------- formatting

const pad = (number) => String(number).padStart(2, "0");

function clock(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const whole = Math.floor(seconds), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}

/** A recording's length; an estimate is marked as one, as on the command line. */
const lengthText = ({ seconds, estimated }) => (estimated ? "≈" : "") + clock(seconds);

const dateFormat = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const shortTime = (text) => (text ? dateFormat.format(new Date(text)) : "");
const fullTime = (text) => new Date(text).toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
const numberFormat = new Intl.NumberFormat();

function fileSize(bytes) {
  if (bytes < 1e6) return `${numberFormat.format(Math.ceil(bytes / 1e3))} kB`;
  return `${numberFormat.format(Math.round(bytes / 1e5) / 10)} MB`;
}

/** In the format of the command line: `12 s left`, `1:20 min left`; empty while there is no estimate. */
function timeLeft(expected) {
  const times = expected.map((at) => (at === null ? null : Math.max(0, (Date.parse(at) - Date.now()) / 1000)));
  if (!times.length || times.includes(null)) return "";
  const seconds = Math.round(Math.max(...times));
  return seconds < 60 ? `${seconds} s left` : `${Math.floor(seconds / 60)}:${pad(seconds % 60)} min left`;
}

const isRunning = (row) => row.status === "queued" || row.status === "processing";

function progressText(row) {
  const open = Object.values(row.halves).filter((half) => half.status === "queued" || half.status === "processing");
  const time = timeLeft(open.map((half) => half.expected_at));
  return `${Math.round(100 * row.share)}%${time ? `, ${time}` : ""}`;
}

function progressBar(share, label) {
  const element = make("progress", { max: 1, "aria-label": label });
  element.value = share;
  return element;
}

const statusBadge = (status) => make("span", { class: "state", "data-status": status, text: status });

// --------------------------------------------------------------------------------------------------------- the list

const list = {
  total: 0,
  filled: true,
  rows: new Map(), // position in the list -> row
  elements: new Map(), // id -> table row element
  pending: new Set(), // pages being fetched
  version: 0, // of the query; responses to older ones are dropped
  query: new URLSearchParams(),
};

function readFilters() {
  const form = new FormData($("filters"));
  const asked = new URLSearchParams();
  for (const name of ["q", "status", "emotion", "language"]) if (form.get(name)) asked.set(name, form.get(name));
  // Days are in the viewer's time zone; the last one is included.
  if (form.get("since")) asked.set("since", new Date(`${form.get("since")}T00:00`).toISOString());
  if (form.get("until")) {
    const end = new Date(`${form.get("until")}T00:00`);
    end.setDate(end.getDate() + 1);
    asked.set("until", end.toISOString());
  }
  return asked;
}

async function fetchPage(offset) {
  const version = list.version, key = `${version} ${offset}`;
  if (list.pending.has(key)) return;
  list.pending.add(key);
  try {
    const answer = await fetchJson(`/api/recordings?${list.query}&offset=${offset}&limit=${PAGE}`);
    if (version !== list.version) return;
    const grown = answer.total - list.total;
    list.total = answer.total;
    list.filled = answer.filled;
    answer.rows.forEach((row, place) => list.rows.set(offset + place, row));
    if (grown > 0 && scrollOffset() > 0 && list.keepPosition) scrollBy(0, grown * rowHeight()); // new recordings were inserted above
    list.keepPosition = false;
    draw();
  } catch (error) {
    notify(error.message, true);
  } finally {
    list.pending.delete(key);
  }
}

const rowHeight = () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));
const scrollOffset = () => Math.max(0, -$("table").getBoundingClientRect().top);

function setSpacer(body, height) {
  if (!body.firstChild) body.append(make("tr", {}, make("td", { colspan: 7 })));
  body.hidden = !height;
  body.firstChild.firstChild.style.height = `${height}px`;
}

let frame = 0;
const redraw = () => { frame ||= requestAnimationFrame(() => { frame = 0; draw(); }); };

/** Draw only the rows near the viewport, however long the list is. Rows that stay are updated in place. */
function draw() {
  if ($("list-view").hidden) return;
  const height = rowHeight();
  const first = Math.max(0, Math.min(Math.floor(scrollOffset() / height) - OVERSCAN, list.total - 1));
  const last = Math.min(list.total, first + Math.ceil(innerHeight / height) + 2 * OVERSCAN);
  const wanted = [];
  for (let place = first; place < last; place++) {
    const row = list.rows.get(place);
    if (row) wanted.push([place, row]);
    else fetchPage(place - (place % PAGE));
  }
  const missing = wanted.length ? wanted[0][0] - first : last - first; // not fetched yet: reserve their space
  setSpacer($("above"), (first + missing) * height);
  const body = $("rows");
  const keep = new Set(wanted.map(([, row]) => row.id));
  for (const [id, element] of list.elements) {
    if (!keep.has(id)) {
      element.remove();
      list.elements.delete(id);
    }
  }
  let before = null;
  for (const [place, row] of wanted) {
    let element = list.elements.get(row.id);
    if (!element) list.elements.set(row.id, (element = createRow()));
    updateRow(element, row, place);
    const next = before ? before.nextSibling : body.firstChild;
    if (next !== element) body.insertBefore(element, next);
    before = element;
  }
  setSpacer($("below"), Math.max(0, list.total - first - missing - wanted.length) * height);
  $("table").setAttribute("aria-rowcount", list.total + 1);
  $("table").hidden = !list.total;
  $("table").classList.toggle("idle", !wanted.some(([, row]) => isRunning(row))); // no column for nothing
  const filtered = list.query.size > 0;
  $("empty").hidden = list.total > 0;
  $("empty").textContent = !list.filled ? "Loading recordings…"
    : filtered ? "No recordings match these filters." : "No recordings yet. Drop files on this page to upload them.";
  const unread = list.query.has("q") && counters.unread
    ? `; still indexing transcripts, ${numberFormat.format(counters.unread)} left; until then only their first words are searched` : "";
  $("count").textContent = list.total ? `${numberFormat.format(list.total)} recording${list.total === 1 ? "" : "s"}${unread}` : "";
}

function createRow() {
  const element = make("tr", { role: "row" });
  for (let cell = 0; cell < 7; cell++) element.append(make("td", { role: "cell" }));
  element.firstChild.className = "name";
  element.firstChild.append(make("a", { dir: "auto" }), make("span", { dir: "auto" }));
  return element;
}

function updateRow(element, row, place) {
  element.setAttribute("aria-rowindex", place + 2);
  if (element.row === row && !isRunning(row)) return;
  element.row = row;
  const [name, status, share, emotion, language, length, queued] = element.children;
  const link = name.firstChild;
  link.href = `#/${row.id}`;
  link.textContent = printable(row.name) || "(erased)";
  name.lastChild.textContent = printable(row.problem || row.preview || row.ref);
  status.replaceChildren(statusBadge(row.status));
  if (!isRunning(row)) share.replaceChildren();
  else {
    if (!share.firstChild) share.append(make("div", { class: "bar" }, make("span"), progressBar(0, "Progress")));
    share.firstChild.firstChild.textContent = progressText(row);
    share.firstChild.lastChild.value = row.share;
  }
  emotion.textContent = printable(row.emotion ?? "");
  language.textContent = row.language ?? "";
  length.textContent = lengthText(row);
  queued.textContent = shortTime(row.queued_at);
}

let refreshing = 0;

/** Reload the visible rows soon, once for many changes. */
function refresh(wait = 300) {
  refreshing ||= setTimeout(() => {
    refreshing = 0;
    list.version++;
    list.keepPosition = true;
    const height = rowHeight();
    const first = Math.floor(scrollOffset() / height), last = first + Math.ceil(innerHeight / height);
    for (let offset = first - (first % PAGE); offset <= last; offset += PAGE) fetchPage(offset);
    for (const place of [...list.rows.keys()]) if (place < first - PAGE || place > last + PAGE) list.rows.delete(place);
  }, wait);
}

function runQuery() {
  list.query = readFilters();
  list.version++;
  list.rows.clear();
  list.total = 0;
  fetchPage(0);
}

/** Apply changed rows. Known rows change in place; if rows may have entered or left the list, reload it. */
function applyRows(rows) {
  const places = new Map([...list.rows].map(([place, row]) => [row.id, place]));
  let moved = false;
  for (const row of rows) {
    const place = places.get(row.id);
    if (place === undefined) moved = true;
    else {
      const known = list.rows.get(place);
      if (list.query.size && (known.status !== row.status || known.emotion !== row.emotion || known.language !== row.language)) moved = true;
      list.rows.set(place, row);
    }
    if (row.id === openId) scheduleReload();
  }
  redraw();
  if (moved) refresh();
}

// --------------------------------------------------------------------------------------------------------- counters

let counters = { states: {}, stages: {} };

function showCounters(data) {
  counters = data;
  const parts = [];
  for (const [stage, name] of Object.entries(STAGES)) {
    const { waiting, running: busy, oldest_at } = data.stages[stage] ?? {};
    const oldest = oldest_at ? `, oldest ${clock((Date.now() - Date.parse(oldest_at)) / 1000)}` : "";
    parts.push([name, `${numberFormat.format(busy)} running, ${numberFormat.format(waiting)} queued${oldest}`]);
  }
  const { recordings, audio_seconds, compute_seconds, minutes } = data.recently ?? {};
  const speed = compute_seconds ? `, ${numberFormat.format(Math.round((10 * audio_seconds) / compute_seconds) / 10)}× real time` : "";
  parts.push([`Last ${minutes} min`, `${numberFormat.format(recordings)} finished${speed}`]);
  if (data.workers) {
    const down = Object.entries(data.workers).filter(([, up]) => !up).map(([name]) => name);
    parts.push(["Services", down.length ? `down: ${down.join(", ")}` : `${Object.keys(data.workers).length} running`, down.length]);
  } else parts.push(["Services", "status unknown"]);
  if (data.failing) parts.push(["Store", "not responding; showing the last known state", true]);
  $("figures").replaceChildren(...parts.map(([term, text, bad]) =>
    make("div", {}, make("dt", { text: term }), make("dd", { text, class: bad ? "bad" : "" }))));
  showChoices("status", Object.entries(data.states).filter(([, count]) => count));
  showChoices("emotion", Object.entries(data.emotions));
  showChoices("language", Object.entries(data.languages));
}

function showChoices(name, counts) {
  const select = $("filters").elements[name], chosen = select.value;
  const options = counts.map(([value, count]) => make("option", { value, text: `${value} (${numberFormat.format(count)})` }));
  if (chosen && !counts.some(([value]) => value === chosen)) options.push(make("option", { value: chosen, text: chosen }));
  if (document.activeElement === select) return; // do not change a menu while it is in use
  select.replaceChildren(select.options[0], ...options);
  select.value = chosen;
}

// ---------------------------------------------------------------------------------------------------- one recording

let openId = null, shownRecording = null, reloadTimer = 0;

const scheduleReload = () => { reloadTimer ||= setTimeout(() => { reloadTimer = 0; if (openId) showRecording(openId); }, 200); };

async function showRecording(id) {
  let recording;
  try {
    recording = await fetchJson(`/api/recordings/${encodeURIComponent(id)}`);
  } catch (error) {
    if (id === openId) {
      notify(error.message, true);
      location.hash = "#/";
    }
    return;
  }
  if (id !== openId) return;
  const fresh = shownRecording?.id !== id;
  shownRecording = recording;
  document.title = `${printable(recording.name) || "erased"} – speechpipe`;
  $("one-name").textContent = printable(recording.name) || "(erased)";
  $("one-facts").replaceChildren(statusBadge(recording.status), [lengthText(recording), recording.language, recording.emotion && `mostly ${recording.emotion}`,
    recording.revision > 1 && `revision ${recording.revision}`, shortTime(recording.queued_at)].filter(Boolean).map((text) => ` · ${printable(text)}`).join(""));
  $("one-problem").replaceChildren(
    ...(recording.problem ? [make("p", { class: recording.status === "held" ? "problem care" : "problem", text: recording.problem })] : []),
    ...recording.warnings.map((text) => make("p", { class: "problem care", text })));
  showHalves(recording);
  showActions(recording);
  $("one-files").replaceChildren(...recording.files.map((name) =>
    make("a", { class: "button", href: `/recordings/${recording.id}/files/${name}`, download: "", text: name })));
  const frame = $("report"), source = `/recordings/${recording.id}/report`, version = `${recording.id} ${recording.revision}`;
  $("one-report").hidden = !recording.record;
  if (!recording.record) {
    frame.removeAttribute("src");
    frame.dataset.version = "";
  } else if (frame.dataset.version !== version) {
    frame.dataset.version = version;
    frame.src = `${source}?revision=${recording.revision}`;
  }
  $("story").replaceChildren(...recording.story.map((moment) => make("li", {},
    make("time", { datetime: moment.at, text: fullTime(moment.at) }), make("span", { class: "dim", text: moment.stage }),
    make("b", { text: moment.what }), make("span", { text: moment.detail, dir: "auto" }))));
  const details = [["ID", recording.id], ["Object", recording.uri], ["Size", fileSize(recording.size)], ["Content type", recording.type ?? "unknown"],
    ...(recording.supersedes ? [["Supersedes", recording.supersedes]] : []),
    ...(recording.same_content_as ? [["Same content as", recording.same_content_as]] : []), ...Object.entries(recording.metadata)];
  $("one-source").replaceChildren(...details.flatMap(([name, value]) =>
    [make("dt", { text: name }), make("dd", { text: value, dir: "auto" })]));
  if (fresh) {
    scrollTo(0, 0);
    $("one-name").focus({ preventScroll: true });
  }
}

function showHalves(recording) {
  $("one-halves").replaceChildren(...Object.entries(recording.halves).map(([stage, half]) => {
    const busy = half.status === "queued" || half.status === "processing";
    const card = make("div", { class: "half" }, make("h3", { text: STAGES[stage] }));
    const line = make("p", {}, statusBadge(half.status));
    if (half.attempts > 1) line.append(` · attempt ${half.attempts}`);
    card.append(line);
    if (half.status === "processing") {
      const time = timeLeft([half.expected_at]);
      card.append(make("p", { class: "dim", text: `${Math.round(100 * half.share)}%${time ? `, ${time}` : ""}` }));
      card.append(progressBar(half.share, `${STAGES[stage]} progress`));
    }
    if (half.problem && !busy) card.append(make("p", { text: half.problem }));
    return card;
  }));
}

function showActions(recording) {
  const stages = Object.keys(recording.halves);
  const buttons = [];
  if (recording.status === "held") buttons.push(["Release", () => operate(recording, "release", {}, "Released")]);
  if (recording.may_redrive) {
    for (const stage of stages) {
      const name = STAGES[stage].toLowerCase();
      buttons.push([`Redrive ${name}`, () => operate(recording, "redrive", { stages: [stage] }, `Redriving ${name} of`), "quiet"]);
    }
    if (stages.length > 1) buttons.push(["Redrive both", () => operate(recording, "redrive", { stages }, "Redriving both halves of"), "quiet"]);
  }
  if (recording.status !== "erased") buttons.push(["Erase…", () => confirmErase(recording), "danger"]);
  const focused = document.activeElement?.closest("#one-actions") ? document.activeElement.textContent : null;
  $("one-actions").replaceChildren(...buttons.map(([text, action, kind]) => {
    const button = make("button", { type: "button", text, class: kind ?? "" });
    button.addEventListener("click", action);
    return button;
  }));
  if (focused) ([...$("one-actions").children].find((button) => button.textContent === focused) ?? $("one-name")).focus();
}

async function operate(recording, verb, body, done) {
  for (const button of $("one-actions").children) button.disabled = true;
  try {
    const stays = (await postJson(`/api/recordings/${recording.id}/${verb}`, body)).upload_stays_until;
    notify(`${done} ${isolate(recording.name)}` + (stays ? `; its upload stays until ${stays}` : ""), Boolean(stays));
    if (verb === "erase") location.hash = "#/";
    else scheduleReload();
  } catch (error) {
    notify(error.message, true);
    scheduleReload();
  }
}

function confirmErase(recording) {
  const dialog = $("erase");
  $("erase-name").textContent = printable(recording.name);
  $("erase-upload").checked = false;
  dialog.returnValue = "";
  dialog.onclose = () => {
    if (dialog.returnValue === "erase") operate(recording, "erase", { upload: $("erase-upload").checked }, "Erased");
  };
  dialog.showModal();
}

/** Clear the previous recording, so that none of its content or buttons remain under the next URL. */
function clearRecording() {
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
  if (id === openId && id) return;
  const was = openId;
  openId = id;
  shownRecording = null;
  $("one-view").hidden = !id;
  $("list-view").hidden = Boolean(id);
  if (id) {
    list.scrollPosition = was ? list.scrollPosition : scrollY;
    clearRecording();
    showRecording(id);
  } else {
    document.title = "speechpipe";
    draw();
    scrollTo(0, list.scrollPosition ?? 0);
    if (was) (list.elements.get(was)?.querySelector("a") ?? $("main")).focus({ preventScroll: true });
  }
}

// ---------------------------------------------------------------------------------------------------------- uploads

const uploadQueue = [];
let activeUploads = 0;

/** Upload files, each with its name in the bucket. */
function upload(files) {
  const fields = [...$("options").querySelectorAll("[name]")].filter((field) => field.value.trim());
  const options = Object.fromEntries(fields.map((field) => [field.name, field.value.trim()]));
  for (const { file, name } of files) {
    const item = make("li", {}, make("span", { text: name, dir: "auto", title: printable(name) }));
    item.append(progressBar(0, `Uploading ${printable(name)}`), make("span", { class: "dim", text: fileSize(file.size) }));
    $("uploads").append(item);
    uploadQueue.push({ file, name, options, item });
  }
  startUploads();
}

function startUploads() {
  while (activeUploads < 3 && uploadQueue.length) {
    const entry = uploadQueue.shift();
    activeUploads++;
    sendFile(entry)
      .then(() => {
        entry.item.lastChild.textContent = "Uploaded";
        setTimeout(() => entry.item.remove(), 4000);
      })
      .catch((error) => entry.item.replaceChildren(entry.item.firstChild, make("span", { class: "bad", text: error.message, role: "alert" })))
      .finally(() => { activeUploads--; startUploads(); });
  }
}

/** Send the file to the URL that the server names: the bucket if it has upload sessions, else the console. */
async function sendFile({ file, name, options, item }) {
  const { url, type } = await postJson("/api/uploads", { name, size: file.size, type: file.type, options });
  const showSent = (bytes) => { item.children[1].value = file.size ? bytes / file.size : 1; };
  let received = 0;
  for (let retries = 0; ; retries++) {
    try {
      await putFile(url, type, file, received, showSent);
      break;
    } catch (error) {
      if (!(error instanceof RetryableError) || url.startsWith("/") || retries === RETRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * 2 ** retries));
      received = await putFile(url, type, file, null, showSent).catch(() => received); // a session knows how much it has received
      if (received === file.size) break;
    }
  }
  showSent(file.size);
}

const RETRIES = 6; // about a minute in total

class RetryableError extends Error {}

/** Send a file from byte `from` on. If `from` is null, only ask the session. Resolves to the bytes it has received. */
function putFile(url, type, file, from, showSent) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch reports no upload progress
    request.open("PUT", url);
    request.setRequestHeader("content-type", type);
    if (from === null) request.setRequestHeader("content-range", `bytes */${file.size}`);
    else if (from > 0) request.setRequestHeader("content-range", `bytes ${from}-${file.size - 1}/${file.size}`);
    request.upload.onprogress = (event) => { if (from !== null) showSent(from + event.loaded); };
    request.onload = () => {
      if (request.status < 300) return resolve(file.size);
      if (request.status === 308) return resolve(Number(/-(\d+)$/.exec(request.getResponseHeader("range") ?? "")?.[1] ?? -1) + 1);
      if (request.status >= 500) return reject(new RetryableError(`The upload failed with status ${request.status}`));
      let reason;
      try { reason = JSON.parse(request.responseText).error; } catch { /* not JSON of ours */ }
      reject(new Error(typeof reason === "string" ? reason : `The upload failed with status ${request.status}`));
    };
    request.onerror = () => reject(new RetryableError("Connection lost; upload the file again"));
    request.send(from === null ? null : from ? file.slice(from) : file);
  });
}

// ------------------------------------------------------------------------------------------------------------- live

function connect() {
  const events = new EventSource("/api/events");
  const showState = (state, text) => {
    $("live").dataset.state = state;
    if ($("live").textContent !== text) $("live").textContent = text;
  };
  events.addEventListener("open", () => {
    showState("live", "Live");
    reloadAll();
  });
  events.addEventListener("error", () => {
    showState("down", "Connection lost, reconnecting…");
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, 3000); // after an HTTP error, EventSource does not reconnect by itself
  });
  events.addEventListener("rows", (event) => applyRows(JSON.parse(event.data)));
  events.addEventListener("figures", (event) => { showCounters(JSON.parse(event.data)); redraw(); });
  events.addEventListener("resync", reloadAll);
}

function reloadAll() {
  refresh(0);
  if (openId) scheduleReload();
}

let typingTimer = 0;
$("filters").addEventListener("input", () => { clearTimeout(typingTimer); typingTimer = setTimeout(runQuery, 150); });
$("filters").addEventListener("reset", () => setTimeout(runQuery));
$("filters").addEventListener("submit", (event) => { event.preventDefault(); runQuery(); });
$("files").addEventListener("change", (event) => {
  upload([...event.target.files].map((file) => ({ file, name: file.name })));
  event.target.value = "";
});
addEventListener("scroll", redraw, { passive: true });
addEventListener("resize", redraw);
addEventListener("hashchange", route);
setInterval(() => { // count down the time left between two updates
  redraw();
  if (shownRecording && isRunning(shownRecording)) showHalves(shownRecording);
}, 1000);

let dragDepth = 0;
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", (event) => { if (hasFiles(event)) { dragDepth++; $("veil").hidden = false; } });
addEventListener("dragleave", (event) => { if (hasFiles(event) && --dragDepth <= 0) { dragDepth = 0; $("veil").hidden = true; } });
addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  dragDepth = 0;
  $("veil").hidden = true;
  location.hash = "#/";
  const files = [...event.dataTransfer.files].map((file) => ({ file, name: file.name }));
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()); // they are gone after the event
  if (!entries.some((entry) => entry?.isDirectory)) upload(files);
  else filesBelow(entries.filter(Boolean)).then(upload, (error) => notify(`The folder could not be read: ${error.message}`, true));
});

/** The files of dropped folders and files, named by their path. Hidden ones in folders (`.DS_Store`) are left out. */
async function filesBelow(entries) {
  const found = [];
  for (const entry of entries) {
    if (entry.isFile) found.push({ file: await new Promise((...done) => entry.file(...done)), name: entry.fullPath.slice(1) });
    if (!entry.isDirectory) continue;
    const reader = entry.createReader();
    for (let batch; (batch = await new Promise((...done) => reader.readEntries(...done))).length;) { // 100 at a time
      found.push(...await filesBelow(batch.filter((each) => !each.name.startsWith("."))));
    }
  }
  return found;
}

route();
connect();
