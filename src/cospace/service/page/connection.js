// Whether the server is there, and what is said and done while it is not.

const BEAT_MS = 2500;
const PATIENCE_MS = 8000;
const WARM_MS = 500;
const WAITS = [2, 4, 8, 15];

const beat = async () => (await fetch("healthz", { signal: AbortSignal.timeout(PATIENCE_MS) })).json();
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * @param {ReturnType<typeof import("./notices.js").createNotices>} notices
 * @param {() => Promise<void>} back what to do when the server is there again
 */
export function createConnection(notices, back) {
  let away = false;
  /** @type {Promise<void>|null} */
  let warming = null;

  const count = (seconds) =>
    notices.set("connection", "lost", `Connection lost — retrying in ${seconds} s`);

  async function retry() {
    for (let turn = 0; away; turn += 1) {
      for (let left = WAITS[Math.min(turn, WAITS.length - 1)]; away && left > 0; left -= 1) {
        count(left);
        await sleep(1000);
      }
      if (!away) return;
      try {
        await beat();
        found();
        await back();
      } catch {
        // still away: wait longer
      }
    }
  }

  function lost() {
    if (away) return;
    away = true;
    retry();
  }

  function found() {
    away = false;
    notices.clear("connection");
  }

  async function warm() {
    const start = performance.now();
    try {
      while (!(await beat()).warm) {
        const seconds = Math.round((performance.now() - start) / 1000);
        notices.set("warming", "wait", `Loading the model (${seconds} s)…`);
        await sleep(WARM_MS);
      }
    } finally {
      notices.clear("warming");
      warming = null;
    }
  }

  return {
    lost,
    found,
    /** Resolves when the model is loaded: queries wait for it. @param {any} info */
    ready: (info) => (info.warm && !warming ? Promise.resolve() : (warming ??= warm())),
    /** The first call of all, again and again until the server answers. @template T @param {() => Promise<T>} call */
    async until(call) {
      for (;;) {
        try {
          return await call();
        } catch (error) {
          if (error.status !== 0) throw error;
          await sleep(1000);
        }
      }
    },
    /** Notice a server that goes while nobody asks it anything, and an index that has changed. */
    watch(app) {
      setInterval(() => {
        if (!away && !document.hidden) beat().then(() => found(), lost);
      }, BEAT_MS);
      if (!app.info().warm) this.ready(app.info()).catch(lost);
    },
  };
}
