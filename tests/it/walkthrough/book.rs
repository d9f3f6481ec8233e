//! Does the book that mdBook makes of the walkthrough hold together?
//!
//! mdBook follows no links, and what docs/book does to the pages it does not understand. So the finished HTML is read as a
//! browser would: each link leads to a page that is there and to a place in it, and what should have become a terminal or a
//! drawing has become one. How it looks is for people to judge.
//!
//! Without mdBook 0.5 nothing is asked.
//!
//! Comes from: docs/book.toml, docs/book. Goes to: mdbook, and the pages it writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use super::text::{self, docs};
use crate::support::{program, within};

#[test]
fn every_link_of_the_book_leads_somewhere() {
    within(120, || {
        let Some(book) = Book::made("links") else { return };
        let mut wrong = Vec::new();
        for (page, html) in &book.pages {
            for target in attributes(html, "href").chain(attributes(html, "src")) {
                if !book.has(page, target) {
                    wrong.push(format!("{}: {target}", page.display()));
                }
            }
        }
        assert!(wrong.is_empty(), "links of the book that lead nowhere:\n{}", wrong.join("\n"));
    });
}

#[test]
fn the_book_shows_terminals_drawings_and_programs() {
    within(120, || {
        let Some(book) = Book::made("contents") else { return };
        for chapter in text::all_pages() {
            let path = chapter.path.strip_prefix(docs()).unwrap().with_extension("html");
            let path = if path.ends_with("README.html") {
                path.with_file_name("index.html")
            } else {
                path
            };
            let html = &book.pages[&path];
            let page = path.display();
            let consoles = chapter.blocks.iter().filter(|block| block.kind() == "console").count();
            assert_eq!(
                html.matches("<div class=\"terminals\">").count(),
                consoles,
                "{page}: terminals"
            );
            let drawings = chapter.text.matches(".svg)").count();
            let inlined = html.matches("<figure class=\"drawing\">").count();
            assert_eq!(inlined, drawings, "{page}: drawings");
            for block in chapter.blocks.iter().filter(|block| block.kind() == "console") {
                let typed = block.lines.iter().filter_map(|line| line.strip_prefix("> "));
                for typed in typed {
                    assert!(html.contains(&format!("<kbd>{typed}</kbd>")), "{page}: > {typed}");
                }
            }
        }
        let executor = &book.pages[Path::new("sources/runtime/src/executor.rs.html")];
        assert!(executor.contains("fn run_batch"), "the engine's file is not in its page");
    });
}

/// One drawing's colours are all drawings' colours, and the book's are written over them.
#[test]
fn all_drawings_share_their_style() {
    let mut styles = BTreeMap::new();
    for folder in text::folders() {
        for entry in fs::read_dir(docs().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "svg") {
                let svg = fs::read_to_string(&path).unwrap();
                let style =
                    svg.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>"));
                let (style, _) = style.unwrap_or_else(|| panic!("{} has no style", path.display()));
                for part in ["<title ", "<desc ", "role=\"img\""] {
                    assert!(svg.contains(part), "{} has no {part}", path.display());
                }
                styles.insert(style.to_owned(), path);
            }
        }
    }
    assert_eq!(styles.len(), 1, "drawings with different styles: {:?}", styles.values());
}

/// The pages as mdBook has written them, by their paths in the book.
struct Book {
    folder: PathBuf,
    pages: BTreeMap<PathBuf, String>,
    /// The places in each page that a link may name.
    places: BTreeMap<PathBuf, BTreeSet<String>>,
}

impl Book {
    fn made(name: &str) -> Option<Self> {
        let version = Command::new("mdbook").arg("--version").output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        if !version.as_ref().is_ok_and(|version| version.starts_with("mdbook v0.5")) {
            println!("skipped: no mdbook 0.5 ({version:?})");
            return None;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("book").join(name);
        let mut mdbook = Command::new("mdbook");
        mdbook.arg("build").arg(docs()).arg("--dest-dir").arg(&folder);
        // The program that is built already, in place of `cargo run`.
        let own = program("walkthrough", "bins", "book");
        let output = mdbook.env("MDBOOK_PREPROCESSOR__WALKTHROUGH__COMMAND", own).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
        let mut book = Book { folder, pages: BTreeMap::new(), places: BTreeMap::new() };
        book.read(&book.folder.clone());
        Some(book)
    }

    fn read(&mut self, folder: &Path) {
        // The first two are all pages at once and no page, the third the list beside them without scripts.
        let left_out = ["print.html", "404.html", "toc.html"];
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.read(&path);
            } else if path.extension().is_some_and(|kind| kind == "html")
                && !left_out.iter().any(|name| path.ends_with(name))
            {
                let name = path.strip_prefix(&self.folder).unwrap().to_owned();
                let html = fs::read_to_string(path).unwrap();
                let places = attributes(&html, "id").map(str::to_owned).collect();
                self.places.insert(name.clone(), places);
                self.pages.insert(name, html);
            }
        }
    }

    /// Whether a link of `page` leads somewhere; other sites are taken on trust.
    fn has(&self, page: &Path, target: &str) -> bool {
        if target.contains("://") || target.starts_with("data:") || target.is_empty() {
            return true;
        }
        let (file, place) = target.split_once('#').unwrap_or((target, ""));
        let mut path = PathBuf::new();
        let parts = page.parent().unwrap().join(file);
        for part in if file.is_empty() { page } else { &parts }.components() {
            match part {
                Component::ParentDir => assert!(path.pop(), "{target} leads out of the book"),
                other => path.push(other),
            }
        }
        if self.folder.join(&path).is_dir() {
            path.push("index.html");
        }
        match self.places.get(&path) {
            Some(places) => place.is_empty() || places.contains(place),
            None => self.folder.join(&path).exists(),
        }
    }
}

/// The values of an attribute, wherever it stands.
fn attributes<'a>(html: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = format!(" {name}=\"");
    let values: BTreeSet<_> =
        html.split(start.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect();
    values.into_iter()
}
