// A click on a head sorts a table by that column, a second click the other way round.
document.addEventListener("DOMContentLoaded", () => {
    for (const head of document.querySelectorAll("table.sortable th")) {
        head.querySelector("button").addEventListener("click", () => {
            const column = head.cellIndex, body = head.closest("table").tBodies[0];
            const ascending = head.getAttribute("aria-sort") !== "ascending";
            const key = row => row.cells[column].dataset.sort ?? row.cells[column].textContent;
            const sorted = [...body.rows].sort((a, b) => key(a).localeCompare(key(b), "en", { numeric: true }));
            body.append(...(ascending ? sorted : sorted.reverse()));
            for (const other of head.parentElement.cells) other.setAttribute("aria-sort", "none");
            head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        });
    }
});
