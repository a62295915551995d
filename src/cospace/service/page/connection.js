// Whether the server is there, and what is said and done while it is not.

const BEAT_MS = 2500;
const PATIENCE_MS = 8000;
const WARM_MS = 500;
const WAITS = [2, 4, 8, 15];

const beat = async () => (await fetch("healthz", { signal: AbortSignal.timeout(PATIENCE_MS) })).json();
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * @param {ReturnType<typeof import("./notices.js").createNotices>} notices
 * @param {object} page
 * @param {() => Promise<void>} page.back what to do when the server is there again
 * @param {() => void} page.gone what to do when it goes
 * @param {() => string} page.command what starts it
 */
export function createConnection(notices, { back, gone, command }) {
  let away = false;
  /** @type {Promise<void>|null} */
  let warming = null;

  /** Ends the wait for the next try. */
  let now = () => {};

  const say = () => notices.set("connection", "lost", "The search service has stopped. Start it again in its terminal: ",
    [{ label: "Try now", run: () => { now(); setTimeout(() => away && say(), 300); } }], command());

  async function retry() {
    for (let turn = 0; away; turn += 1) {
      const waiting = Promise.withResolvers();
      now = waiting.resolve;
      await Promise.race([sleep(1000 * WAITS[Math.min(turn, WAITS.length - 1)]), waiting.promise]);
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
    document.body.classList.add("away");
    say();
    gone();
    retry();
  }

  function found() {
    away = false;
    document.body.classList.remove("away");
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
