// The page is made on the server; this only puts new parts in their place as they come.
const events = new EventSource("/events");
const link = document.getElementById("link");

events.addEventListener("part", (event) => {
  const { id, html } = JSON.parse(event.data);
  const place = document.getElementById(id);
  if (place) place.innerHTML = html; // escaped by the server, which is the only source of it
});

function say(state, text) {
  document.body.dataset.link = state;
  link.textContent = text;
}

events.addEventListener("open", () => say("live", "live"));
events.addEventListener("error", () => say("lost", "no connection: this is the last that was seen"));
