// A form that changes something is sent once, though its button be clicked twice. The browser's
// stop button must not make it useless: after a while, or on coming back, it may be sent again.
const AGAIN_MS = 5000;
const sent = new WeakMap();

addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  const now = performance.now();
  if (now - (sent.get(form) ?? -Infinity) < AGAIN_MS) event.preventDefault();
  else sent.set(form, now);
});

addEventListener("pageshow", (event) => {
  if (event.persisted) for (const form of document.forms) sent.delete(form);
});
