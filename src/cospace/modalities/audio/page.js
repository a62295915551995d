// Sounds on the page: a player for results, and a button that records a query.

const RATE = 16000; // samples a second that are sent: what speech needs, at a third of the size
const LONGEST = 30; // seconds

/** A player of the browser's own, which loads nothing before it is asked to. */
export function player(url, label) {
  const audio = document.createElement("audio");
  audio.controls = true;
  audio.preload = "none";
  audio.src = url;
  audio.setAttribute("aria-label", label);
  return audio;
}

/** One channel of samples (Float32Array, -1 to 1) as a WAV file of 16 bits. */
export function wav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // whole numbers
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, i) => {
    view.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true);
  });
  return new Blob([view.buffer], { type: "audio/wav" });
}

/** What a browser recorded, in a format of its choice, as WAV of one channel. */
async function converted(recorded) {
  const offline = new OfflineAudioContext(1, 1, RATE); // decodes to its own sample rate
  const decoded = await offline.decodeAudioData(await recorded.arrayBuffer());
  const mixed = new Float32Array(Math.min(decoded.length, LONGEST * RATE));
  for (let channel = 0; channel < decoded.numberOfChannels; channel++) {
    const samples = decoded.getChannelData(channel);
    for (let i = 0; i < mixed.length; i++) mixed[i] += samples[i] / decoded.numberOfChannels;
  }
  return wav(mixed, RATE);
}

/**
 * A button that records with the microphone from one press to the next, at most half a minute.
 * `onBlob` gets the WAV; what goes wrong is shown in the button's own words, and to `onError` where given.
 */
export function recorder(onBlob, onError = () => {}) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "recorder";
  let running = null;
  let starting = false;

  const show = (text, label, pressed) => {
    button.textContent = text;
    button.setAttribute("aria-label", label);
    button.setAttribute("aria-pressed", String(pressed));
  };
  const idle = () => show("Record", "Record a sound to search with", false);
  const fail = (error) => {
    const denied = error.name === "NotAllowedError" || error.name === "NotFoundError";
    show("Record", denied ? "No microphone can be used; press to try again" : "Recording failed; press to try again", false);
    onError(error);
  };

  const start = async () => {
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      throw new DOMException("this browser records only on pages over HTTPS or on this computer", "NotAllowedError");
    }
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const media = new MediaRecorder(stream);
    const parts = [];
    const limit = setTimeout(() => media.state === "recording" && media.stop(), LONGEST * 1000);
    media.ondataavailable = (event) => parts.push(event.data);
    media.onstop = async () => {
      clearTimeout(limit);
      stream.getTracks().forEach((track) => track.stop());
      running = null;
      idle();
      try {
        onBlob(await converted(new Blob(parts, { type: media.mimeType })));
      } catch (error) {
        fail(error);
      }
    };
    media.start();
    running = media;
    show("Stop", "Stop recording and search", true);
  };

  button.addEventListener("click", async () => {
    if (running) {
      running.stop();
      return;
    }
    if (starting) return;
    starting = true;
    try {
      await start();
    } catch (error) {
      fail(error);
    } finally {
      starting = false;
    }
  });
  idle();
  return button;
}
