//! How does the walkthrough become a book?
//!
//! mdBook turns Markdown pages into a book. It does not know three things that these pages have, and this program, one of
//! its preprocessors, puts them in:
//!
//! | in a page | in the book | |
//! |---|---|---|
//! | a link to a file: a program, the engine, the server | a page with that file, at the end of the book | sources.rs |
//! | a `console` block: what happens in several terminals | terminals that one can tell apart | terminals.rs |
//! | a drawing, `![..](race.svg)` | the drawing itself, in the colours of the reader's theme | here |
//!
//! mdBook starts it as docs/book.toml says, writes the whole book as JSON to its input, and reads it back from its output:
//! `cargo install mdbook`, then `mdbook serve docs --open`.
//!
//! Comes from: mdBook. Goes to: mdBook.

mod pages;
mod sources;
mod terminals;

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use pages::Page;

fn main() -> ExitCode {
    // `book supports html` is mdBook's question whether this is of use for a format.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [question, format] = arguments.as_slice()
        && question == "supports"
    {
        return if format == "html" { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match run() {
        Ok(book) => {
            println!("{book}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("book: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Value, Box<dyn Error>> {
    let mut input = String::new();
    io::stdin().read_to_string(&mut input)?;
    let input: Value = serde_json::from_str(&input)
        .map_err(|error| format!("this is for mdBook to call, see docs/book.toml ({error})"))?;
    let Value::Array(input) = input else { return Err("mdBook sends a context and a book".into()) };
    let [_, mut book] =
        <[Value; 2]>::try_from(input).map_err(|_| "mdBook sends a context and a book")?;
    let items = book.get_mut("items").and_then(Value::as_array_mut);
    let items = items.ok_or("no `items` in the book: this needs mdBook 0.5 or newer")?;

    let mut own = BTreeSet::new();
    pages::each(items, &mut |page| {
        own.insert(page.path().to_owned());
        Ok(())
    })?;
    let mut sources = sources::Sources::new(root(), own);
    pages::each(items, &mut |page| translate(page, &mut sources))?;
    items.extend(sources.into_items()?);
    Ok(book)
}

/// A page of the walkthrough, as the book shows it.
fn translate(page: &mut Page<'_>, sources: &mut sources::Sources) -> Result<(), Box<dyn Error>> {
    let mut text = String::new();
    let mut block: Option<(&str, Vec<&str>)> = None;
    for line in page.content.lines() {
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(kind)) => block = Some((kind, Vec::new())),
            (Some((_, lines)), None) => lines.push(line),
            (Some((kind, lines)), Some(_)) => {
                text += &shown(kind, lines);
                block = None;
            }
            (None, None) => {
                text += &match drawing(line) {
                    Some(file) => inlined(&root().join("docs").join(page.folder()).join(file))?,
                    None => sources.links_to_pages(line, &page.folder()),
                };
                text.push('\n');
            }
        }
    }
    *page.content = text;
    Ok(())
}

/// A block of a page: terminals, or code at the left margin, from however deep in its file it comes.
fn shown(kind: &str, lines: &[&str]) -> String {
    if kind.starts_with("console") {
        return terminals::html(lines, kind.ends_with("measured"));
    }
    let code = lines.iter().filter(|line| !matches!(line.trim(), "" | "..."));
    let margin = code.map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    let margin = if kind == "text" { 0 } else { margin };
    let lines = lines.iter().map(|line| line.get(margin..).unwrap_or(line.trim_start()));
    format!("```{kind}\n{}\n```\n", lines.collect::<Vec<_>>().join("\n"))
}

/// The file, if the line is a drawing and nothing else.
fn drawing(line: &str) -> Option<&str> {
    let target = line.strip_prefix("![")?.split_once("](")?.1.strip_suffix(')')?;
    target.ends_with(".svg").then_some(target)
}

/// A drawing as part of the page. Without empty lines, at which Markdown would take it for text again.
fn inlined(file: &Path) -> Result<String, Box<dyn Error>> {
    let svg = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let lines: Vec<_> = svg.lines().filter(|line| !line.trim().is_empty()).collect();
    Ok(format!("<figure class=\"drawing\">\n{}\n</figure>\n", lines.join("\n")))
}

/// The project's folder, docs' parent.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}
