// Searches the list of accounts while somebody types, and when the order changes. Without it, the form works.
// The server searches and sorts: a page has only a part of the list. accounts.js does it for an exported site,
// which has all accounts on one page and no server.
"use strict";

const finder = document.getElementById("finder");

// What a page of the list replaces in this one.
const parts = ["#found", ".cards", "#after"];
let waiting;
let running;

function address() {
  const fields = new URLSearchParams(new FormData(finder));
  return `${location.pathname}?${fields}`;
}

// XMLHttpRequest parses the page without running or loading anything in it.
function load(url) {
  running?.abort();
  const request = new XMLHttpRequest();
  running = request;
  request.open("GET", url);
  request.responseType = "document";
  request.addEventListener("load", () => {
    const found = request.response;
    if (request.status !== 200 || !found?.getElementById("finder")) {
      location.assign(url); // logged out, or the server has a message
      return;
    }
    for (const part of parts) {
      document.querySelector(part).replaceChildren(...found.querySelector(part).childNodes);
    }
    history.replaceState(null, "", url);
  });
  request.addEventListener("error", () => {
    document.querySelector("#found").textContent = "The server does not answer.";
  });
  request.send();
}

function search(delay) {
  clearTimeout(waiting);
  waiting = setTimeout(() => load(address()), delay);
}

finder.addEventListener("submit", (event) => {
  event.preventDefault();
  search(0);
});
finder.elements.q.addEventListener("input", () => search(150));
finder.elements.sort.addEventListener("change", () => search(0));
