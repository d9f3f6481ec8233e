//! What does a page of the walkthrough consist of?
//!
//! Fenced blocks, links and tables, found line by line: the pages use no more of Markdown than that needs.
//!
//! Comes from: docs/. Goes to: mod.rs, terminals.rs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::root;

/// A page.
pub(super) struct Chapter {
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) blocks: Vec<Block>,
}

/// What stands between two lines of backticks.
pub(super) struct Block {
    pub(super) info: String,
    /// The number of its first line in the page.
    pub(super) line: usize,
    pub(super) lines: Vec<String>,
    /// Where the last link above it leads.
    link: Option<String>,
}

/// The folder of the walkthrough.
pub(super) fn docs() -> PathBuf {
    root().join("docs")
}

/// The chapters' folders: those that begin with a number.
pub(super) fn folders() -> BTreeSet<String> {
    let names = fs::read_dir(docs()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| name.starts_with(|first: char| first.is_ascii_digit())).collect()
}

/// All pages: README.md of docs and of each folder in it, and what else ends in .md there.
pub(super) fn all_pages() -> Vec<Chapter> {
    let mut paths = Vec::new();
    let mut folders = vec![docs()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !matches!(name, "figures" | "book" | "theme") {
                folders.push(path);
            } else if name.ends_with(".md") && name != "SUMMARY.md" {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.into_iter().map(Chapter::open).collect()
}

/// The Rust programs of a chapter that have a `main`.
pub(super) fn programs(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(docs().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let programs = files.filter(|path| {
        path.extension().is_some_and(|kind| kind == "rs")
            && fs::read_to_string(path).unwrap().contains("\nfn main()")
    });
    programs.collect()
}

impl Chapter {
    pub(super) fn read(folder: &str) -> Self {
        Self::open(docs().join(folder).join("README.md"))
    }

    fn open(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
        let blocks = blocks(&text);
        Chapter { path, text, blocks }
    }

    /// Its path from the project's folder.
    pub(super) fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap().display().to_string()
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap()
    }

    pub(super) fn broken_links(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, line) in outside_of_blocks(&self.text) {
            for target in links(line) {
                if target.contains("://") {
                    continue;
                }
                let (file, heading) = target.split_once('#').unwrap_or((target, ""));
                let path =
                    if file.is_empty() { self.path.clone() } else { self.folder().join(file) };
                if !path.exists() {
                    wrong.push(format!("{}:{number}: there is no {target}", self.name()));
                } else if !heading.is_empty() {
                    let text = fs::read_to_string(path).unwrap();
                    if !headings(&text).any(|anchor| anchor == heading) {
                        wrong.push(format!("{}:{number}: {target}: no such heading", self.name()));
                    }
                }
            }
        }
        wrong
    }

    /// Tables that are not those that were measured.
    pub(super) fn stale_figures(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let lines: Vec<_> = self.text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let Some(name) = line.strip_prefix("<!-- figures: ") else { continue };
            let name = name.strip_suffix(" -->").expect("a marker is `<!-- figures: name -->`");
            let measured = docs().join("figures").join(format!("{name}.md"));
            let measured = fs::read_to_string(&measured)
                .unwrap_or_else(|error| panic!("{}: {error}", measured.display()));
            // The table and the line about the machine, with whatever empty lines are between.
            let count = measured.trim().lines().count();
            let below = lines[index + 1..].iter().skip_while(|line| line.is_empty());
            let shown: Vec<_> = below.take(count).copied().collect();
            let shown = shown.join("\n");
            if shown.trim() != measured.trim() {
                wrong.push(format!(
                    "{}:{}: the table is not docs/figures/{name}.md, which is\n{measured}",
                    self.name(),
                    index + 1
                ));
            }
        }
        wrong
    }
}

impl Block {
    pub(super) fn kind(&self) -> &str {
        self.info.split(' ').next().unwrap_or_default()
    }

    pub(super) fn is_measured(&self) -> bool {
        self.info.ends_with(" measured")
    }

    /// Says what is wrong if the lines do not stand in the file that the last link above leads to.
    pub(super) fn not_in_its_file(&self, chapter: &Chapter) -> Option<String> {
        let place = format!("{}:{}", chapter.name(), self.line);
        let Some(link) = &self.link else {
            return Some(format!("{place}: no link above says where this code stands"));
        };
        let file = chapter.folder().join(link.split('#').next().unwrap());
        let Ok(source) = fs::read_to_string(&file) else {
            return Some(format!("{place}: {link} cannot be read"));
        };
        let source: Vec<_> = source.lines().collect();
        let mut from = 0;
        for piece in self.lines.split(|line| line.trim() == "...") {
            let piece = trimmed(piece);
            if piece.is_empty() {
                continue;
            }
            let found = (from..source.len()).find(|&at| same(&source[at..], &piece));
            let Some(at) = found else {
                return Some(format!(
                    "{place}: this does not stand so in {link} (after what was shown of it before):\n{}",
                    piece.join("\n")
                ));
            };
            from = at + piece.len();
        }
        None
    }
}

/// Whether `source` begins with these lines, indented by whatever they have in common.
fn same(source: &[&str], piece: &[&str]) -> bool {
    let depth = |lines: &[&str]| {
        let lines = lines.iter().take(piece.len()).filter(|line| !line.trim().is_empty());
        lines.map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0)
    };
    let (theirs, ours) = (depth(source), depth(piece));
    source.len() >= piece.len()
        && piece.iter().zip(source).all(|(shown, stands)| {
            shown.get(ours..).unwrap_or("").trim_end()
                == stands.get(theirs..).unwrap_or("").trim_end()
        })
}

/// Without empty lines at either end.
fn trimmed(lines: &[String]) -> Vec<&str> {
    let is_text = |line: &String| !line.trim().is_empty();
    let Some(first) = lines.iter().position(is_text) else { return Vec::new() };
    let last = lines.iter().rposition(is_text).unwrap();
    lines[first..=last].iter().map(String::as_str).collect()
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut link = None;
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        if let Some(info) = line.strip_prefix("```") {
            match open.take() {
                Some(block) => blocks.push(block),
                None => {
                    open = Some(Block {
                        info: info.to_owned(),
                        line: index + 2,
                        lines: Vec::new(),
                        link: link.clone(),
                    });
                }
            }
        } else if let Some(block) = &mut open {
            block.lines.push(line.to_owned());
        } else if let Some(target) = links(line).filter(|target| is_source(target)).last() {
            link = Some(target.to_owned());
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

fn is_source(target: &str) -> bool {
    let file = target.split('#').next().unwrap();
    [".rs", ".py", ".cfg"].iter().any(|kind| file.ends_with(kind))
}

fn outside_of_blocks(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.starts_with("```");
        inside ^= fence;
        (!inside && !fence).then_some((index + 1, line))
    })
}

/// The targets of a line's links, `[text](target)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The headings as link targets: lower case, hyphens for spaces, without punctuation.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let headings = outside_of_blocks(text).filter(|(_, line)| line.starts_with('#'));
    headings.map(|(_, line)| {
        let line = line.trim_start_matches('#').trim().to_lowercase();
        let kept = line.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}
