// The viewer shows a tile of the page in a dialog that fills the window, and moves to the other tiles.
// Without it, or in a browser without dialogs, a tile is a link to its file. It requests only the files of
// the tiles, and makes no markup from text: it copies elements and sets attributes.
"use strict";

(() => {
  const dialog = document.getElementById("viewer");
  const tiles = [...document.querySelectorAll("a.tile")];
  if (!dialog || !dialog.showModal || tiles.length === 0) return;

  const part = (name) => dialog.querySelector(`[data-part="${name}"]`);
  const stage = part("stage");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let at = 0;

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
    player.controls = true;
    player.playsInline = true;
    player.preload = "auto";
    if (poster) {
      player.poster = poster.src;
      player.setAttribute("aria-label", poster.alt);
    }
    player.src = tile.href;
    return player;
  }

  // Browsers allow sound only after the reader has used the page. Until then the video does not start by
  // itself.
  function play(player) {
    player.play().catch(() => {});
  }

  function show(index) {
    at = Math.max(0, Math.min(index, tiles.length - 1));
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
    dialog.querySelector(".panel").scrollTop = 0;
    dialog.style.setProperty("--part", String((at + 1) / tiles.length));
    history.replaceState(history.state, "", fragment(tile));
    if (shown instanceof HTMLVideoElement && !calm.matches) play(shown);
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
    if (!player) return false;
    if (player.paused) play(player);
    else player.pause();
    return true;
  }

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
    if (keys[event.key]) {
      event.preventDefault();
      event.stopPropagation();
      keys[event.key]();
    } else if (event.key === " " && !event.target.closest("button, a, video") && toggle()) {
      event.preventDefault();
    }
  }, true);

  const buttons = { close: () => dialog.close(), previous: () => go(at - 1), next: () => go(at + 1) };
  for (const [name, act] of Object.entries(buttons)) {
    part(name).addEventListener("click", (event) => {
      act();
      // After a click or touch, the space bar controls the video.
      if (event.detail > 0 && dialog.open) stage.focus();
    });
  }

  dialog.addEventListener("close", () => {
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

  // Swipe sideways for the next or previous item, down to close; not over the controls of a video.
  let from = null;
  stage.addEventListener("pointerdown", (event) => {
    const box = event.target instanceof HTMLVideoElement ? event.target.getBoundingClientRect() : null;
    const onControls = box && event.clientY > box.bottom - 72;
    from = event.isPrimary && event.pointerType !== "mouse" && !onControls ? event : null;
  });
  stage.addEventListener("pointercancel", () => { from = null; });
  stage.addEventListener("pointerup", (event) => {
    if (!from) return;
    const across = event.clientX - from.clientX;
    const down = event.clientY - from.clientY;
    from = null;
    if (Math.abs(across) > 48 && Math.abs(across) > 2 * Math.abs(down)) go(at + (across < 0 ? 1 : -1));
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
