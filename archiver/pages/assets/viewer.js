// The viewer shows a tile of the page in a dialog that fills the window, and moves to the other tiles.
// Without it, or in a browser without dialogs, a tile is a link to its file. It requests only the files of
// the tiles, and makes no markup from text: it copies elements and sets attributes. The macros grid and
// viewer of parts.html make what it expects.
"use strict";

(() => {
  const dialog = document.getElementById("viewer");
  const tiles = [...document.querySelectorAll("a.tile")];
  if (!dialog || !dialog.showModal || tiles.length === 0) return;

  const PHOTO_SECONDS = 6; // how long a photo is shown, if the viewer moves on after photos too
  const SEGMENTS = 60; // with more items the bar is one line: its parts would be too small to see on a phone
  const HOLD = 250; // milliseconds after which a press is no tap
  const SETTING = "archiver.viewer.moves";

  const part = (name) => dialog.querySelector(`[data-part="${name}"]`);
  const stage = part("stage");
  const panel = part("panel");
  const moves = part("moves");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let at = 0;
  let seconds = 0; // for how long the photo has been shown
  let isPaused = false; // a photo that the viewer would leave
  let isHeld = false;
  let isMuted = false;

  const fragment = (tile) => `#${tile.closest(".item").id}`;
  const picture = (tile) => tile.querySelector("img");
  const video = () => stage.querySelector("video");

  function medium(tile) {
    const poster = picture(tile);
    if (tile.dataset.shows === "picture") {
      const image = new Image();
      image.src = tile.href;
      image.alt = poster.alt;
      return image;
    }
    const player = document.createElement("video");
    player.playsInline = true;
    player.preload = "auto";
    if (poster) {
      player.poster = poster.src;
      player.setAttribute("aria-label", poster.alt);
    }
    player.src = tile.href;
    for (const name of ["play", "pause", "volumechange", "loadedmetadata", "seeked"]) {
      player.addEventListener(name, () => { if (player === video()) refresh(); });
    }
    player.addEventListener("ended", () => {
      if (player === video() && movesOn("video") && !isHeld && !isRead()) go(at + 1);
    });
    return player;
  }

  // Browsers allow sound only after the reader has used the page. Until then a video plays without it.
  function play(player) {
    player.muted = isMuted;
    player.play().catch((error) => {
      if (error.name !== "NotAllowedError" || player.muted) return;
      player.muted = true;
      player.play().catch(() => {});
    });
  }

  // The viewer moves on by itself after a video, and after photos if the reader wants it; never if the system
  // asks for less motion, and not from details that are being read.
  const movesOn = (kind) => !calm.matches && (moves.value === "all" || moves.value === kind);
  const isPhoto = () => tiles[at].dataset.shows === "picture";
  const isTimed = () => isPhoto() && movesOn("picture") && at + 1 < tiles.length;
  const isRead = () => document.activeElement === panel || part("details").contains(document.activeElement);
  const isPlaying = () => (video() ? !video().paused : isTimed() && !isPaused && !isHeld);

  // What is shown of time: the bar and the buttons. It is drawn for each frame while something plays.
  let drawnAt = 0;
  let isDrawing = false;

  function refresh() {
    const player = video();
    dialog.dataset.state = isPlaying() ? "playing" : player || isTimed() ? "paused" : "still";
    part("toggle").setAttribute("aria-label", isPlaying() ? "Pause" : "Play");
    dialog.dataset.sound = !player ? "none" : player.muted ? "off" : "on";
    part("sound").setAttribute("aria-pressed", String(Boolean(player && !player.muted)));
    fill();
    const focused = document.activeElement; // a button that this item does not have gives the focus back
    if (stage.contains(focused) && focused.offsetParent === null) stage.focus();
    if (isPlaying() && !isDrawing) {
      isDrawing = true;
      drawnAt = performance.now();
      requestAnimationFrame(draw);
    }
  }

  function draw(now) {
    isDrawing = dialog.open && isPlaying();
    if (!isDrawing) return;
    const image = stage.querySelector("img");
    if (image && image.complete && !isRead()) seconds += Math.max(0, Math.min(now - drawnAt, 100)) / 1000;
    drawnAt = now;
    fill();
    if (image && seconds >= PHOTO_SECONDS) go(at + 1);
    requestAnimationFrame(draw);
  }

  function fill() {
    const player = video();
    const shown = isTimed() ? seconds / PHOTO_SECONDS : 1;
    const played = player ? player.currentTime / player.duration || 0 : shown;
    const bar = part("bar");
    const isWhole = tiles.length > SEGMENTS;
    bar.style.setProperty("--part", String(Math.min(1, isWhole ? (at + played) / tiles.length : played)));
  }

  function mark() {
    const bar = part("bar");
    if (!bar.hasChildNodes()) {
      const segments = tiles.length > SEGMENTS ? 1 : tiles.length;
      bar.append(...Array.from({ length: segments }, () => document.createElement("span")));
    }
    const here = bar.children.length > 1 ? at : 0;
    [...bar.children].forEach((segment, index) => {
      segment.className = index < here ? "seen" : index === here ? "current" : "";
    });
  }

  function show(index) {
    at = Math.max(0, Math.min(index, tiles.length - 1));
    seconds = 0;
    isPaused = false;
    const tile = tiles[at];
    const item = tile.closest(".item");
    const shown = medium(tile);
    part("media").replaceChildren(shown);
    part("details").replaceChildren(...item.querySelector(".details").cloneNode(true).childNodes);
    const kind = tile.dataset.shows === "video" ? "Video" : "Photo";
    part("position").textContent = `${kind} ${at + 1} of ${tiles.length}`;
    part("file").href = tile.href;
    part("previous").setAttribute("aria-disabled", String(at === 0));
    part("next").setAttribute("aria-disabled", String(at === tiles.length - 1));
    panel.scrollTop = 0;
    mark();
    history.replaceState(history.state, "", fragment(tile));
    if (shown instanceof HTMLVideoElement && !calm.matches) play(shown);
    refresh();
    for (const near of [tiles[at + 1], tiles[at - 1]]) {
      if (near && picture(near)) new Image().src = picture(near).src;
    }
  }

  function go(index) {
    if (index >= 0 && index < tiles.length && index !== at) show(index);
  }

  function open(index) {
    show(index);
    dialog.showModal();
    stage.focus();
    refresh();
  }

  // A viewer that is opened on this page gets its own entry in the history, so that Back closes it and
  // Forward opens it again. The entry records that the one before it is the page without the viewer.
  let leaving = false;

  function enter(index) {
    if (leaving) {
      addEventListener("popstate", () => enter(index), { once: true });
      return;
    }
    history.pushState({ viewer: true }, "", fragment(tiles[index]));
    open(index);
  }

  function toggle() {
    const player = video();
    if (!player && !isTimed()) return false;
    if (!player) isPaused = !isPaused;
    else if (player.paused) play(player);
    else player.pause();
    refresh();
    return true;
  }

  function switchSound() {
    const player = video();
    isMuted = player ? !player.muted : !isMuted;
    if (player) player.muted = isMuted;
  }

  // The setting is remembered where the browser allows it.
  try {
    moves.value = localStorage.getItem(SETTING) ?? moves.value;
  } catch { /* not allowed */ }
  if (moves.selectedIndex < 0) moves.selectedIndex = 0;
  moves.addEventListener("change", () => {
    try {
      localStorage.setItem(SETTING, moves.value);
    } catch { /* not allowed */ }
    refresh();
  });
  function heedMotion() {
    moves.disabled = calm.matches;
    part("calm").hidden = !calm.matches;
    if (dialog.open) refresh();
  }
  calm.addEventListener("change", heedMotion);
  heedMotion();

  const keys = {
    ArrowLeft: () => go(at - 1),
    ArrowRight: () => go(at + 1),
    Home: () => go(0),
    End: () => go(tiles.length - 1),
  };

  // On the whole document, since the focus is not always in the dialog: see holdFocus. In the capture phase,
  // since a focused video would use the arrow keys itself.
  document.addEventListener("keydown", (event) => {
    if (!dialog.open) return;
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest("select")) return;
    if (keys[event.key]) {
      event.preventDefault();
      event.stopPropagation();
      keys[event.key]();
    } else if (event.key === " " && !event.target.closest("button, a") && toggle()) {
      event.preventDefault();
    }
  }, true);

  const buttons = {
    toggle,
    sound: switchSound,
    close: () => dialog.close(),
    previous: () => go(at - 1),
    next: () => go(at + 1),
  };
  for (const [name, act] of Object.entries(buttons)) {
    part(name).addEventListener("click", (event) => {
      act();
      // After a click or touch, the space bar pauses and plays.
      if (event.detail > 0 && dialog.open) stage.focus();
    });
  }

  dialog.addEventListener("close", () => {
    letGo();
    part("media").replaceChildren(); // stops a video
    if (location.hash === fragment(tiles[at])) leave();
    tiles[at].focus();
  });

  // After the viewer was closed by a key, a button or a swipe, the address is that of the page again. The
  // viewer's own entry is left by going back, so that Back does not open it again. An entry that was reached
  // by a link comes after another page, so it is changed instead.
  function leave() {
    if (history.state?.viewer) {
      leaving = true;
      setTimeout(() => { leaving = false; }, 1000); // in case there is nothing to go back to
      history.back();
    } else {
      history.replaceState(null, "", location.href.split("#")[0]);
    }
  }

  // Back scrolls to where the page was when the viewer was opened; the last item may be somewhere else.
  addEventListener("popstate", () => {
    leaving = false;
    follow();
    if (!dialog.open) requestAnimationFrame(() => tiles[at].scrollIntoView({ block: "nearest" }));
  });

  // As in stories: a tap goes on, or back on the left third; holding pauses until it is let go. A finger
  // swipes sideways for the next or previous item, and down to close.
  let press = null;

  function hold() {
    const player = video();
    press.isHold = isHeld = true;
    press.wasPlaying = Boolean(player && !player.paused);
    if (player) player.pause();
    dialog.dataset.held = "";
    refresh();
  }

  function letGo() {
    const before = press;
    press = null;
    if (!before) return null;
    clearTimeout(before.timer);
    if (before.isHold) {
      isHeld = false;
      delete dialog.dataset.held;
      if (before.wasPlaying && video()) play(video());
      refresh();
    }
    return before;
  }

  stage.addEventListener("pointerdown", (event) => {
    const isFirst = !press && event.isPrimary && event.button === 0;
    letGo(); // a second finger ends what the first began
    if (!isFirst) return;
    const { pointerId, clientX, clientY } = event;
    const isButton = Boolean(event.target.closest("button")); // a finger may swipe from there
    press = { pointerId, clientX, clientY, isButton, isFinger: event.pointerType !== "mouse" };
    if (isButton) return;
    press.timer = setTimeout(hold, HOLD);
    if (!press.isFinger) stage.setPointerCapture(pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (press && Math.hypot(event.clientX - press.clientX, event.clientY - press.clientY) > 12) {
      clearTimeout(press.timer);
      press.isMoved = true;
    }
  });
  stage.addEventListener("pointercancel", letGo);
  stage.addEventListener("contextmenu", (event) => { if (press?.isFinger) event.preventDefault(); });
  stage.addEventListener("dragstart", (event) => event.preventDefault());
  stage.addEventListener("pointerup", (event) => {
    const before = press?.pointerId === event.pointerId ? letGo() : null;
    if (!before || before.isHold) return;
    const across = event.clientX - before.clientX;
    const down = event.clientY - before.clientY;
    const box = stage.getBoundingClientRect();
    const isBack = event.clientX - box.left < box.width / 3;
    if (!before.isMoved && !before.isButton) go(at + (isBack ? -1 : 1));
    else if (!before.isMoved || !before.isFinger) return;
    else if (Math.abs(across) > 48 && Math.abs(across) > 2 * Math.abs(down)) go(at + (across < 0 ? 1 : -1));
    else if (down > 96 && down > 2 * Math.abs(across)) dialog.close();
  });

  tiles.forEach((tile, index) => {
    tile.addEventListener("click", (event) => {
      if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      enter(index);
    });
  });

  // A browser that follows a link to a part of a page moves the focus there some frames later, even after the
  // load event, and loses it if that part is behind the dialog.
  function holdFocus() {
    const back = () => { if (dialog.open && !dialog.contains(document.activeElement)) stage.focus(); };
    requestAnimationFrame(() => requestAnimationFrame(back));
  }

  // Open the item that the address names, after a link, Back or Forward. Close the viewer if it names none.
  function follow() {
    const index = tiles.findIndex((tile) => fragment(tile) === location.hash);
    if (index < 0) {
      dialog.close();
      return;
    }
    if (dialog.open) go(index);
    else open(index);
    holdFocus();
  }
  addEventListener("hashchange", follow);
  addEventListener("load", holdFocus);
  follow();
})();
