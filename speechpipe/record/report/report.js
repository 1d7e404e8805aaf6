"use strict";
// The page is readable without this script, which adds the player, clickable words that follow it, and downloads.
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
    } catch { /* the browser does not know this code: leave it */ }
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

  // ------------------------------------------------------------------------------------------------ words
  const rows = [...document.querySelectorAll(".s")];
  const numbers = new Map(rows.map((row, number) => [row, number]));
  // Each channel's words, or segments without words, sorted by start.
  const channels = new Map();
  record.segments.forEach((segment, number) => {
    const entries = channels.get(segment.channel) ?? channels.set(segment.channel, []).get(segment.channel);
    if (!segment.words.length) entries.push({ start: segment.start, end: segment.end, number, word: -1 });
    segment.words.forEach((word, index) => entries.push({ start: word.start, end: word.end, number, word: index }));
  });
  for (const entries of channels.values()) entries.sort((one, other) => one.start - other.start);

  // A row's words become elements only when it comes near the viewport: ten hours have 100,000 words.
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
  let position = 0; // seconds; kept here so that it also works without audio
  let highlighted = [];

  const clock = (at) => {
    const whole = Math.floor(at), two = (number) => String(number).padStart(2, "0");
    const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
  };

  /** The entry that is spoken at a time, or ended less than 0.5 s before. */
  function entryAt(entries, at) {
    let low = 0, high = entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (entries[middle].start <= at) low = middle + 1; else high = middle;
    }
    const found = entries[low - 1];
    return found && at < found.end + 0.5 ? found : null;
  }

  function show(scroll) {
    seekbar.value = position;
    seekbar.setAttribute("aria-valuetext", `${clock(position)} of ${clock(seconds)}`);
    $("clock").textContent = `${clock(position)} / ${clock(seconds)}`;
    for (const cursor of cursors) cursor.style.setProperty("--at", position / seconds);
    const found = [...channels.values()].map((entries) => entryAt(entries, position + 0.001)).filter(Boolean);
    if (found.length === highlighted.length && found.every((entry, index) => entry === highlighted[index])) return;
    for (const entry of highlighted) {
      rows[entry.number].classList.remove("now");
      if (entry.word >= 0) wordsOf(entry.number)[entry.word]?.classList.remove("on");
    }
    for (const entry of found) {
      rows[entry.number].classList.add("now");
      if (entry.word >= 0) wordsOf(entry.number)[entry.word]?.classList.add("on");
    }
    const moved = found.length && found.at(-1).number !== highlighted.at(-1)?.number;
    highlighted = found;
    if (scroll && moved && follow.checked) scrollToRow(rows[found.at(-1).number]);
  }

  function scrollToRow(row) {
    const box = row.getBoundingClientRect();
    if (box.top > 90 && box.bottom < innerHeight - 40) return;
    const far = Math.abs(box.top) > 3 * innerHeight || matchMedia("(prefers-reduced-motion: reduce)").matches;
    row.scrollIntoView({ block: "center", behavior: far ? "instant" : "smooth" });
    // Rows far away are laid out only now, which changes their height and moves this row.
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

  function useAudio(url, message) {
    audio.src = url;
    play.disabled = false;
    $("open").hidden = true;
    $("said").textContent = message;
  }

  function askForFile(reason) {
    audio.removeAttribute("src");
    play.disabled = true;
    $("open").hidden = false;
    $("said").textContent = reason;
  }

  audio.addEventListener("loadedmetadata", () => {
    audio.currentTime = position;
    if (Number.isFinite(audio.duration) && Math.abs(audio.duration - seconds) > Math.max(1, seconds / 50)) {
      // A file that does not state its length is estimated by its player, which also jumps to estimated places.
      $("said").textContent = body.dataset.estimated === undefined
        ? `This file is ${clock(audio.duration)} long but the recording is ${clock(seconds)}. Is it the right file?`
        : `The player estimates ${clock(audio.duration)} for this recording of ${clock(seconds)}, as the file does not state its length: jumps may miss.`;
    }
  });
  audio.addEventListener("error", () => {
    if (!audio.src) return;
    const name = record.audio?.format ?? "";
    // What is read from this page or this machine arrives, so its format is to blame. Elsewhere the browser knows best.
    const here = /^(data|blob):/.test(audio.src);
    if (here || audio.error?.code === MediaError.MEDIA_ERR_DECODE || cannotPlay(name)) {
      const converted = "The transcript and everything else on this page work without it. To listen here, choose a copy of the recording that was converted, to MP3 for example.";
      askForFile(`This browser cannot play the recording's format${name && ` (${name})`}. ${converted}`);
    } else {
      askForFile("The recording could not be loaded. It may have been moved, or the link may have expired.");
    }
  });

  /** Whether this browser says that it cannot play a container, by FFmpeg's name of it, such as `amr/amr_nb`. */
  function cannotPlay(name) {
    const types = {
      ac3: "audio/ac3", aiff: "audio/aiff", amr: "audio/amr", asf: "audio/x-ms-wma", au: "audio/basic", avi: "video/x-msvideo",
      caf: "audio/x-caf", eac3: "audio/eac3", flv: "video/x-flv", gsm: "audio/gsm", mpeg: "video/mpeg", mpegts: "video/mp2t",
      tta: "audio/x-tta", voc: "audio/x-voc", w64: "audio/x-w64", wv: "audio/x-wavpack",
    };
    const type = types[name.split("/")[0]];
    return type !== undefined && !audio.canPlayType(type);
  }
  // Readers who scroll during playback want to read there, so stop following.
  for (const scrolled of ["wheel", "touchmove"]) {
    addEventListener(scrolled, () => { if (!audio.paused) follow.checked = false; }, { passive: true });
  }
  for (const [event, label, icon] of [["play", "Pause", "❚❚"], ["pause", "Play", "▶"]]) {
    audio.addEventListener(event, () => {
      play.firstElementChild.textContent = icon;
      play.lastElementChild.textContent = label;
      play.setAttribute("aria-label", label);
      tick();
    });
  }
  audio.addEventListener("timeupdate", () => { position = audio.currentTime; show(true); }); // hidden tabs get no animation frames
  play.addEventListener("click", () => (audio.paused ? audio.play().catch(() => {}) : audio.pause()));
  $("back").addEventListener("click", () => seek(position - 5));
  $("forward").addEventListener("click", () => seek(position + 5));
  $("speed").addEventListener("change", (event) => { audio.playbackRate = parseFloat(event.target.value); });
  seekbar.max = seconds;
  seekbar.step = seconds > 1200 ? 1 : 0.1;
  seekbar.addEventListener("input", () => seek(Number(seekbar.value)));
  $("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) useAudio(URL.createObjectURL(file), `Playing \u2068${file.name}\u2069 from this device; nothing is uploaded.`);
  });

  // The audio's URL comes from the page's address, as #audio=URL or ?audio=URL, or else from the page itself.
  const fragment = new URLSearchParams(location.hash.slice(1));
  const given = fragment.get("audio") ?? new URLSearchParams(location.search).get("audio");
  const address = given ?? body.dataset.audio;
  let url = null;
  try {
    url = address && new URL(address, document.baseURI);
  } catch { /* not a URL */ }
  if (url && ["https:", "http:", "blob:", "data:", "file:"].includes(url.protocol)) {
    useAudio(url.href, given && url.origin !== location.origin && url.host ? `The audio comes from ${url.host}.` : "");
  } else {
    askForFile("The recording is not embedded in this page.");
  }

  // -------------------------------------------------------------------------------------- jumping to a time
  /** Jump to the word or time link that was clicked; false if it is neither. */
  function jumpTo(target) {
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
  document.addEventListener("click", (event) => { if (jumpTo(event.target)) event.preventDefault(); });
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

  // Tab reaches one word and the arrow keys move on from it. Only that word is a button, so that screen readers read the
  // others as text.
  let current = null;
  function select(span, focus) {
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
      scrollToRow(span.closest(".s"));
    }
  }
  /** The next (`by` = 1) or previous (-1) word, across rows; null at either end. */
  const neighbour = (number, span, by) => {
    const words = wordsOf(number).filter(Boolean);
    const place = words.indexOf(span) + by;
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
    if (event.key === "Enter" || event.key === " ") jumpTo(span);
    else if (event.key === "ArrowRight") select(neighbour(number, span, 1), true);
    else if (event.key === "ArrowLeft") select(neighbour(number, span, -1), true);
    else if (event.key === "ArrowDown" && rows[number + 1]) select(wordsOf(number + 1).find(Boolean), true);
    else if (event.key === "ArrowUp" && rows[number - 1]) select(wordsOf(number - 1).find(Boolean), true);
    else if (event.key === "Home") select(wordsOf(0).find(Boolean), true);
    else if (event.key === "End") select(wordsOf(rows.length - 1).findLast(Boolean), true);
    else return;
    event.preventDefault();
  });
  document.addEventListener("click", (event) => select(event.target.closest?.(".w"), false));
  if (rows.length) select(wordsOf(0).find(Boolean), false);

  document.querySelector(".controls").hidden = false;
  for (const cursor of cursors) cursor.hidden = false;
  seek(Number(fragment.get("t")) || 0, Boolean(fragment.get("t")));
  body.dataset.ready = "player";
})();
