"use strict";
// The page is read without this. It adds the player, words that follow it and lead to their place, and the downloads.
(async () => {
  const $ = (id) => document.getElementById(id);
  const body = document.body;
  const seconds = Number(body.dataset.seconds);

  // ------------------------------------------------------------------------------------------- the record
  const packed = Uint8Array.from(atob($("data").textContent), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const { record, files } = await new Response(unpacked).json();

  for (const place of document.querySelectorAll("[data-language]")) {
    try {
      place.textContent = new Intl.DisplayNames(["en"], { type: "language" }).of(place.textContent) ?? place.textContent;
    } catch { /* not a code that the browser knows: it stays as it is */ }
  }

  // -------------------------------------------------------------------------------------------- downloads
  const stem = (record.source.name.split("/").pop() || "recording").replace(/[^\p{L}\p{N}._ -]/gu, "_");
  const kinds = {
    json: ["application/json", () => JSON.stringify(record, null, 1)],
    txt: ["text/plain", () => record.text + "\n"],
    srt: ["application/x-subrip", () => files.srt],
    vtt: ["text/vtt", () => files.vtt],
    csv: ["text/csv", () => files.csv],
  };
  for (const button of document.querySelectorAll("[data-file]")) {
    button.addEventListener("click", () => {
      const [type, text] = kinds[button.dataset.file];
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text()], { type: `${type};charset=utf-8` }));
      link.download = `${stem}.${button.dataset.file}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    });
  }
  for (const part of document.querySelectorAll(".downloads")) part.hidden = false;
  body.dataset.ready = "";
  if (!seconds) return;

  // ------------------------------------------------------------------------------------- where words stand
  const rows = [...document.querySelectorAll(".s")];
  const numbers = new Map(rows.map((row, number) => [row, number]));
  // Of each channel its words, or its segments without words, by their start.
  const tracks = new Map();
  record.segments.forEach((segment, number) => {
    const track = tracks.get(segment.channel) ?? tracks.set(segment.channel, []).get(segment.channel);
    if (!segment.words.length) track.push({ start: segment.start, end: segment.end, number, word: -1 });
    segment.words.forEach((word, at) => track.push({ start: word.start, end: word.end, number, word: at }));
  });
  for (const track of tracks.values()) track.sort((one, other) => one.start - other.start);

  // A row's words become elements when it comes near the window: ten hours have a hundred thousand.
  const spans = new Map();
  function wordsOf(number) {
    if (spans.has(number)) return spans.get(number);
    const made = [];
    const paragraph = rows[number].querySelector("p");
    const text = paragraph.textContent;
    const parts = document.createDocumentFragment();
    let at = 0;
    record.segments[number].words.forEach((word, index) => {
      const bare = word.word.trim();
      const place = bare ? text.indexOf(bare, at) : -1;
      if (place < 0) return made.push(null);
      parts.append(text.slice(at, place));
      const span = document.createElement("span");
      span.className = "w";
      span.textContent = bare;
      span.dataset.word = index;
      parts.append(span);
      made.push(span);
      at = place + bare.length;
    });
    parts.append(text.slice(at));
    paragraph.replaceChildren(parts);
    spans.set(number, made);
    return made;
  }
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      for (const row of entry.target.children) wordsOf(numbers.get(row));
    }
  }, { rootMargin: "1000px" });
  for (const chunk of document.querySelectorAll(".chunk")) near.observe(chunk);
  for (const keys of document.querySelectorAll(".keys")) keys.hidden = false;

  // ---------------------------------------------------------------------------------------------- the player
  const audio = $("audio"), play = $("play"), seekbar = $("seek"), follow = $("follow");
  const cursors = [...document.querySelectorAll(".cursor")];
  let position = 0; // also without a sound
  let marked = [];

  const clock = (at) => {
    const whole = Math.floor(at), two = (number) => String(number).padStart(2, "0");
    const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
  };

  /** The word of a track that is said at a time, or was up to half a second before. */
  function saidAt(track, at) {
    let low = 0, high = track.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (track[middle].start <= at) low = middle + 1; else high = middle;
    }
    const found = track[low - 1];
    return found && at < found.end + 0.5 ? found : null;
  }

  function show(scroll) {
    seekbar.value = position;
    seekbar.setAttribute("aria-valuetext", `${clock(position)} of ${clock(seconds)}`);
    $("clock").textContent = `${clock(position)} / ${clock(seconds)}`;
    for (const cursor of cursors) cursor.style.setProperty("--at", position / seconds);
    const found = [...tracks.values()].map((track) => saidAt(track, position + 0.001)).filter(Boolean);
    if (found.length === marked.length && found.every((one, index) => one === marked[index])) return;
    for (const one of marked) {
      rows[one.number].classList.remove("now");
      if (one.word >= 0) wordsOf(one.number)[one.word]?.classList.remove("on");
    }
    for (const one of found) {
      rows[one.number].classList.add("now");
      if (one.word >= 0) wordsOf(one.number)[one.word]?.classList.add("on");
    }
    const moved = found.length && found.at(-1).number !== marked.at(-1)?.number;
    marked = found;
    if (scroll && moved && follow.checked) bringIntoView(rows[found.at(-1).number]);
  }

  function bringIntoView(row) {
    const box = row.getBoundingClientRect();
    if (box.top > 90 && box.bottom < innerHeight - 40) return;
    const far = Math.abs(box.top) > 3 * innerHeight || matchMedia("(prefers-reduced-motion: reduce)").matches;
    row.scrollIntoView({ block: "center", behavior: far ? "instant" : "smooth" });
    // What comes into view far away gets its true height only now, and moves the row.
    if (far) requestAnimationFrame(() => row.scrollIntoView({ block: "center", behavior: "instant" }));
  }

  function seek(at, scroll = true) {
    position = Math.min(Math.max(at, 0), seconds);
    if (audio.src && audio.readyState) audio.currentTime = position;
    show(scroll);
  }

  function tick() {
    position = audio.currentTime;
    show(true);
    if (!audio.paused) requestAnimationFrame(tick);
  }

  function sound(url, name) {
    audio.src = url;
    play.disabled = false;
    $("open").hidden = true;
    $("said").textContent = name;
  }

  function ask(why) {
    audio.removeAttribute("src");
    play.disabled = true;
    $("open").hidden = false;
    $("said").textContent = why;
  }

  audio.addEventListener("loadedmetadata", () => {
    audio.currentTime = position;
    if (Number.isFinite(audio.duration) && Math.abs(audio.duration - seconds) > Math.max(1, seconds / 50)) {
      $("said").textContent = `This file is ${clock(audio.duration)} long, the recording was ${clock(seconds)}: is it the right one?`;
    }
  });
  audio.addEventListener("error", () => {
    if (audio.src) ask("The recording could not be loaded from where it was; it may have moved, or the link has expired.");
  });
  // Who scrolls away from what is said wants to read there.
  for (const scrolled of ["wheel", "touchmove"]) {
    addEventListener(scrolled, () => { if (!audio.paused) follow.checked = false; }, { passive: true });
  }
  for (const [event, label, sign] of [["play", "Pause", "❚❚"], ["pause", "Play", "▶"]]) {
    audio.addEventListener(event, () => {
      play.firstElementChild.textContent = sign;
      play.lastElementChild.textContent = label;
      play.setAttribute("aria-label", label);
      tick();
    });
  }
  audio.addEventListener("timeupdate", () => { position = audio.currentTime; show(true); }); // also in a hidden tab
  play.addEventListener("click", () => (audio.paused ? audio.play().catch(() => {}) : audio.pause()));
  $("back").addEventListener("click", () => seek(position - 5));
  $("forward").addEventListener("click", () => seek(position + 5));
  $("speed").addEventListener("change", (event) => { audio.playbackRate = parseFloat(event.target.value); });
  seekbar.max = seconds;
  seekbar.step = seconds > 1200 ? 1 : 0.1;
  seekbar.addEventListener("input", () => seek(Number(seekbar.value)));
  $("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) sound(URL.createObjectURL(file), `Playing ${file.name} from this device; nothing is uploaded.`);
  });

  // Where the sound is: in the page or named by it, or in the address it was opened by, as #audio=URL or ?audio=URL.
  const fragment = new URLSearchParams(location.hash.slice(1));
  const given = fragment.get("audio") ?? new URLSearchParams(location.search).get("audio");
  const named = given ?? body.dataset.audio;
  let url = null;
  try {
    url = named && new URL(named, document.baseURI);
  } catch { /* not an address */ }
  if (url && ["https:", "http:", "blob:", "data:", "file:"].includes(url.protocol)) {
    const from = given && url.origin !== location.origin && url.host ? `The sound comes from ${url.host}.` : "";
    sound(url.href, from);
  } else {
    ask("The sound is not in this page.");
  }

  // ------------------------------------------------------------------------------------- going to a moment
  function goto(target) {
    const word = target.closest?.(".w");
    if (word) {
      const number = numbers.get(word.closest(".s"));
      seek(record.segments[number].words[word.dataset.word].start, false);
      return true;
    }
    const link = target.closest?.('a[href^="#t="]');
    if (!link) return false;
    const href = link.getAttribute("href");
    history.replaceState(null, "", href);
    seek(Number(href.slice(3)), !link.closest(".s"));
    return true;
  }
  document.addEventListener("click", (event) => { if (goto(event.target)) event.preventDefault(); });
  addEventListener("hashchange", () => {
    const at = new URLSearchParams(location.hash.slice(1)).get("t");
    if (at) seek(Number(at) || 0);
  });

  for (const timeline of document.querySelectorAll(".timeline")) {
    const at = (event) => {
      const box = timeline.querySelector(".plot").getBoundingClientRect();
      return (seconds * (event.clientX - box.left)) / box.width;
    };
    timeline.addEventListener("pointerdown", (event) => {
      if (event.button || !event.target.closest(".plot") || event.target.closest("a")) return;
      timeline.setPointerCapture(event.pointerId);
      seek(at(event), false);
    });
    timeline.addEventListener("pointermove", (event) => {
      if (timeline.hasPointerCapture(event.pointerId)) seek(at(event), false);
    });
    timeline.addEventListener("pointerup", () => show(true));
  }

  // One word is reached with Tab; arrows move on from there. Only that one is a button, the others stay text to read.
  let current = null;
  function take(span, focus) {
    if (!span) return;
    if (current) for (const name of ["tabindex", "role", "aria-label"]) current.removeAttribute(name);
    current = span;
    const number = numbers.get(span.closest(".s"));
    const word = record.segments[number].words[span.dataset.word];
    span.tabIndex = 0;
    span.setAttribute("role", "button");
    span.setAttribute("aria-label", `${span.textContent}, ${clock(word.start)}${word.emotion ? `, ${word.emotion}` : ""}`);
    if (focus) {
      span.focus({ preventScroll: true });
      bringIntoView(span.closest(".s"));
    }
  }
  const step = (number, index, by) => {
    const words = wordsOf(number).filter(Boolean);
    const place = index === null ? (by > 0 ? 0 : words.length - 1) : words.indexOf(index) + by;
    if (words[place]) return words[place];
    for (let next = number + by; next >= 0 && next < rows.length; next += by) {
      const others = wordsOf(next).filter(Boolean);
      if (others.length) return by > 0 ? others[0] : others.at(-1);
    }
    return null;
  };
  document.addEventListener("keydown", (event) => {
    const span = event.target.closest?.(".w");
    if (!span || event.ctrlKey || event.metaKey || event.altKey) return;
    const number = numbers.get(span.closest(".s"));
    if (event.key === "Enter" || event.key === " ") goto(span);
    else if (event.key === "ArrowRight") take(step(number, span, 1), true);
    else if (event.key === "ArrowLeft") take(step(number, span, -1), true);
    else if (event.key === "ArrowDown" && rows[number + 1]) take(wordsOf(number + 1).find(Boolean), true);
    else if (event.key === "ArrowUp" && rows[number - 1]) take(wordsOf(number - 1).find(Boolean), true);
    else if (event.key === "Home") take(wordsOf(0).find(Boolean), true);
    else if (event.key === "End") take(wordsOf(rows.length - 1).findLast(Boolean), true);
    else return;
    event.preventDefault();
  });
  document.addEventListener("click", (event) => take(event.target.closest?.(".w"), false));
  if (rows.length) take(wordsOf(0).find(Boolean), false);

  document.querySelector(".controls").hidden = false;
  for (const cursor of cursors) cursor.hidden = false;
  seek(Number(fragment.get("t")) || 0, Boolean(fragment.get("t")));
  body.dataset.ready = "player";
})();
