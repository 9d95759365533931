// Shows what the server sends while the page is open: every element with the id of a sent one becomes like it.
"use strict";

const connection = document.getElementById("connection");
const retryAfter = 5000;
let source = null;

// A browser has few connections to a server: only pages that show what changes have one, while they are seen.
function isNeeded() {
  return document.querySelector("[data-moves]") && document.visibilityState === "visible";
}

function open() {
  if (source || !isNeeded()) return;
  source = new EventSource(document.body.dataset.live);
  source.addEventListener("open", () => { connection.textContent = ""; });
  source.addEventListener("message", show);
  source.addEventListener("error", () => {
    connection.textContent = " · no connection, trying again";
    // After an answer that is no stream, the browser does not try again.
    if (source && source.readyState === EventSource.CLOSED) {
      close();
      setTimeout(open, retryAfter);
    }
  });
}

function close() {
  if (source) source.close();
  source = null;
}

function show(event) {
  const sent = new DOMParser().parseFromString(event.data, "text/html");
  for (const element of sent.querySelectorAll("[id]")) {
    const shown = document.getElementById(element.id);
    if (shown) become(shown, element);
  }
}

// Changes what differs and leaves the rest. What has an id stays itself, wherever it moves.
function become(shown, sent) {
  if (shown.nodeType !== Node.ELEMENT_NODE) {
    if (shown.data !== sent.data) shown.data = sent.data;
    return;
  }
  for (const { name } of [...shown.attributes]) {
    if (!sent.hasAttribute(name)) shown.removeAttribute(name);
  }
  for (const { name, value } of sent.attributes) {
    if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  }
  const children = [...sent.childNodes];
  children.forEach((child, at) => {
    const old = (child.id && [...shown.children].find((one) => one.id === child.id)) || shown.childNodes[at];
    if (!old) shown.append(document.importNode(child, true));
    else if (old.nodeName === child.nodeName && (old.id || "") === (child.id || "")) {
      if (old !== shown.childNodes[at]) shown.insertBefore(old, shown.childNodes[at]);
      become(old, child);
    } else if (old.id) shown.insertBefore(document.importNode(child, true), shown.childNodes[at]);
    else old.replaceWith(document.importNode(child, true));
  });
  while (shown.childNodes.length > children.length) shown.lastChild.remove();
}

document.addEventListener("visibilitychange", () => { if (isNeeded()) open(); else close(); });
addEventListener("pagehide", close);
addEventListener("pageshow", open);
open();
