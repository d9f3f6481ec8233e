// How does a command get from the book into a terminal? By a button beside it, which copies what is typed and nothing else.
// Comes from: the HTML of docs/book/terminals.rs.
for (const command of document.querySelectorAll(".terminal kbd.command")) {
    const button = document.createElement("button");
    button.className = "copy";
    button.textContent = "copy";
    button.title = "Copy this command";
    button.addEventListener("click", async () => {
        try {
            await navigator.clipboard.writeText(command.textContent);
            button.textContent = "copied";
        } catch {
            button.textContent = "not allowed here";
        }
        setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
    command.after(button);
}
