// Arrow keys, space and page keys go from slide to slide; the address keeps the place.
const slides = [...document.querySelectorAll("section.slide")];
const count = document.querySelector(".count");
let here = Math.min(Math.max(parseInt(location.hash.slice(1), 10) || 1, 1), slides.length) - 1;

function show(number) {
    here = Math.min(Math.max(number, 0), slides.length - 1);
    slides[here].scrollIntoView();
    tell();
}

function tell() {
    count.textContent = `${here + 1} / ${slides.length}`;
    history.replaceState(null, "", `#${here + 1}`);
}

document.addEventListener("keydown", (event) => {
    if (event.target.closest("summary, a, input") || event.altKey || event.ctrlKey || event.metaKey) return;
    const step = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1 }[event.key];
    const end = { Home: 0, End: slides.length - 1 }[event.key];
    if (step === undefined && end === undefined) return;
    // A slide that is taller than the screen is read to its end first.
    const { top, bottom } = slides[here].getBoundingClientRect();
    if (step > 0 && bottom > innerHeight + 8 || step < 0 && top < -8) return;
    event.preventDefault();
    show(end === undefined ? here + (event.shiftKey && event.key === " " ? -1 : step) : end);
});

// Whoever scrolls by hand is followed.
addEventListener("scroll", () => {
    const middle = slides.findIndex((slide) => {
        const { top, bottom } = slide.getBoundingClientRect();
        return top <= innerHeight / 2 && bottom > innerHeight / 2;
    });
    if (middle >= 0 && middle !== here) {
        here = middle;
        tell();
    }
}, { passive: true });

show(here);
