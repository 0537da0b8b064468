// The supervisor's page.
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { Alerts } from "./alerts.tsx";
import { api } from "./api.ts";
import { CallView } from "./call.tsx";
import { FiguresView } from "./figures.tsx";
import { Ask, Help, onKey } from "./keys.tsx";
import { Login } from "./login.tsx";
import { PolicyView } from "./policy.tsx";
import { admitted, alertDelays, begin, chime, help, link, model, myName, named, notes, now, openTransfers, place, remember, session, sound, spoken, theme } from "./store.ts";
import { Wall } from "./wall.tsx";
import { zone } from "./words.ts";

const TABS = [
  ["#/", "Wall"],
  ["#/figures", "Transfers and figures"],
  ["#/policy", "Policy"],
] as const;

function App() {
  useEffect(() => {
    document.documentElement.dataset["theme"] = theme.value;
  }, [theme.value]);
  useEffect(() => {
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
  const open = openTransfers.value.length;
  document.title = open > 0 ? `(${open}) Warmline` : "Warmline";
  if (admitted.value === false) return <Login />;
  const hash = place.value || "#/";
  const call = hash.startsWith("#/call/") ? decodeURIComponent(hash.slice("#/call/".length)) : null;
  return (
    <>
      <Bar hash={hash} />
      {link.value === "away" ? (
        <p class="away" role="status">The server does not answer. What is shown is as it was; this page connects again by itself.</p>
      ) : null}
      <main class={call || hash !== "#/" ? "one" : "two"}>
        {call ? <CallView key={call} id={call} /> : hash === "#/figures" ? <FiguresView /> : hash.startsWith("#/policy") ? <PolicyView /> : (
          <>
            <Wall />
            <Alerts />
          </>
        )}
      </main>
      <Ask />
      <Help />
      <div class="notes" role="status" aria-live="polite">
        {notes.value.map((note) => <p key={note.id} class={note.tone}>{note.words}</p>)}
      </div>
      <p class="aside" role="alert" aria-live="assertive">{spoken.value}</p>
    </>
  );
}

function Bar({ hash }: { hash: string }) {
  const open = openTransfers.value.length;
  const who = session.value;
  return (
    <header class="bar">
      <a class="brand" href="#/">Warmline</a>
      <nav aria-label="Pages">
        {TABS.map(([to, name], n) => (
          <a key={to} href={to} aria-current={hash === to ? "page" : undefined} title={`Key ${n + 1}`}>
            {name}{n === 0 && open > 0 ? <b class="badge" aria-label={`${open} open transfers`}>{open}</b> : null}
          </a>
        ))}
      </nav>
      <span class="fill" />
      {who?.demo ? <span class="tag" title="The bundled calls, played as live ones. Voices are synthesised.">demo</span> : null}
      <span class={`link ${link.value}`} role="status">{link.value === "live" ? "live" : link.value === "away" ? "no connection" : "connecting"}</span>
      <time title="Times are in this zone" dateTime={new Date(now.value).toISOString()}>
        {new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" }).format(now.value)} <small>{zone()}</small>
      </time>
      <button
        type="button"
        class="icon"
        aria-pressed={sound.value}
        title={sound.value ? "Sound is on" : "Sound is off"}
        onClick={() => {
          sound.value = !sound.value;
          remember("sound", sound.value ? "on" : "off");
          if (sound.value) chime();
        }}
      >
        <span aria-hidden="true">♪</span><span class="aside">Sound</span>
      </button>
      <button
        type="button"
        class="icon"
        title={`Colours: ${theme.value}`}
        onClick={() => {
          theme.value = theme.value === "system" ? "dark" : theme.value === "dark" ? "light" : "system";
          remember("theme", theme.value);
        }}
      >
        <span aria-hidden="true">{theme.value === "dark" ? "●" : theme.value === "light" ? "○" : "◐"}</span>
        <span class="aside">Colours: {theme.value}</span>
      </button>
      <button type="button" class="icon" title="Keys" onClick={() => (help.value = true)}>
        <span aria-hidden="true">?</span><span class="aside">Keys</span>
      </button>
      {who?.open ? (
        <button type="button" class="quiet me" title="What colleagues are told when you take a caller" onClick={() => {
          const name = prompt("Your name, shown to colleagues when you take a caller", named.value);
          if (name === null) return;
          named.value = name.trim().slice(0, 64);
          remember("name", named.value);
        }}>{myName()}</button>
      ) : <span class="me">{who?.name || who?.roles.join(", ")}</span>}
      {who && !who.open ? (
        <button type="button" class="quiet" onClick={() => void api.logout().then(() => location.reload())}>Log out</button>
      ) : null}
    </header>
  );
}

document.documentElement.dataset["theme"] = theme.value;
// Whoever measures the page reads these.
Object.assign(window, { warmline: { model, alertDelays } });
void begin();
const root = document.getElementById("page");
if (root) render(<App />, root);
