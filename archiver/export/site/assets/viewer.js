// The viewer: shows a tile of the page in a dialog that fills the window, and walks through the others. Without it, or in a browser
// that knows no dialog, a tile is what it is written as: a link to its file. It makes no request but for the files of the tiles, and
// no markup from text: it copies elements and sets attributes.
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

  // A browser lets a page play sound only after its reader has touched it: until then the video waits for a key.
  function play(player) {
    player.play().catch(() => {});
  }

  function show(index) {
    at = Math.max(0, Math.min(index, tiles.length - 1));
    const tile = tiles[at];
    const item = tile.closest(".item");
    const shown = medium(tile);
    part("media").replaceChildren(shown);
    part("facts").replaceChildren(...item.querySelector(".facts").cloneNode(true).childNodes);
    part("position").textContent = `${tile.dataset.shows === "video" ? "Video" : "Photo"} ${at + 1} of ${tiles.length}`;
    part("file").href = tile.href;
    part("back").setAttribute("aria-disabled", String(at === 0));
    part("on").setAttribute("aria-disabled", String(at === tiles.length - 1));
    dialog.querySelector(".told").scrollTop = 0;
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

  // A viewer that is opened on this page gets an entry of its own in the history, so that Back closes it, and
  // Forward opens it again. The entry says that the page without the viewer is the one before it.
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

  // Of the whole document, since the focus is not always in the dialog: see hold. In the capture phase: a focused video would take the
  // arrows for itself.
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

  for (const [name, act] of [["close", () => dialog.close()], ["back", () => go(at - 1)], ["on", () => go(at + 1)]]) {
    part(name).addEventListener("click", (event) => {
      act();
      if (event.detail > 0 && dialog.open) stage.focus(); // by mouse or finger: the space bar stays with the video
    });
  }

  dialog.addEventListener("close", () => {
    part("media").replaceChildren(); // a video that nobody sees must fall silent
    if (location.hash === fragment(tiles[at])) leave();
    tiles[at].focus();
  });

  // Closed by a key, a button or a finger: the address is that of the page again. The viewer's own entry is
  // left by going back, so that Back does not lead into it again; one that a link led to has another page
  // before it, and is changed.
  function leave() {
    if (history.state?.viewer) {
      leaving = true;
      setTimeout(() => { leaving = false; }, 1000); // should there be nothing to go back to
      history.back();
    } else {
      history.replaceState(null, "", location.href.split("#")[0]);
    }
  }

  // Back scrolls to where the page was when the viewer was opened: the last item may be elsewhere.
  addEventListener("popstate", () => {
    leaving = false;
    follow();
    if (!dialog.open) requestAnimationFrame(() => tiles[at].scrollIntoView({ block: "nearest" }));
  });

  // A swipe: sideways to the next or the previous one, down to close. Not over the controls of a video.
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

  // A browser that follows a link to a part of a page takes the focus there some frames later, after the load too, and leaves it to
  // nobody where that part is behind the dialog.
  function hold() {
    const back = () => { if (dialog.open && !dialog.contains(document.activeElement)) stage.focus(); };
    requestAnimationFrame(() => requestAnimationFrame(back));
  }

  // The address names an item of this page, by a link from anywhere, by Back or by Forward: it opens. If it
  // names none, nothing is open.
  function follow() {
    const index = tiles.findIndex((tile) => fragment(tile) === location.hash);
    if (index < 0) {
      dialog.close();
      return;
    }
    if (dialog.open) go(index);
    else open(index);
    hold();
  }
  addEventListener("hashchange", follow);
  addEventListener("load", hold);
  follow();
})();
