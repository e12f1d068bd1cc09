// What the pages of a session and of a dataset share: the connection's address, pictures in messages, and parts of a page.
"use strict";
const CAPS = [["W", "forward"], ["A", "left"], ["S", "back"], ["D", "right"], ["space", "jump"], ["shift", "sneak"], ["run", "sprint"], ["L", "attack"], ["R", "use"], ["E", "inventory"], ["Q", "drop"]];
const at = id => document.getElementById(id);
function opened(heard, pictured) {
  const place = new URL("socket", location.href);
  place.protocol = place.protocol === "https:" ? "wss:" : "ws:";
  place.search = location.search;
  const socket = new WebSocket(place);
  socket.binaryType = "arraybuffer";
  socket.onmessage = event => typeof event.data === "string" ? heard(JSON.parse(event.data)) : pictured(...unpacked(event.data));
  return socket;
}
function unpacked(data) {  // the header of a binary message, and its bytes
  const length = new DataView(data).getUint32(0);
  return [JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length))), new Uint8Array(data, 4 + length)];
}
const decoded = jpeg => createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
function drawn(canvas, picture, whole = true) {  // an ImageBitmap or a VideoFrame; `whole`: the canvas takes its size
  const size = [picture.displayWidth ?? picture.width, picture.displayHeight ?? picture.height];
  if (whole && (canvas.width !== size[0] || canvas.height !== size[1])) [canvas.width, canvas.height] = size;
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
}
function make(kind, content, name = "") {
  const element = document.createElement(kind);
  if (name) element.className = name;
  element.append(...(Array.isArray(content) ? content : [content]));
  return element;
}
// What is typed, as the server takes it: spaces of any width are plain ones, letters that nobody sees are left out.
const plain = text => text.replace(/[\p{Z}\t\n\r]/gu, " ").replace(/\p{C}/gu, "").trim();
function belongsToFocus(code) {  // Space presses a button, and arrows move a slider, that was reached by Tab
  const focus = document.activeElement;
  return focus && (code === "Space" ? focus.matches("button") : code.startsWith("Arrow") && focus.matches("input[type=range]"));
}
// What the mouse has used leaves the keys to the page: Space of a button, the arrows of a slider, all of a list.
let byMouse = false;
addEventListener("pointerdown", () => { byMouse = true; }, true);
addEventListener("keydown", () => { byMouse = false; }, true);
addEventListener("click", event => { if (event.detail) event.target.closest("button, input[type=range]")?.blur(); });
addEventListener("change", event => { if (byMouse && event.target.matches("input[type=range], select")) event.target.blur(); });
function note(text, name = "", milliseconds = 9000) {
  const told = make("p", text, name);
  at("notices").append(told);
  setTimeout(() => told.remove(), milliseconds);
}
function translate(words) {
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = words[element.dataset.text];
  for (const element of document.querySelectorAll("[data-placeholder]")) element.placeholder = words[element.dataset.placeholder];
}
at("keys").append(...CAPS.map(([name, button]) => Object.assign(make("span", name, "cap"), { id: `cap-${button}` })));
