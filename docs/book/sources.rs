//! How does the book show a program?
//!
//! The pages link to files: a chapter's programs, the engine, the server, the benchmarks' results. In a checkout those links
//! lead to the files. A book lies alone on a web server, so each file that a page links to becomes a page of its own, in a
//! part at the end, and the links lead there. A folder becomes a list of what is in it, a page outside of docs a page in it,
//! whose own links are followed, too.
//!
//! Comes from: main.rs, a line at a time. Goes to: mdBook, as more chapters.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::pages::{made, number};

/// Where the pages of this part lie, from docs.
const FOLDER: &str = "sources";
/// The part's number, behind that of any chapter. Nobody sees it; mdBook takes from it how deep a page stands in the list.
const PART: u32 = 1000;
/// Code is wider than prose.
const WIDE: &str = "<style>:root { --content-max-width: 1060px; }</style>\n\n";

/// The files that pages link to.
pub(crate) struct Sources {
    /// The project's folder.
    root: PathBuf,
    /// The book's own pages, from docs.
    own: BTreeSet<PathBuf>,
    /// The other files, from the project's folder.
    files: BTreeSet<PathBuf>,
}

impl Sources {
    pub(crate) fn new(root: PathBuf, own: BTreeSet<PathBuf>) -> Self {
        Self { root, own, files: BTreeSet::new() }
    }

    /// The line of a page in `folder` of docs, with links that lead to pages of the book.
    pub(crate) fn links_to_pages(&mut self, line: &str, folder: &Path) -> String {
        let depth = folder.components().count();
        self.rewritten(line, &Path::new("docs").join(folder), depth)
    }

    /// The line of a page in `folder` of the project, which lies `depth` folders below the book's.
    fn rewritten(&mut self, line: &str, folder: &Path, depth: usize) -> String {
        let mut pieces = line.split("](");
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (target, rest) = piece.split_once(')').unwrap_or((piece, ""));
            let target = self.page_of(target, folder, depth).unwrap_or_else(|| target.to_owned());
            text += &format!("]({target}){rest}");
        }
        text
    }

    /// The page for what a link leads to, if it is a file of the project.
    fn page_of(&mut self, target: &str, folder: &Path, depth: usize) -> Option<String> {
        if target.contains("://") || target.starts_with('#') {
            return None;
        }
        let (file, heading) = match target.split_once('#') {
            Some((file, heading)) => (file, format!("#{heading}")),
            None => (target, String::new()),
        };
        let file = normal(&folder.join(file));
        let up = "../".repeat(depth);
        if let Ok(own) = file.strip_prefix("docs")
            && self.own.contains(own)
        {
            // mdBook renames a folder's README.md.
            let own = if own.ends_with("README.md") {
                own.with_file_name("index.md")
            } else {
                own.to_owned()
            };
            return Some(format!("{up}{}{heading}", own.display()));
        }
        if !self.root.join(&file).exists() {
            return None;
        }
        self.files.insert(file.clone());
        Some(format!("{up}{FOLDER}/{}{heading}", page_name(&file)))
    }

    /// The part of the book with all those files, and with those that they lead to.
    pub(crate) fn into_items(mut self) -> Result<Vec<Value>, Box<dyn Error>> {
        let mut pages = Vec::new();
        let mut done = BTreeSet::new();
        while let Some(file) = self.files.pop_first() {
            if !done.insert(file.clone()) {
                continue;
            }
            let content = self.page(&file)?;
            pages.push((file, content));
        }
        pages.sort();
        // A list in a list: the project's folders, then their files.
        let mut folders: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (file, content) in pages {
            let (top, rest) = file.iter().next().map_or((file.as_path(), Path::new("")), |top| {
                (Path::new(top), file.strip_prefix(top).unwrap_or(&file))
            });
            let below = folders.entry(top.display().to_string()).or_default();
            let place = Path::new(FOLDER).join(page_name(&file));
            below.push(made(&rest.display().to_string(), &place, &content, Vec::new()));
        }
        let folders = folders.into_iter().map(|(name, files)| {
            let place = Path::new(FOLDER).join(format!("all-of-{name}.md"));
            made(
                &name,
                &place,
                &format!("# {name}\n\nWhat the chapters show of this folder.\n"),
                files,
            )
        });
        let about = "# The sources\n\nThe files that the chapters speak of, as they are in the repository: the chapters' programs \
            (`docs`), the engine (`runtime`), the sockets (`net`), the server, and the tests.\n";
        let mut part =
            made("The sources", &Path::new(FOLDER).join("index.md"), about, folders.collect());
        number(&mut part, &[PART]);
        Ok(vec![part])
    }

    fn page(&mut self, file: &Path) -> Result<String, Box<dyn Error>> {
        let path = self.root.join(file);
        let name = file.display();
        if path.is_dir() {
            return Ok(format!("# {name}\n\n{}", self.listed(file)?));
        }
        let text = fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
        let kind = match file.extension().and_then(|kind| kind.to_str()) {
            Some("md") => return Ok(self.prose(&text, file)),
            Some("rs") => "rust",
            Some("py") => "python",
            Some("toml") => "toml",
            _ => "text",
        };
        // More backticks than any line of the file has, so that a program may have Markdown in its comments.
        Ok(format!("{WIDE}# {name}\n\n``````{kind}\n{}\n``````\n", text.trim_end()))
    }

    /// A page of Markdown from outside of docs.
    fn prose(&mut self, text: &str, file: &Path) -> String {
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        let depth = Path::new(FOLDER).join(file).components().count() - 1;
        let mut is_code = false;
        let mut lines = Vec::new();
        for line in text.lines() {
            let is_fence = line.starts_with("```");
            is_code ^= is_fence;
            lines.push(if is_code || is_fence {
                line.to_owned()
            } else {
                self.rewritten(line, &folder, depth)
            });
        }
        lines.join("\n")
    }

    /// What is in a folder, as links; those files become pages, too.
    fn listed(&mut self, folder: &Path) -> Result<String, Box<dyn Error>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(folder))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let is_shown = [".rs", ".md", ".py"].iter().any(|end| name.ends_with(end));
            if is_shown || self.root.join(folder).join(&name).is_dir() {
                names.push(name);
            }
        }
        names.sort();
        let mut list = String::new();
        for name in names {
            let depth = Path::new(FOLDER).join(folder).join("index.md").components().count() - 1;
            let target = self.page_of(&name, folder, depth).unwrap_or_default();
            list += &format!("- [{name}]({target})\n");
        }
        Ok(list)
    }
}

/// The page of a file, in the part's folder. A folder's is its index; one of Markdown keeps its name.
fn page_name(file: &Path) -> String {
    match file.extension() {
        Some(kind) if kind == "md" => file.display().to_string(),
        Some(_) => format!("{}.md", file.display()),
        None => file.join("index.md").display().to_string(),
    }
}

/// Without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => _ = normal.pop(),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}
