// The comparing player, the dark switch, and the language cookie. No library, nothing fetched.
(() => {
  const sides = (box) => [...box.querySelectorAll(".rvc-side")];
  const show = (box) => {
    for (const side of sides(box)) {
      const audio = side.querySelector("audio");
      const cursor = side.querySelector(".rvc-cursor");
      cursor.style.left = `${(100 * audio.currentTime) / (audio.duration || 1)}%`;
      const button = box.querySelector(`[data-play="${side.dataset.side}"]`);
      button.setAttribute("aria-pressed", String(!audio.paused));
    }
    if (sides(box).some((side) => !side.querySelector("audio").paused))
      requestAnimationFrame(() => show(box));
  };
  const play = (box, mark, seconds) => {
    let at = seconds;
    for (const side of sides(box)) {
      const audio = side.querySelector("audio");
      if (!audio.paused && at === undefined) at = audio.currentTime;
      audio.pause();
    }
    const audio = box.querySelector(`[data-side="${mark}"] audio`);
    if (at !== undefined) audio.currentTime = Math.min(at, audio.duration || at);
    audio.play().catch(() => {});
    show(box);
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".rvc-play");
    if (button) {
      const box = button.closest(".rvc-compare");
      const audio = box.querySelector(`[data-side="${button.dataset.play}"] audio`);
      if (audio.paused) play(box, button.dataset.play);
      else audio.pause();
      return;
    }
    const pick = event.target.closest(".rvc-pick");
    if (pick) {
      const box = document.querySelector("#voices-picked :is(textarea, input)");
      // The time makes it a change even where the same card is clicked again.
      box.value = `${pick.dataset.voice}|${Date.now()}`;
      box.dispatchEvent(new Event("input", { bubbles: true }));
      return;
    }
    const picture = event.target.closest(".rvc-side");
    if (picture) {
      const frame = picture.querySelector("svg").getBoundingClientRect();
      const length = picture.querySelector("audio").duration || 0;
      const share = (event.clientX - frame.left) / frame.width;
      play(picture.closest(".rvc-compare"), picture.dataset.side, share * length);
    }
  });
  const dark = (on) => {
    document.body.classList.toggle("dark", on);
    localStorage.setItem("rvc_dark", on ? "1" : "0");
  };
  window.rvcDark = () => dark(!document.body.classList.contains("dark"));
  window.rvcLanguage = (code) => {
    document.cookie = `rvc_language=${code};path=/;max-age=31536000;samesite=lax`;
    document.documentElement.lang = code;
  };
  window.rvcRestore = () => {
    const kept = localStorage.getItem("rvc_dark");
    if (kept !== null) dark(kept === "1");
  };
})();
