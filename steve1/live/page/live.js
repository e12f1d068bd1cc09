// The page of a session: shows its frames and state, and sends what the person does. steve1/live/protocol.py has the messages.
"use strict";
const WORDS = {
  en: {
    help: "Keys", policy: "policy", person: "person", recorded: "recorded", similarity: "goal similarity", prompt: "Prompt", send: "Ask",
    guidance: "guidance", temperature: "temperature", sensitivity: "mouse speed", takes: "Recordings", happened: "What happened", close: "Close",
    takeOver: "Take over", handBack: "Hand back", record: "Record", stop: "Stop and keep", redo: "Redo", discard: "Discard", pause: "Pause",
    resume: "Resume", step: "One tick", world: "New world", forget: "Clear memory", film: "Film", filming: "End film", finish: "Finish",
    live: "Back to now", looking: "Looking back", paused: "Paused", clickResume: "Click or F8 to resume", waiting: "Connecting …", lost: "The connection is lost",
    lostText: "All keys are released and the game is paused. This page tries again.", play: "Click to play", playText: "Esc gives the mouse back",
    watching: "You are watching; somebody else is at the controls.", control: "Take the controls", none: "none yet", asking: "now", noPrompt: "no prompt: unconditioned policy",
    sureFinish: "End the session? What is recorded is kept.", over: "The session is over.", overText: "Its recordings are kept; the console says what comes next.",
    earlier: "This page belongs to an earlier session", earlierText: "Open the new address, which the console printed.",
    success: "success", failure: "no success", plain: "not judged", alone: "you play",
    escape: "Esc always gives the mouse back. In menus the mouse moves the pointer; E closes them.",
    keys: [["W A S D", "walk"], ["Space, Shift", "jump, sneak"], ["R", "sprint"], ["mouse, arrow keys", "look, or move the pointer in a menu"], ["left, right button; C, V", "dig or hit, place or use"],
      ["1–9, wheel", "hotbar"], ["E, Q", "inventory, drop"], ["F1", "this list"], ["F2", "record; stop and keep"], ["F3", "redo: discard, same place, record again"],
      ["F4", "take over; hand back"], ["F7", "discard the recording"], ["F8", "pause; resume"], ["F9", "one tick"], ["Enter", "type a prompt"]],
    events: { prompt: "asked", take_over: "you took over", hand_back: "handed back", record: "recording", kept: "kept", discarded: "discarded", world: "new world", reset_agent: "memory cleared",
      died: "the game crashed", ended: "the episode ended", film: "filming", filmed: "film saved", finished: "finished" },
  },
  zh: {
    help: "按键", policy: "策略", person: "人", recorded: "已录制", similarity: "目标相似度", prompt: "提示词", send: "执行",
    guidance: "引导强度", temperature: "温度", sensitivity: "鼠标速度", takes: "录像", happened: "经过", close: "关闭",
    takeOver: "接管", handBack: "交还", record: "录制", stop: "停止并保留", redo: "重来", discard: "丢弃", pause: "暂停",
    resume: "继续", step: "单步", world: "换个世界", forget: "清空记忆", film: "录视频", filming: "结束视频", finish: "结束",
    live: "回到现在", looking: "回看", paused: "已暂停", clickResume: "点击或按 F8 继续", waiting: "正在连接……", lost: "连接已断开",
    lostText: "所有按键已松开，游戏已暂停。页面会自动重连。", play: "点击开始操作", playText: "按 Esc 释放鼠标",
    watching: "你在观看，别人正在操作。", control: "取得控制", none: "还没有", asking: "当前", noPrompt: "没有提示词：策略没有目标",
    sureFinish: "结束会话？已录制的内容会保留。", over: "会话已结束。", overText: "录像已保留；下一步见终端。",
    earlier: "此页面属于之前的会话", earlierText: "请打开终端打印的新网址。",
    success: "成功", failure: "没有成功", plain: "未评判", alone: "由你操作",
    escape: "Esc 总会释放鼠标。打开菜单时鼠标移动指针，按 E 关闭菜单。",
    keys: [["W A S D", "行走"], ["空格、Shift", "跳跃、潜行"], ["R", "疾跑"], ["鼠标、方向键", "转动视角；菜单中移动指针"], ["左键、右键；C、V", "挖掘或攻击、放置或使用"],
      ["1–9、滚轮", "快捷栏"], ["E、Q", "背包、丢弃"], ["F1", "本列表"], ["F2", "录制；停止并保留"], ["F3", "重来：丢弃，回到起点，重新录制"],
      ["F4", "接管；交还"], ["F7", "丢弃当前录像"], ["F8", "暂停；继续"], ["F9", "单步"], ["Enter", "输入提示词"]],
    events: { prompt: "提示词", take_over: "你接管了", hand_back: "已交还", record: "开始录制", kept: "已保留", discarded: "已丢弃", world: "新的世界", reset_agent: "记忆已清空",
      died: "游戏崩溃", ended: "这一局结束", film: "开始录视频", filmed: "视频已保存", finished: "已结束" },
  },
};
const PLAY_KEYS = new Set(["KeyW", "KeyA", "KeyS", "KeyD", "Space", "ShiftLeft", "KeyR", "KeyQ", "KeyE", "KeyF", "KeyC", "KeyV",
  "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", ...Array.from({ length: 9 }, (_, n) => `Digit${n + 1}`)]);
const screen_ = at("screen"), canvas = at("game");
let words = WORDS.en, state = null, socket = null, tick = 0, looking = null, over = false, earlier = false;
const person = { down: new Set(), pressed: [], dx: 0, dy: 0, wheel: 0, dirty: false, sent: 0 };
const nearness = [];

// ---- the connection ----
const linked = () => Boolean(socket) && socket.readyState === WebSocket.OPEN;
function send(what, more = {}) {
  if (linked()) socket.send(JSON.stringify({ do: what, ...more }));
}
function connect() {
  socket = opened(told, pictured);
  let begun = false;
  socket.onopen = () => { begun = true; video.begin(); };
  socket.onclose = async () => {
    release(false); video.end();
    if (document.pointerLockElement) document.exitPointerLock();
    over = over || Boolean(state && state.events.some(event => event.kind === "finished"));
    if (state) shown(); else veil();  // what cannot be said to the session cannot be pressed
    if (!begun) earlier = await belongsToEarlier();
    if (earlier) veil();
    else if (!over) setTimeout(connect, 1000);
  };
}
async function belongsToEarlier() {  // a session that has begun since has another token
  try { return (await fetch(location.href, { cache: "no-store" })).status === 403; }
  catch (_) { return false; }  // nobody answers
}
function told(message) {
  if (message.kind === "state") { state = message; shown(); }
  else if (message.kind === "refused" && message.text !== "watching") note(message.text, "error", 15000);  // who watches is told beside the title
}
function pictured(header, bytes) {
  if (header.kind === "frame") framed(header);
  if (header.codec) video.push(header, bytes);
  else decoded(bytes).then(picture => painted(picture, header.tick, header.kind === "past"));
}
const newest = document.createElement("canvas");  // the game's last picture, also while one looks back
function painted(picture, tick_, past) {
  if (!past) { drawn(newest, picture); newest.dataset.tick = tick_; }
  if (past === (looking !== null)) { drawn(canvas, picture, !past); document.body.dataset.painted = tick_; }
  picture.close();
}

// ---- H.264, where this browser decodes it; JPEGs otherwise ----
const video = {
  decoder: null, ticks: new Map(), number: 0, waits: true,  // `waits`: for a key frame
  async begin() {
    if (!globalThis.VideoDecoder) return;
    const { supported } = await VideoDecoder.isConfigSupported({ codec: "avc1.42c01e", codedWidth: 640, codedHeight: 360, optimizeForLatency: true }).catch(() => ({}));
    if (supported) this.restart();
  },
  restart() { this.waits = true; send("video", { on: true }); },
  end() { if (this.decoder && this.decoder.state !== "closed") this.decoder.close(); this.decoder = null; this.ticks.clear(); this.waits = true; },
  fail() { this.end(); send("video", { on: false }); },
  push(header, bytes) {
    if (header.key) this.open(header.codec);
    if (this.waits || !this.decoder) return;
    if (this.decoder.decodeQueueSize > 8) { this.restart(); return; }  // this browser is slow: what comes before the next key frame is left out
    this.ticks.set(++this.number, header.tick);
    try { this.decoder.decode(new EncodedVideoChunk({ type: header.key ? "key" : "delta", timestamp: this.number, data: bytes })); }
    catch (_) { this.fail(); }
  },
  open(codec) {
    this.end();
    this.decoder = new VideoDecoder({ output: picture => this.out(picture), error: () => this.fail() });
    this.decoder.configure({ codec, optimizeForLatency: true });
    this.waits = false;
  },
  out(picture) {
    const tick_ = this.ticks.get(picture.timestamp);
    this.ticks.delete(picture.timestamp);
    painted(picture, tick_, false);
    document.body.dataset.video = "h264";
  },
};

// ---- what there is to see ----
const clock = ticks => `${Math.floor(ticks / 1200)}:${String(Math.floor(ticks / 20) % 60).padStart(2, "0")}`;
const text = (id, what) => { if (at(id).textContent !== what) at(id).textContent = what; };
function framed(header) {
  tick = header.tick;
  text("clock", clock(tick));
  text("rec", clock(header.recorded ?? 0));
  for (const [, name] of CAPS) {
    at(`cap-${name}`).classList.toggle("on", header.pressed.includes(name));
    at(`cap-${name}`).classList.toggle("wish", Boolean(header.proposal && header.proposal.includes(name)));
  }
  const [pitch, yaw] = header.camera, size = Math.hypot(pitch, yaw), reach = size ? 20 * Math.sqrt(Math.min(size, 10) / 10) / size : 0;
  at("needle").setAttribute("x2", yaw * reach); at("needle").setAttribute("y2", pitch * reach);
  if (header.similarity !== null && tick % 2 === 0) {
    nearness.push(header.similarity);
    if (nearness.length > 120) nearness.shift();
    const low = Math.min(...nearness), high = Math.max(...nearness, low + 0.05);
    at("curve").firstElementChild.setAttribute("points", nearness.map((value, n) => `${n},${32 - 30 * (value - low) / (high - low)}`).join(" "));
  }
  at("near").querySelector("output").textContent = header.similarity === null ? "–" : header.similarity.toFixed(2);
  const scrub = at("scrub");
  scrub.max = tick;
  if (looking === null) scrub.value = tick;
  if (tick % 10 === 0) timeline();
}
function shown() {
  words = WORDS[state.language] || WORDS.en;
  document.documentElement.lang = state.language;
  translate(words);
  const mine = !over && linked() && state.controls === "you", person_ = state.who === "person";
  text("title", `${state.title} · ${state.env}`);
  document.title = `${state.title} · STEVE-1`;
  at("who").className = `pill ${state.who}`;
  text("who", state.policy ? words[state.who] : words.alone);
  at("rec").hidden = !state.recording;  // also while paused, when no frame comes
  if (!state.recording) text("rec", clock(0));
  label("take", person_ ? words.handBack : words.takeOver, "F4", mine && state.policy);
  label("record", state.recording ? words.stop : words.record, "F2", mine);
  at("record").classList.toggle("on", state.recording);
  label("redo", words.redo, "F3", mine);
  label("discard", words.discard, "F7", mine && state.recording);
  label("pause", state.paused ? words.resume : words.pause, "F8", mine);
  label("step", words.step, "F9", mine);
  label("world", words.world, "", mine);
  label("forget", words.forget, "", mine && state.policy);
  label("film", state.filming ? words.filming : words.film, "", mine);
  label("finish", words.finish, "", mine);
  at("speed").disabled = !mine; at("speed").value = String(state.speed);
  at("control").hidden = over || !linked() || state.controls !== "nobody"; text("control", words.control);
  text("link", linked() && state.controls === "other" ? words.watching : "");
  text("now", words.live);
  at("near").hidden = !state.policy;
  at("now-prompt").replaceChildren(...(state.prompt ? [`${words.asking}: `, make("b", state.prompt)] : [state.policy ? words.noPrompt : ""]), state.note ? ` — ${state.note}` : "");
  at("prompt").disabled = !mine; at("ask").querySelector("button").disabled = !mine;
  slider("guidance", state.guidance, mine); slider("temperature", state.temperature, mine);
  suggest();
  for (const chip of at("chips").children) chip.disabled = !mine;
  const takes = state.takes.map(take => {
    const result = take.success === null ? make("span", words.plain) : make("span", `${take.success ? words.success : words.failure} (${take.value})`, take.success ? "yes" : "no");
    return make("li", [make("b", take.prefix), make("span", clock(take.ticks), "nums"), result]);
  });
  at("takes").replaceChildren(...(takes.length ? takes.reverse() : [make("li", words.none, "empty")]));
  at("events").replaceChildren(...state.events.slice(-60).reverse().map(event => make("li", [make("time", clock(event.tick)), make("b", `${words.events[event.kind] || event.kind}${event.text ? `: ${event.text}` : ""}`)])));
  for (const notice of state.notices.splice(0)) tell(notice);
  timeline(); veil();
}
function label(id, name, key, enabled) {
  const button = at(id);
  button.replaceChildren(name, ...(key ? [make("kbd", key)] : []));
  button.disabled = !enabled;
}
function slider(id, value, mine) {
  const row = at(`${id}-row`), input = at(id);
  row.hidden = value === null;
  input.disabled = !mine;
  if (value === null) return;
  const held = document.activeElement === input;  // what is being dragged is not moved
  if (!held) {
    input.min = Math.min(input.min, value); input.max = Math.max(input.max, value);  // of weights that play beyond the usual
    input.value = value;
  }
  row.querySelector("output").textContent = Number(held ? input.value : value).toFixed(input.step < 0.1 ? 2 : 1);  // the slider has steps, the value may lie between
}
function suggest() {
  const texts = state.prompts.map(prompt => prompt[state.language] || prompt.en);
  if (!at("chips").childElementCount) at("chips").replaceChildren(...texts.map(prompt => Object.assign(make("button", prompt), { type: "button", onclick: () => ask(prompt) })));
  const all = [...new Set([...asked().reverse(), ...state.prompts.flatMap(({ task, ...each }) => Object.values(each))])];
  if (all.join("\n") === [...at("known").children].map(each => each.value).join("\n")) return;
  at("known").replaceChildren(...all.map(value => Object.assign(document.createElement("option"), { value })));
}
const typed = [];
let stepsBack = 0;
function asked() {  // the session's prompts and those typed here, each once, the newest last
  const all = [...state.events.filter(event => event.kind === "prompt").map(event => event.text), ...typed];
  return [...new Set(all.reverse())].reverse();
}
at("prompt").addEventListener("keydown", event => {
  const step = { ArrowUp: 1, ArrowDown: -1 }[event.code], all = state ? asked() : [];
  if (!step || event.isComposing || at("prompt").value !== (stepsBack ? all.at(-stepsBack) : "")) return;  // what is being typed has suggestions
  event.preventDefault();
  stepsBack = Math.max(0, Math.min(all.length, stepsBack + step));
  at("prompt").value = stepsBack ? all.at(-stepsBack) : "";
});
let toldBefore = 0;
function tell({ number, level, text }) {
  if (number <= toldBefore) return;
  toldBefore = number;
  note(text, level, level === "note" ? 8000 : 15000);
}
function timeline() {
  if (!state) return;
  const end = Math.max(tick, 1), x = value => (1000 * value / end).toFixed(1), parts = [];
  const box = (from, to, y, height, name) => parts.push(`<rect class="${name}" x="${x(from)}" y="${y}" width="${Math.max(0.5, x(to) - x(from))}" height="${height}"/>`);
  let who = state.events.length ? state.events[0].who : state.who, from = 0, taken = null;
  for (const event of state.events) {
    if (event.kind === "take_over" || event.kind === "hand_back") {
      box(from, event.tick, 10, 12, who);
      [from, who] = [event.tick, event.kind === "take_over" ? "person" : "policy"];
    }
    if (event.kind === "record") taken = event.tick;
    if ((event.kind === "kept" || event.kind === "discarded") && taken !== null) { if (event.kind === "kept") box(taken, event.tick, 24, 4, "taken"); taken = null; }
    if (event.kind === "prompt") parts.push(`<line class="asked" x1="${x(event.tick)}" x2="${x(event.tick)}" y1="2" y2="22"/>`);
  }
  box(from, end, 10, 12, who);
  if (taken !== null) box(taken, end, 24, 4, "taken");
  at("timeline").innerHTML = parts.join("");
}
function veil() {
  const open = linked(), mine = state && state.controls === "you";
  const says = earlier ? [words.earlier, words.earlierText] : over ? [words.over, words.overText] : !open ? (state ? [words.lost, words.lostText] : [words.waiting, ""])
    : looking !== null ? [`${words.looking} ${clock(looking)}`, words.live]
    : state && state.paused ? [words.paused, mine ? words.clickResume : ""]
    : state && mine && state.who === "person" && !locked() && !byKeys ? [words.play, words.playText] : null;
  at("veil").classList.toggle("off", !says);
  at("veil").style.background = looking !== null ? "none" : "";
  if (says) { text("veil-title", says[0]); text("veil-text", says[1]); }
}

// ---- what the person does ----
let byKeys = false;  // whoever plays by the keyboard alone sees the game, and no request to click
const locked = () => document.pointerLockElement === screen_;
const acts = () => state && state.controls === "you" && state.who === "person" && looking === null;
const plays = () => acts() && !state.paused;  // while paused, what is held counts for "one tick"; a click resumes
function release(tellIt = true) {
  person.down.clear(); person.pressed = []; person.dx = person.dy = person.wheel = 0; person.dirty = false;
  if (tellIt) send("input", { down: [], pressed: [], dx: 0, dy: 0, wheel: 0 });
}
function pump(now) {
  if (acts() && (person.dirty || (person.down.size && now - person.sent > 250))) {
    const most = value => Math.max(-1e5, Math.min(1e5, value));
    send("input", { down: [...person.down], pressed: person.pressed.slice(0, 32), dx: most(person.dx), dy: most(person.dy), wheel: Math.max(-100, Math.min(100, person.wheel)) });
    Object.assign(person, { pressed: [], dx: 0, dy: 0, wheel: 0, dirty: false, sent: now });
  }
}
setInterval(() => pump(performance.now()), 16);
function press(name) {
  if (!person.down.has(name)) { person.down.add(name); person.pressed.push(name); person.dirty = true; }
}
function letGo(name) {
  if (person.down.delete(name)) person.dirty = true;
}
async function lock() {
  if (locked() || !screen_.requestPointerLock) return;
  try { await screen_.requestPointerLock({ unadjustedMovement: true }); }
  catch (fault) { if (fault.name === "NotSupportedError") try { await screen_.requestPointerLock(); } catch (_) { /* refused: keys still work */ } }
}
document.addEventListener("pointerlockchange", () => {
  screen_.classList.toggle("locked", locked());
  if (!locked()) { release(); byKeys = false; }
  veil();
});
screen_.addEventListener("click", () => {
  screen_.focus();
  if (looking !== null) back();
  else if (state && state.controls === "you" && state.paused) { send("resume"); if (state.who === "person") lock(); }
  else if (plays()) lock();
});
screen_.addEventListener("mousedown", event => { if (plays() && locked()) { press(`Mouse${event.button}`); event.preventDefault(); } });
addEventListener("mouseup", event => letGo(`Mouse${event.button}`));
screen_.addEventListener("contextmenu", event => event.preventDefault());
addEventListener("mousemove", event => {
  if (!acts() || !locked()) return;
  const speed = Number(at("sensitivity").value);
  person.dx += event.movementX * speed; person.dy += event.movementY * speed; person.dirty = true;
});
screen_.addEventListener("wheel", event => {
  if (!acts()) return;
  person.wheel += Math.sign(event.deltaY); person.dirty = true; event.preventDefault();
}, { passive: false });
const typing = () => document.activeElement && (document.activeElement.matches("input:not([type=range]), select") || at("keys-help").open);
const clickOf = { F2: "record", F3: "redo", F4: "take", F7: "discard", F8: "pause", F9: "step" };
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;  // Alt+F4 is no F4
  if (event.code === "F1") { event.preventDefault(); help(); return; }
  if (clickOf[event.code]) { event.preventDefault(); if (!event.repeat && !at(clickOf[event.code]).disabled) at(clickOf[event.code]).click(); return; }
  if (typing()) return;
  if (acts() && PLAY_KEYS.has(event.code) && !belongsToFocus(event.code)) {
    event.preventDefault();
    if (!event.repeat) press(event.code);
    if (!byKeys) { byKeys = true; veil(); }
  } else if (event.code === "Enter" && document.activeElement.tagName !== "BUTTON") { event.preventDefault(); at("prompt").focus(); }
});
addEventListener("keyup", event => letGo(event.code));
addEventListener("blur", () => release());
document.addEventListener("visibilitychange", () => { if (document.hidden && plays()) { release(); send("pause"); } });
function help() { if (at("keys-help").open) at("keys-help").close(); else { release(); if (locked()) document.exitPointerLock(); at("keys-help").showModal(); } }

// ---- commands ----
function ask(text) {
  const prompt = plain(text);
  at("prompt").value = ""; stepsBack = 0;
  if (!prompt) return;
  typed.push(prompt);
  if (state) suggest();
  send("prompt", { text: prompt });
}
at("ask").addEventListener("submit", event => { event.preventDefault(); ask(at("prompt").value); screen_.focus(); });
at("take").onclick = () => { const mine = state.who === "person"; send(mine ? "hand_back" : "take_over"); screen_.focus(); if (mine && locked()) document.exitPointerLock(); if (!mine) lock(); };
at("record").onclick = () => send(state.recording ? "stop" : "record");
at("pause").onclick = () => send(state.paused ? "resume" : "pause");
for (const [id, what] of [["redo", "redo"], ["discard", "discard"], ["step", "step"], ["world", "reset_world"], ["forget", "reset_agent"], ["film", "film"], ["control", "control"]]) at(id).onclick = () => send(what);
at("finish").onclick = () => { release(); if (confirm(words.sureFinish) && linked()) { over = true; send("finish"); } };
at("speed").onchange = () => send("speed", { value: Number(at("speed").value) });
for (const id of ["guidance", "temperature"]) at(id).oninput = () => { at(`${id}-row`).querySelector("output").textContent = Number(at(id).value).toFixed(at(id).step < 0.1 ? 2 : 1); send(id, { value: Number(at(id).value) }); };
at("sensitivity").oninput = () => { at("sensitivity").nextElementSibling.textContent = Number(at("sensitivity").value).toFixed(1); };
at("scrub").oninput = () => {
  looking = Number(at("scrub").value);
  if (looking >= tick) { back(); return; }
  release(); at("now").hidden = false; send("look", { tick: looking }); veil();
};
function back() {
  looking = null; at("now").hidden = true; at("scrub").value = tick; veil();
  if (newest.dataset.tick) { drawn(canvas, newest); document.body.dataset.painted = newest.dataset.tick; }
}
at("now").onclick = back;
at("help").onclick = help;

const described = () => at("keys-help").querySelector("dl").replaceChildren(...words.keys.flatMap(([key, what]) => [make("dt", key), make("dd", what)]));
at("keys-help").addEventListener("toggle", described); new MutationObserver(described).observe(at("keys-help"), { attributes: true });
at("sensitivity").oninput();
translate(words);
veil(); connect();
