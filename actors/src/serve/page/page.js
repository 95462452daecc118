// What the server tells over /events is kept in `state` and drawn; nothing else is fetched but
// answers to pictures. All text goes through textContent.
"use strict";

// Light enough for black text on them, in light and dark.
const COLOURS = ["#8ecae6", "#ffb703", "#95d5b2", "#f4a6c0", "#cdb4db", "#f6bd60", "#a3b18a",
  "#84d2f6", "#e5989b", "#b8c0ff", "#d4d700", "#9bf6ff"];
const WINDOW_MS = 10_000;
const POINTS = 120;
const ANSWERS = 2000;

const state = {
  models: [], devices: [], colours: new Map(), answers: [],
  // By model; the plans of a model, by number, are those that are active side by side.
  plans: new Map(), told: new Map(), waiting: new Map(), refused: new Map(),
};
const byId = (id) => document.getElementById(id);

function element(tag, text, properties = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  return Object.assign(made, properties);
}

function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return value < 100 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}

function colour(device) {
  if (!state.colours.has(device)) {
    state.colours.set(device, COLOURS[state.colours.size % COLOURS.length]);
  }
  return state.colours.get(device);
}

function nameOf(id) {
  const device = state.devices.find((one) => one.id === id);
  return device ? device.name : id;
}

// -- what is told -----------------------------------------------------------------------------

let token = sessionStorage.getItem("token");

function headers() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function listen() {
  for (let wait = 500; ; wait = Math.min(wait * 2, 5000)) {
    try {
      const response = await fetch("events", { headers: headers(), cache: "no-store" });
      if (response.status === 401) {
        askForToken();
        return;
      }
      if (!response.ok) throw new Error(`status ${response.status}`);
      byId("token-section").hidden = true;
      setStatus("live", "live");
      forget();
      wait = 500;
      await read(response.body);
    } catch (error) {
      console.info("events:", error);
    }
    setStatus("lost", "The server does not answer; trying again…");
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

async function read(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const line = text.slice(0, end);
      text = text.slice(end + 2);
      if (line.startsWith("data: ")) happened(JSON.parse(line.slice(6)));
    }
  }
}

// A new connection tells everything anew.
function forget() {
  state.plans.clear();
  state.told.clear();
  byId("changes").replaceChildren();
}

function setStatus(kind, text) {
  const status = byId("status");
  status.className = kind;
  if (status.textContent !== text) status.textContent = text;
}

function askForToken() {
  setStatus("lost", "A token is needed.");
  byId("token-section").hidden = false;
  byId("token").focus();
}

function happened(event) {
  switch (event.event) {
    case "models":
      state.models = event.models;
      drawModels();
      break;
    case "cluster":
      tellDevices(event);
      state.devices = event.devices;
      redraw();
      break;
    case "plan":
      tellPlan(event);
      keepPlan(event);
      redraw();
      break;
    case "frame":
      state.answers.push({ ...event, came: Date.now() });
      state.answers.splice(0, state.answers.length - ANSWERS);
      state.waiting.set(event.model, event.waiting);
      redraw();
      break;
    case "refused":
      state.refused.set(event.model, (state.refused.get(event.model) ?? 0) + 1);
      state.waiting.set(event.model, event.waiting);
      redraw();
      break;
    case "warning":
      tell(event.t, event.text);
      break;
  }
}

const REASONS = {
  start: "first plan", joined: "a device joined", left: "a device left", lost: "a device was lost",
  slower: "a device became slower", faster: "a device became faster", link: "a link changed",
  weights: "weights arrived", load: "requests come more or less often",
};

// Once for all plans that began together.
function tellPlan(plan) {
  const told = state.told.get(plan.model) ?? new Set();
  const isKnown = plan.active.some((generation) => told.has(generation))
    || told.has(plan.generation);
  state.told.set(plan.model, told.add(plan.generation));
  if (isKnown) return;
  const devices = new Set(plan.stages.flatMap((stage) => stage.shares.map((one) => one.device)));
  const on = devices.size === 1 ? "1 device" : `${devices.size} devices`;
  const many = plan.active.includes(plan.generation) && plan.active.length > 1;
  const what = many ? `${plan.active.length} plans side by side, whole frames on each`
    : `plan ${plan.generation} on ${on}, predicted ${milliseconds(plan.predicted_ms)}`;
  const model = state.models.length > 1 ? `${plan.model}: ` : "";
  tell(plan.t, `${model}${REASONS[plan.reason] ?? plan.reason}: ${what}`);
}

function keepPlan(plan) {
  const plans = state.plans.get(plan.model) ?? new Map();
  plans.set(plan.generation, plan);
  for (const generation of [...plans.keys()]) {
    if (!plan.active.includes(generation)) plans.delete(generation);
  }
  state.plans.set(plan.model, plans);
}

// The active plans of the model that is shown.
function activePlans() {
  return [...(state.plans.get(byId("model").value) ?? new Map()).values()];
}

function tellDevices(event) {
  if (state.devices.length === 0) return;
  const before = new Map(state.devices.map((device) => [device.id, device]));
  for (const device of event.devices) {
    const old = before.get(device.id);
    before.delete(device.id);
    if (!old) tell(event.t, `${device.name} was found`);
    else if (old.state !== device.state && device.state === "lost") {
      tell(event.t, `${device.name} was lost`);
    } else if (old.state !== device.state && device.state === "suspect") {
      tell(event.t, `${device.name} has been silent for a while`);
    }
  }
  for (const device of before.values()) {
    if (device.state !== "lost") tell(event.t, `${device.name} left`);
  }
}

function tell(t, text) {
  const item = element("li");
  const time = element("time", new Date(t).toLocaleTimeString());
  time.dateTime = new Date(t).toISOString();
  item.append(time, text);
  const list = byId("changes");
  list.prepend(item);
  while (list.children.length > 100) list.lastChild.remove();
}

// -- drawing ----------------------------------------------------------------------------------

function options(select, entries) {
  const chosen = select.value;
  const same = select.options.length === entries.length
    && entries.every(([value, text], index) => select.options[index].value === value
      && select.options[index].text === text);
  if (same) return;
  select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
  if (entries.some(([value]) => value === chosen)) select.value = chosen;
}

function drawModels() {
  options(byId("model"), state.models.map(({ name }) => [name, name]));
  chooseQuestion();
}

function chooseQuestion() {
  const model = state.models.find(({ name }) => name === byId("model").value);
  if (!model) return;
  byId("question").value = model.task === "detect" ? "detect" : "classify";
  byId("said").textContent = model.takes_pictures ? "" : `${model.name} takes no pictures.`;
  redraw();
}

// However many events come, once for each picture that the screen shows.
let isDue = false;
function redraw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    drawDevices();
    drawStages();
    drawSplit();
    drawFigures();
  });
}

function drawDevices() {
  const cards = state.devices.map((device) => {
    const card = element("li", undefined, { className: device.state });
    card.style.setProperty("--colour", device.state === "lost" ? "" : colour(device.id));
    const role = device.leader ? " (this server)" : "";
    card.append(element("h3", device.name + role));
    card.append(element("p", device.state, { className: "state" }));
    const figures = [];
    if (device.gflops) figures.push(`${device.gflops.toFixed(1)} GFLOP/s`);
    figures.push(`${(device.memory_bytes / 2 ** 30).toFixed(1)} GiB`);
    card.append(element("p", figures.join(", ")));
    if (!device.leader) {
      const link = [];
      if (device.goodput_mbps) link.push(`${Math.round(device.goodput_mbps)} Mbit/s`);
      if (device.rtt_ms !== null) link.push(`${device.rtt_ms.toFixed(2)} ms away`);
      card.append(element("p", link.join(", ")));
    }
    card.append(element("p", load(device)));
    return card;
  });
  byId("devices").replaceChildren(...cards);
}

// The part of the rows that a device computes, of all frames.
function load(device) {
  const plans = activePlans();
  if (plans.length === 0) return "";
  const part = (stage) => {
    const rows = (shares) => shares.reduce((sum, share) => sum + share.to - share.from, 0);
    return rows(stage.shares.filter((share) => share.device === device.id))
      / (rows(stage.shares) || 1);
  };
  const mean = (plan) => plan.stages.reduce((sum, stage) => sum + part(stage), 0)
    / (plan.stages.length || 1);
  const all = plans.reduce((sum, plan) => sum + plan.part_of_frames * mean(plan), 0);
  return `${Math.round(all * 100)} % of the rows`;
}

// All stages of the active plans.
function stages() {
  return activePlans().flatMap((plan) => plan.stages.map((stage) => ({ plan, stage })));
}

function drawStages() {
  const isOne = activePlans().length === 1;
  const entries = stages().map(({ plan, stage }, index) => {
    const [first, last] = [stage.layers[0], stage.layers[stage.layers.length - 1]];
    const name = stage.layers.length > 1 ? `${first} … ${last}` : first;
    const of = isOne ? `${index + 1}` : `plan ${plan.generation}`;
    return [String(index), `${of}: ${name} (${stage.split})`];
  });
  options(byId("stage"), entries);
}

function drawSplit() {
  const split = byId("split");
  const stage = stages()[Number(byId("stage").value) || 0]?.stage;
  if (!stage) {
    split.replaceChildren();
    return;
  }
  split.className = stage.split === "features" ? "features" : "rows";
  const parts = stage.shares.map((share) => {
    const count = share.to - share.from;
    const part = element("div", `${nameOf(share.device)}: ${share.from}–${share.to}`);
    part.style.setProperty("--colour", colour(share.device));
    part.style.flex = `${count} 1 0`;
    return part;
  });
  split.replaceChildren(...parts);
  const unit = stage.split === "features" ? "features" : "rows";
  const text = stage.shares.map((share) => `${nameOf(share.device)} ${share.to - share.from}`);
  split.setAttribute("aria-label", `${unit} of each device: ${text.join(", ")}`);
  const moved = (stage.bytes_in / 1e6).toFixed(2);
  byId("split-text").textContent = `${stage.layers.length} layers without exchange between them; `
    + `${moved} MB travel for this stage; ${stage.redundant_gflop.toFixed(3)} GFLOP are computed twice.`;
}

function drawFigures() {
  const model = byId("model").value;
  const plan = activePlans()[0];
  const answers = state.answers.filter((answer) => answer.model === model);
  const last = answers[answers.length - 1];
  byId("last").textContent = last ? milliseconds(last.request_ms) : "–";
  byId("predicted").textContent = plan ? milliseconds(plan.predicted_ms) : "–";
  byId("alone").textContent = plan ? milliseconds(plan.alone_ms) : "–";
  const now = Date.now();
  byId("rate").textContent = answers.filter((answer) => now - answer.came < WINDOW_MS).length;
  byId("waiting").textContent = state.waiting.get(model) ?? 0;
  byId("refused").textContent = state.refused.get(model) ?? 0;
  drawChart(answers.slice(-POINTS), plan);
}

function svg(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function drawChart(answers, plan) {
  const chart = byId("chart");
  if (answers.length === 0) {
    chart.replaceChildren(svg("text", { x: 300, y: 84, "text-anchor": "middle" }, "no answers yet"));
    return;
  }
  const times = answers.map((answer) => answer.total_ms);
  const top = Math.max(...times, plan ? plan.predicted_ms : 0) * 1.1;
  const x = (index) => 70 + index * 520 / Math.max(POINTS - 1, 1);
  const y = (value) => 140 - value / top * 130;
  const path = times.map((time, index) =>
    `${index ? "L" : "M"}${x(index).toFixed(1)} ${y(time).toFixed(1)}`);
  const parts = [
    svg("line", { x1: 70, y1: 140, x2: 590, y2: 140 }),
    svg("text", { x: 64, y: 144, "text-anchor": "end" }, "0"),
    svg("text", { x: 64, y: 18, "text-anchor": "end" }, milliseconds(top)),
    svg("path", { d: path.join("") + (path.length === 1 ? "h2" : "") }),
  ];
  if (plan) {
    const at = y(plan.predicted_ms);
    parts.push(svg("line", { class: "promise", x1: 70, y1: at, x2: 590, y2: at }));
  }
  chart.replaceChildren(...parts);
  const sorted = [...times].sort((a, b) => a - b);
  chart.setAttribute("aria-label", `Milliseconds per answer: the last ${times.length} took `
    + `${milliseconds(sorted[0])} to ${milliseconds(sorted[sorted.length - 1])}`);
}

// -- asking -----------------------------------------------------------------------------------

async function ask(file) {
  const said = byId("said");
  const [model, question] = [byId("model").value, byId("question").value];
  said.textContent = "asking…";
  try {
    const picture = await createImageBitmap(file);
    const response = await fetch(`v2/models/${encodeURIComponent(model)}/${question}`,
      { method: "POST", body: file, headers: headers() });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    drawAnswer(picture, answer);
    said.textContent = `answered in ${milliseconds(answer.total_ms)}`;
  } catch (error) {
    said.textContent = `no answer: ${error.message}`;
  }
}

function drawAnswer(picture, answer) {
  const canvas = byId("canvas");
  [canvas.width, canvas.height] = [picture.width, picture.height];
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const boxes = answer.detections ?? [];
  const size = Math.max(12, Math.round(picture.width / 40));
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.lineWidth = Math.max(2, picture.width / 250);
  context.textBaseline = "bottom";
  for (const found of boxes.slice().reverse()) {
    const [left, top, right, bottom] = found.box;
    const text = `${found.label ?? `#${found.class}`} ${Math.round(found.score * 100)} %`;
    const paint = COLOURS[found.class % COLOURS.length];
    context.strokeStyle = paint;
    context.strokeRect(left, top, right - left, bottom - top);
    const base = Math.max(top, size * 1.3);
    context.fillStyle = paint;
    context.fillRect(left, base - size * 1.3, context.measureText(text).width + 8, size * 1.3);
    context.fillStyle = "#000";
    context.fillText(text, left + 4, base - 2);
  }
  const rows = (answer.classes ?? boxes).map((found) => {
    const row = element("tr");
    const name = found.label ?? `#${found.index ?? found.class}`;
    const sure = found.probability ?? found.score;
    row.append(element("td", name), element("td", `${(sure * 100).toFixed(1)} %`));
    return row;
  });
  if (rows.length === 0) {
    const row = element("tr");
    row.append(element("td", "nothing"), element("td", ""));
    rows.push(row);
  }
  byId("found").replaceChildren(...rows);
  const names = [...byId("found").rows].map((row) => row.cells[0].textContent);
  canvas.setAttribute("aria-label", `The picture; found: ${names.join(", ")}`);
  byId("answer").hidden = false;
}

byId("model").addEventListener("change", chooseQuestion);
byId("stage").addEventListener("change", redraw);
byId("file").addEventListener("change", ({ target }) => {
  if (target.files.length > 0) ask(target.files[0]);
  target.value = "";
});
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  sessionStorage.setItem("token", token);
  listen();
});
const drop = byId("drop");
drop.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer.files.length > 0) ask(event.dataTransfer.files[0]);
});
setInterval(redraw, 2000);
listen();
