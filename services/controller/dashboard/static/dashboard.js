// Makes the pages live. Without it they refresh themselves, and every button leads to a page that asks.
"use strict";

(() => {
  const main = document.getElementById("main");
  const connection = document.getElementById("connection");
  const POLL_MS = 10000;
  const AGAIN_MS = 5000;

  const say = (words) => {
    if (connection.textContent !== words) connection.textContent = words;
  };

  // Times in the reader's zone; the text from the server, in UTC, stays as the title.
  const style = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" };
  const localise = (root) => {
    const year = new Date().getFullYear();
    for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      time.title = time.textContent;
      time.textContent = at.toLocaleString(undefined, at.getFullYear() === year ? style : { year: "numeric", ...style });
    }
  };

  // Put what the server rendered in place of what is there, and leave open what is open and focused what is focused.
  const swap = (html) => {
    const fresh = new DOMParser().parseFromString(html, "text/html");
    for (const part of fresh.querySelectorAll("[data-live]")) {
      const old = document.getElementById(part.id);
      if (!old || part.innerHTML === shown.get(part.id)) continue;
      shown.set(part.id, part.innerHTML);
      for (const details of old.querySelectorAll("details[open][id]")) {
        part.querySelector(`#${CSS.escape(details.id)}`)?.setAttribute("open", "");
      }
      const focused = old.contains(document.activeElement) ? document.activeElement : null;
      const path = focused && placeOf(focused, old);
      localise(part);
      old.replaceChildren(...part.childNodes);
      if (path) (at(path, old) ?? main).focus({ preventScroll: true });
    }
    const state = document.querySelector("#state [data-title]");
    if (state) document.title = state.dataset.title;
    if (state && "over" in state.dataset) finish();
  };
  const shown = new Map([...document.querySelectorAll("[data-live]")].map((part) => [part.id, part.innerHTML]));

  // An element is found again by its id, or as the so-manyth link or summary beside it.
  const CHOICE = "a, summary, button, [tabindex]";
  const placeOf = (element, root) => ({ id: element.id, index: [...root.querySelectorAll(CHOICE)].indexOf(element) });
  const at = ({ id, index }, root) => {
    const named = id && root.querySelector(`#${CSS.escape(id)}`);
    return named || (id ? null : root.querySelectorAll(CHOICE)[index]);
  };

  // One request at a time; what comes meanwhile makes one more.
  let fetching = false;
  let again = false;
  const refresh = async () => {
    if (fetching) {
      again = true;
      return;
    }
    fetching = true;
    try {
      const answer = await fetch(main.dataset.liveFrom, { headers: { accept: "text/html" }, cache: "no-store" });
      if (answer.ok) swap(await answer.text());
    } catch {
      say("Not connected; trying again");
    }
    fetching = false;
    if (again) {
      again = false;
      refresh();
    }
  };

  let source = null;
  let timer = 0;
  let over = false;
  const listen = () => {
    clearTimeout(timer);
    if (source || over || document.hidden) return;
    source = new EventSource(main.dataset.events);
    source.onopen = () => say("Live");
    for (const kind of ["rollout", "models"]) {
      source.addEventListener(kind, refresh);
    }
    source.onerror = () => {
      say("Not connected; trying again");
      // The browser comes back by itself, but not after a refusal, for example of one subscriber too many.
      if (source.readyState === EventSource.CLOSED) {
        hush();
        timer = setTimeout(() => { refresh(); listen(); }, AGAIN_MS + Math.random() * POLL_MS);
      }
    };
  };
  const hush = () => {
    source?.close();
    source = null;
  };
  const finish = () => {
    over = true;
    hush();
    say("Over");
  };

  // A page in the background holds no connection: browsers have only a few for each site.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(timer);
      hush();
    } else if (main.dataset.events && !over) {
      refresh();
      listen();
    }
  });

  // The page that asks, as a dialog over this one. Its form is posted like any other.
  const dialog = document.getElementById("dialog");
  const ask = async (link) => {
    const answer = await fetch(link.href, { headers: { accept: "text/html" }, cache: "no-store" });
    const form = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("confirm");
    if (!answer.ok || !form) {
      location.assign(link.href);
      return;
    }
    if (dialog.open) return;
    dialog.replaceChildren(form);
    form.querySelector("#actor").value = sessionStorage.getItem("actor") ?? "";
    form.addEventListener("submit", () => sessionStorage.setItem("actor", form.querySelector("#actor").value));
    form.querySelector("#cancel").addEventListener("click", (event) => {
      event.preventDefault();
      dialog.close();
    });
    dialog.showModal();
    (form.querySelector("#actor").value ? form.querySelector("#reason") : form.querySelector("#actor")).focus();
    dialog.addEventListener("close", () => document.getElementById(link.id)?.focus(), { once: true });
  };
  if (dialog?.showModal) {
    document.addEventListener("click", (event) => {
      const link = event.target.closest?.("a[data-ask]");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      ask(link).catch(() => location.assign(link.href));
    });
  }

  localise(document);
  if (main.dataset.events) listen();
})();
