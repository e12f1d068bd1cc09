// The page on which episodes are judged: plays them with their actions, marks and cuts them. steve1/live/protocol.py has the messages.
"use strict";
const WORDS = {
  en: { hint: "Space plays, G good, B bad, [ from here, ] to here, ↑ ↓ episodes", play: "Play", pause: "Pause", good: "Good", bad: "Bad", from: "From here", to: "To here", whole: "Whole",
    caption: "Caption", weight: "Weight", write: "Write the list", name: "name of the sampling list", judged: "judged", context: "policy: only context", replace: "This list exists. Replace it?",
    written: w => `${w.list}: ${w.kept} episodes, ${w.left_out} left out, ${w.cut} cut. Next: ${w.command}`, lost: "The connection is lost; what you judge now would not be kept. Reload this page; if nothing answers, start the command again and open the address that it prints.",
    badWeight: "A weight is a number from 0 to 1,000,000." },
  zh: { hint: "空格播放，G 好，B 坏，[ 从这里，] 到这里，↑ ↓ 换片段", play: "播放", pause: "暂停", good: "好", bad: "坏", from: "从这里", to: "到这里", whole: "整段",
    caption: "描述", weight: "权重", write: "写出列表", name: "采样列表的名字", judged: "已评判", context: "策略操作：只作上下文", replace: "这个列表已存在。替换吗？",
    written: w => `${w.list}：${w.kept} 个片段，去掉 ${w.left_out} 个，截取 ${w.cut} 个。下一步：${w.command}`, lost: "连接已断开，现在的评判不会保留。请刷新页面；若没有响应，请重新运行命令，并打开它打印的网址。",
    badWeight: "权重应为 0 到 1,000,000 的数。" },
};
const KEPT = 400;  // pictures to each side of the present one
let words = WORDS.en, rows = [], now = 0, frame = 0, playing = false, frames = new Map(), asked = new Set();
const socket = opened(message => {
  if (message.kind === "episodes") { rows = message.rows; words = WORDS[message.language] || WORDS.en; document.documentElement.lang = message.language; translate(words); choose(0); }
  else if (message.kind === "judged") answered(rows[message.episode], message);
  else if (message.kind === "written") at("written").textContent = words.written(message);
  else if (message.code === "list_exists" && confirm(words.replace)) send("write", { name: plain(at("name").value), overwrite: true });
  else note(message.text);
}, pictured);
socket.onclose = () => note(words.lost, "error", 2 ** 31 - 1);
function send(what, more) { socket.send(JSON.stringify({ do: what, ...more })); }
async function pictured(header, jpeg) {
  header.picture = await decoded(jpeg);
  if (header.episode !== now) { header.picture.close(); return; }  // another was chosen meanwhile
  frames.set(header.frame, header);
  if (header.frame === frame) draw();
}
function want(start) {
  const from = 40 * Math.floor(start / 40);
  if (from < rows[now].frames && !asked.has(from)) { asked.add(from); send("frames", { episode: now, start: from }); }
}
function forget() {  // pictures far from the present one: those of a long episode would fill the memory
  for (const [place, { picture }] of frames) {
    if (Math.abs(place - frame) <= KEPT) continue;
    picture.close(); frames.delete(place); asked.delete(40 * Math.floor(place / 40));
  }
}
function draw() {
  const row = rows[now];
  forget(); want(frame); want(frame + 40);
  at("scrub").value = frame;
  at("where").textContent = `${(frame / 20).toFixed(2)} s · ${frame + 1}/${row.frames}`;
  const found = frames.get(frame);
  if (!found) return false;
  drawn(at("game"), found.picture);
  document.body.dataset.painted = `${now}:${frame}`;
  for (const [, name] of CAPS) at(`cap-${name}`).classList.toggle("on", found.pressed.includes(name));
  at("context").hidden = found.imitated; at("context").textContent = words.context;
  return true;
}
setInterval(() => {
  if (!playing || !rows.length) return;
  const stop = rows[now].stop || rows[now].frames;
  if (frame + 1 >= stop) { playing = false; shown(); return; }
  if (frames.has(frame + 1)) { frame += 1; draw(); } else want(frame + 1);
}, 50);
function choose(number) {
  now = Math.max(0, Math.min(rows.length - 1, number));
  for (const { picture } of frames.values()) picture.close();
  frames = new Map(); asked = new Set(); playing = false;
  frame = rows[now].start;
  at("scrub").max = rows[now].frames - 1;
  at("caption").placeholder = rows[now].captions.join(" / ");
  fields(); list(); shown(); draw();
}
function fields() { at("caption").value = rows[now].caption; at("weight").value = rows[now].weight ?? ""; }
function judge(changes) {  // noted here at once, since another change may follow before the answer
  if (socket.readyState !== WebSocket.OPEN) { note(words.lost, "error"); fields(); return; }  // or it would look kept
  const row = Object.assign(rows[now], changes), { mark, start, stop, caption, weight } = row;
  row.unanswered = (row.unanswered || 0) + 1;
  send("judge", { episode: now, mark, start, stop, caption, weight });
}
function answered(row, judgement) {  // what the server knows, after a refusal too; an answer to an earlier change says nothing of the later ones
  if (!judgement.by_other) row.unanswered = Math.max(0, (row.unanswered || 0) - 1);
  if (!row.unanswered) Object.assign(row, judgement);
  if (!row.unanswered && row === rows[now] && !typing()) fields();
  list(); shown();
}
function list() {
  at("list").replaceChildren(...rows.map((row, number) => {
    const mark = row.mark === "good" ? "✓" : row.mark === "bad" ? "✗" : "·";
    const line = make("li", [make("span", mark, row.mark === "good" ? "yes" : row.mark === "bad" ? "no" : ""), make("b", row.name), make("span", `${(row.frames / 20).toFixed(0)} s`, "nums")], number === now ? "chosen" : "");
    line.title = row.why; line.onclick = () => choose(number);
    if (row.why) line.append(make("span", "!", "no"));
    return line;
  }));
  at("list").querySelector(".chosen")?.scrollIntoView({ block: "nearest" });
  at("count").textContent = `${rows.filter(row => row.mark).length}/${rows.length} ${words.judged}`;
}
function shown() {
  const row = rows[now], x = value => 1000 * value / row.frames;
  at("title").textContent = `${row.dataset} / ${row.name}`;
  at("why").textContent = row.why;
  at("play").textContent = playing ? words.pause : words.play;
  for (const name of ["good", "bad"]) { at(name).textContent = words[name]; at(name).classList.toggle("chosen", row.mark === name); }
  for (const name of ["from", "to", "whole"]) at(name).textContent = words[name];
  at("timeline").innerHTML = `<rect class="policy" x="${x(row.start)}" y="8" width="${x((row.stop || row.frames) - row.start)}" height="14"/>`;
}
at("play").onclick = () => { const stop = rows[now].stop || rows[now].frames; if (!playing && frame + 1 >= stop) frame = rows[now].start; playing = !playing; shown(); };
at("good").onclick = () => judge({ mark: rows[now].mark === "good" ? "" : "good" });
at("bad").onclick = () => judge({ mark: rows[now].mark === "bad" ? "" : "bad" });
at("from").onclick = () => judge({ start: frame });
at("to").onclick = () => judge({ stop: frame + 1 });
at("whole").onclick = () => judge({ start: 0, stop: 0 });
at("caption").onchange = () => judge({ caption: at("caption").value = plain(at("caption").value) });
at("weight").onchange = () => {
  if (at("weight").validity.valid) judge({ weight: at("weight").value === "" ? null : Number(at("weight").value) });
  else { note(words.badWeight, "error"); fields(); }
};
at("scrub").oninput = () => { playing = false; frame = Number(at("scrub").value); shown(); draw(); };
at("write").onsubmit = event => { event.preventDefault(); send("write", { name: plain(at("name").value), overwrite: false }); };
const typing = () => document.activeElement.matches("input:not([type=range])");
addEventListener("keydown", event => {
  if (typing() || event.ctrlKey || event.metaKey || event.altKey || (event.code === "Space" && belongsToFocus("Space"))) return;
  const does = { Space: () => at("play").click(), KeyG: () => at("good").click(), KeyB: () => at("bad").click(), BracketLeft: () => at("from").click(), BracketRight: () => at("to").click(), ArrowDown: () => choose(now + 1), ArrowUp: () => choose(now - 1) }[event.code];
  if (does) { event.preventDefault(); does(); }
});
