// Runs once, when the stage is on the page: `element` holds it, `trigger(event, data)` tells the app.
// The app renews what is inside of `element`; so what is remembered here is kept on `element` itself.

const find = (selector) => element.querySelector(selector);
const key = () => find('.stage').dataset.key;

// ------------------------------------------------------------------------------------------------ pictures to the app

async function send(file) {
  element.dataset.busy = '';
  try {
    const address = `pictures/${key()}?name=${encodeURIComponent(file.name || 'pasted.png')}`;
    const answer = await fetch(address, { method: 'POST', body: file });
    if (answer.ok) trigger('sent', {});
    else trigger('refused', { detail: (await answer.json()).detail });
  } catch {
    trigger('refused', { detail: 'The picture did not arrive: does the app still run?' });
  } finally {
    delete element.dataset.busy;
  }
}

const sendFirst = (files) => {
  const file = [...files].find((each) => each.type.startsWith('image/')) ?? files[0];
  if (file) send(file);
};

element.addEventListener('change', (event) => {
  if (!event.target.matches('.file')) return;
  sendFirst(event.target.files);
  event.target.value = '';
});

document.addEventListener('paste', (event) => {
  if (!event.clipboardData?.files.length) return;
  event.preventDefault();
  sendFirst(event.clipboardData.files);
});

document.addEventListener('dragover', (event) => {
  event.preventDefault();
  element.dataset.over = '';
});
document.addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) delete element.dataset.over;
});
document.addEventListener('drop', (event) => {
  event.preventDefault();
  delete element.dataset.over;
  sendFirst(event.dataTransfer.files);
});

// --------------------------------------------------------------------------------------------------------- the camera

let stream = null;

async function openCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment', width: 1920 } });
  } catch (error) {
    const why = navigator.mediaDevices ? error.message : 'browsers give it to this machine and to https only';
    trigger('refused', { detail: `The camera cannot be used (${why}).` });
    return;
  }
  find('.camera video').srcObject = stream;
  find('.camera').showModal();
}

function closeCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  find('.camera').close();
}

function shoot() {
  const video = find('.camera video');
  const canvas = Object.assign(document.createElement('canvas'), { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext('2d').drawImage(video, 0, 0);
  closeCamera();
  canvas.toBlob((blob) => send(new File([blob], 'camera.png', { type: 'image/png' })), 'image/png');
}

// ------------------------------------------------------------------------------------------- zoom, and before and after

const view = { scale: 1, x: 0, y: 0, split: 0.5 };
const LARGEST = 12;

function place() {
  const box = find('.viewport')?.getBoundingClientRect();
  if (!box) return;
  view.x = Math.min(0, Math.max(box.width * (1 - view.scale), view.x));
  view.y = Math.min(0, Math.max(box.height * (1 - view.scale), view.y));
  const cut = (view.split * box.width - view.x) / view.scale / box.width;  // as a share of the zoomed picture
  const values = { scale: view.scale, x: `${view.x}px`, y: `${view.y}px`, split: `${100 * view.split}%`, cut: `${100 * cut}%` };
  for (const [name, value] of Object.entries(values)) element.style.setProperty(`--${name}`, value);
  element.toggleAttribute('data-zoomed', view.scale > 1);
}

function zoom(factor, point) {
  const box = find('.viewport')?.getBoundingClientRect();
  if (!box) return;
  const x = (point?.clientX ?? box.left + box.width / 2) - box.left;
  const y = (point?.clientY ?? box.top + box.height / 2) - box.top;
  const scale = Math.min(LARGEST, Math.max(1, view.scale * factor));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  place();
}

function fit() {
  Object.assign(view, { scale: 1, x: 0, y: 0 });
  place();
}

element.addEventListener(
  'wheel',
  (event) => {
    if (!event.target.closest('.viewport') || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 200), event);
  },
  { passive: false },
);
element.addEventListener('dblclick', (event) => {
  if (event.target.closest('.viewport')) view.scale > 1 ? fit() : zoom(2.5, event);
});

const fingers = new Map();
const middle = () => {
  const points = [...fingers.values()];
  const mean = (name) => points.reduce((sum, point) => sum + point[name], 0) / points.length;
  return { clientX: mean('clientX'), clientY: mean('clientY') };
};
const spread = () => {
  const [one, other] = [...fingers.values()];
  return Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
};

element.addEventListener('pointerdown', (event) => {
  if (!event.target.closest('.pane')) return;
  fingers.set(event.pointerId, event);
  event.target.setPointerCapture(event.pointerId);
});
element.addEventListener('pointermove', (event) => {
  if (!fingers.has(event.pointerId)) return;
  const [before, apart] = [middle(), fingers.size === 2 ? spread() : 0];
  fingers.set(event.pointerId, event);
  const now = middle();
  view.x += now.clientX - before.clientX;
  view.y += now.clientY - before.clientY;
  if (apart) zoom(spread() / apart, now);
  else place();
});
for (const end of ['pointerup', 'pointercancel']) {
  element.addEventListener(end, (event) => fingers.delete(event.pointerId));
}

element.addEventListener('input', (event) => {
  if (!event.target.matches('.split')) return;
  view.split = event.target.value / 100;
  place();
});

// ------------------------------------------------------------------------------------------------ buttons and keyboard

const tools = {
  camera: openCamera,
  shoot,
  dismiss: () => (stream ? closeCamera() : find('dialog[open]')?.close()),
  compare: () => element.toggleAttribute('data-compare'),
  in: () => zoom(1.6),
  out: () => zoom(1 / 1.6),
  fit,
  keys: () => find('.keys').showModal(),
};

element.addEventListener('click', (event) => {
  const found = event.target.closest('[data-tool], [data-do]');
  if (found?.dataset.tool) tools[found.dataset.tool]();
  else if (found && EVENTS.includes(found.dataset.do)) trigger(found.dataset.do, { ...found.dataset });
});

const legend = (what, number) => document.querySelector(`[data-do="${what}"][data-layer="${number}"]`)?.click();
const keys = {
  '/': () => document.querySelector('#prompt textarea, #prompt input')?.focus(),
  c: tools.compare,
  '+': tools.in,
  '=': tools.in,
  '-': tools.out,
  f: fit,
  n: () => find('[data-do="close"]')?.click(),
  '?': tools.keys,
  b: () => element.setAttribute('data-before', ''),
};

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('textarea, select, dialog[open], [contenteditable]')) return;
  if (event.target.matches('input:not([type=range])')) return;
  const digit = /^Digit([1-9])$/.exec(event.code);
  if (digit) legend(event.shiftKey ? 'alone' : 'toggle', digit[1] - 1);
  else if (keys[event.key.toLowerCase()]) keys[event.key.toLowerCase()]();
  else return;
  event.preventDefault();
});
document.addEventListener('keyup', (event) => {
  if (event.key.toLowerCase() === 'b') element.removeAttribute('data-before');
});

// Another picture is seen as a whole.
let seen = '';
watch('value', () => {
  const picture = find('.before')?.getAttribute('src') ?? '';
  if (picture !== seen) fit();
  seen = picture;
});
window.addEventListener('resize', place);
place();
