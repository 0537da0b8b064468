// A token for a session.
import { useSignal } from "@preact/signals";
import { api } from "./api.ts";
import { begin, remember } from "./store.ts";

export function Login() {
  const wrong = useSignal("");
  const busy = useSignal(false);
  return (
    <main class="login">
      <form
        onSubmit={async (event) => {
          event.preventDefault();
          const form = new FormData(event.currentTarget);
          const name = String(form.get("name") ?? "").trim();
          busy.value = true;
          try {
            await api.login(String(form.get("token") ?? ""), name);
            remember("name", name);
            await begin();
          } catch (error) {
            wrong.value = error instanceof Error ? error.message : String(error);
          }
          busy.value = false;
        }}
      >
        <h1>Warmline</h1>
        <p>Live calls, and the transfers they need.</p>
        <label>
          Your name <small>shown to colleagues when you take a caller</small>
          <input name="name" autocomplete="name" maxLength={64} />
        </label>
        <label>
          Token <small>from whoever runs this server</small>
          <input name="token" type="password" autocomplete="current-password" required autofocus />
        </label>
        {wrong.value ? <p class="wrong" role="alert">{wrong.value}</p> : null}
        <button type="submit" class="main" disabled={busy.value}>Log in</button>
      </form>
    </main>
  );
}
