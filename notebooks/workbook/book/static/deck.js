// What is taller than a slide gets smaller letters, until it fits.
document.addEventListener("DOMContentLoaded", () => {
    const fit = () => {
        for (const slide of document.querySelectorAll(".reveal .slides > section > section")) {
            const stack = slide.parentElement;
            const shown = [stack.style.display, slide.style.display];
            stack.style.display = slide.style.display = "block";
            for (let size = 34; slide.scrollHeight > 690 && size > 12; size--) slide.style.fontSize = `${size}px`;
            [stack.style.display, slide.style.display] = shown;
        }
        Reveal.layout();
    };
    if (Reveal.isReady()) fit();
    else Reveal.on("ready", fit);
});
