// Shows what the server sends while the page is open: every element with the id of a sent one becomes like it.
"use strict";

const connection = document.getElementById("connection");
const source = new EventSource(document.body.dataset.live);

source.addEventListener("open", () => { connection.textContent = ""; });
source.addEventListener("error", () => { connection.textContent = " · no connection, trying again"; });
source.addEventListener("message", (event) => {
  const sent = new DOMParser().parseFromString(event.data, "text/html");
  for (const element of sent.querySelectorAll("[id]")) {
    const shown = document.getElementById(element.id);
    if (shown) become(shown, element);
  }
});
addEventListener("pagehide", () => source.close());
// A page that the browser kept has a closed connection.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

// Changes what differs and leaves the rest, with its focus and selection.
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
  while (shown.childNodes.length > children.length) shown.lastChild.remove();
  children.forEach((child, at) => {
    const old = shown.childNodes[at];
    if (!old) shown.append(document.importNode(child, true));
    else if (old.nodeName === child.nodeName) become(old, child);
    else old.replaceWith(document.importNode(child, true));
  });
}
