//! How does a story in several terminals look in the book?
//!
//! In Markdown a console block is plain text; what its lines mean stands in tests/it/walkthrough/terminals.rs, which replays
//! them. Here each terminal gets a frame, in a colour that goes with its number, and what the reader types is told from what
//! the programs print. The words stay as they are.
//!
//! Comes from: main.rs, a block at a time. Goes to: HTML, which book.css colours and copy.js makes easy to take over.

use std::fmt::Write as _;

/// A console block as HTML: a frame for each stretch that happens in one terminal.
pub(crate) fn html(lines: &[&str], measured: bool) -> String {
    let mut frames: Vec<(String, String)> = Vec::new();
    for line in lines {
        let prompt =
            line.split_once("$ ").filter(|(name, _)| name.bytes().all(|b| b.is_ascii_digit()));
        let heading = line.strip_prefix("terminal ").and_then(|rest| rest.strip_suffix(':'));
        let moved = heading.or(prompt.map(|(name, _)| name));
        if let Some(name) = moved
            && frames.last().is_none_or(|(last, _)| last != name)
        {
            frames.push((name.to_owned(), String::new()));
        }
        if heading.is_some() {
            continue;
        }
        if frames.is_empty() {
            frames.push(Default::default()); // what stands before any prompt
        }
        let Some((_, frame)) = frames.last_mut() else { continue };
        match prompt {
            Some((name, command)) => {
                let (command, remark) = match command.split_once("  #") {
                    Some((command, remark)) => (command.trim_end(), format!("  #{remark}")),
                    None => (command, String::new()),
                };
                let (command, remark) = (escaped(command), escaped(&remark));
                _ = writeln!(
                    frame,
                    "<span class=\"prompt\">{name}$ </span><kbd class=\"command\">{command}</kbd><i>{remark}</i>"
                );
            }
            None => _ = writeln!(frame, "{}", said(line)),
        }
    }
    let mut html = String::from("<div class=\"terminals\">\n");
    let mut note =
        if measured { "<span class=\"note\">your numbers may differ</span>" } else { "" };
    for (name, frame) in frames {
        // A prompt with a number says itself which terminal this is.
        let is_named = name.is_empty() || frame.starts_with("<span class=\"prompt\">");
        let title = if is_named {
            String::new()
        } else {
            format!("<span class=\"name\">terminal {name}</span>")
        };
        let number = if name.is_empty() { "0" } else { &name };
        // An empty line would end the HTML for Markdown, so a line that is empty gets a character without width.
        let frame = frame.trim_end().replace("\n\n", "\n&#8203;\n").replace("\n\n", "\n&#8203;\n");
        _ = writeln!(html, "<pre class=\"terminal t{number}\">{note}{title}{frame}</pre>");
        note = "";
    }
    html + "</div>\n\n"
}

/// A line without a prompt: typed, a key, a stage direction, or printed.
fn said(line: &str) -> String {
    match line {
        "(nothing)" => "<i>(nothing)</i>".to_owned(),
        "..." => "<i>...</i>".to_owned(),
        "^C" | "^D" => format!("<kbd class=\"key\">{line}</kbd>"),
        _ => match line.strip_prefix("> ") {
            Some(typed) => {
                format!("<span class=\"typed\">&gt; </span><kbd>{}</kbd>", escaped(typed))
            }
            None => escaped(line),
        },
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
