//! Is the tree still built as its papers say?
//!
//! Rules that a compiler does not keep are kept here, by reading the sources as text: who may import whom, where unsafe
//! code may stand, how long the core may grow, how a file begins, what the documentation of a public item has to show, and
//! what no file may say. Each failure says what to do.
//!
//! The reading is line by line and leans on rustfmt's layout: an item of the file begins and ends in the first column.
//! Whole-line comments are not code, and neither are modules that only tests have. No parser is needed for that, and what
//! it could be fooled by (a word inside a string that runs over lines) does not occur.
//!
//! What it does not do: judge style. clippy and rustfmt do what they can, people do the rest.
//!
//! Comes from: ARCHITECTURE.md, which states the rules. Goes to: every file of the project.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Code lines the core may have: what one evening of reading holds.
const CORE_BUDGET: usize = 2750;

#[test]
fn imports_are_those_of_the_graph_in_architecture_md() {
    let block = import_graph();
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is there");
    let stated = fenced_blocks(&text).find(|block| block.starts_with("executor: "));
    let stated = stated.unwrap_or_else(|| {
        panic!(
            "ARCHITECTURE.md has lost its import graph: put this into a fenced block:\n\n{block}"
        )
    });
    let (missing, superfluous) = (lines_not_in(&block, &stated), lines_not_in(&stated, &block));
    assert!(
        stated == block,
        "the import graph in ARCHITECTURE.md is not that of the code.\n\
         Only in the code:\n{missing}\nOnly in ARCHITECTURE.md:\n{superfluous}\n\
         Take the import out again, or, if it is meant, put this into the fenced block:\n\n{block}"
    );
}

#[test]
fn no_file_of_the_core_imports_from_above_itself() {
    let layers = layers();
    let mut wrong = Vec::new();
    for (index, name) in layers.iter().enumerate() {
        for import in imports_of(name) {
            if !layers[..index].contains(&import) {
                wrong.push(format!("{name} uses {import}"));
            }
        }
    }
    complain(
        wrong,
        "a file of the core may use only files whose `mod` line in runtime/src/lib.rs stands above its own, so that there \
         are no circles: move what is shared into a lower file, or the `mod` line",
    );
}

#[test]
fn the_outer_rooms_use_the_public_surface_and_sys_os_alone() {
    let public = public_names();
    let mut wrong = Vec::new();
    for file in rust_files("runtime/src/outer") {
        for path in crate_paths(&file.code) {
            let first = path.split("::").next().unwrap_or_default();
            let is_shared = ["sys::os", "outer::oneshot"]
                .iter()
                .any(|door| path.strip_prefix(door).is_some_and(|rest| !rest.starts_with('_')));
            if !public.contains(first) && !is_shared {
                wrong.push(format!("{}: crate::{path}", file.name));
            }
        }
        // In a room of several files `super` may be the room itself, and no more.
        let depth = file.name.matches('/').count() - "runtime/src/outer/x".matches('/').count();
        let beyond = format!("use {}", "super::".repeat(depth + 1));
        let up = file.code.lines().filter(|line| line.starts_with(&beyond));
        wrong.extend(up.map(|line| format!("{}: {line}", file.name)));
    }
    complain(
        wrong,
        "what stands in runtime/src/outer is built as any user could build it: import public names from the crate's root \
         (`use crate::{..}`), what the system must be asked for from `crate::sys::os`, and what several rooms share from \
         `crate::outer::oneshot`",
    );
}

#[test]
fn unsafe_code_stands_in_its_rooms_alone() {
    // The last one is a lesson's: polling asks its users for a promise that the compiler cannot check.
    let rooms = ["runtime/src/task/cell.rs", "docs/watched.rs"];
    let is_room = |name: &str| name.starts_with("runtime/src/sys/") || rooms.contains(&name);
    let wrong = ["runtime", "net", "server", "docs"]
        .into_iter()
        .flat_map(rust_files)
        .filter(|file| !is_room(&file.name) && has_word(&file.code, "unsafe"))
        .map(|file| file.name);
    complain(
        wrong,
        "unsafe code belongs into runtime/src/sys, behind a safe face, or is the one line of runtime/src/task/cell.rs that \
         pins the future: move it there, or find the safe way",
    );
}

#[test]
fn the_core_keeps_within_its_budget() {
    // Not the core: the rooms around it with their door to the system, the map, and the backend that Linux does not read.
    let others = ["outer/", "sys/os", "sys/portable.rs", "lib.rs", "instrument.rs"];
    let is_core = |name: &str| {
        let name = name.trim_start_matches("runtime/src/");
        !others.iter().any(|other| name.starts_with(other))
    };
    let sizes: Vec<_> = rust_files("runtime/src")
        .into_iter()
        .filter(|file| is_core(&file.name))
        .map(|file| (file.code.lines().count(), file.name))
        .collect();
    let total: usize = sizes.iter().map(|(lines, _)| lines).sum();
    println!("counted: code lines of the core: {total}");
    let list = sizes.iter().fold(String::new(), |mut list, (lines, name)| {
        let _ = writeln!(list, "{lines:6} {name}");
        list
    });
    assert!(
        total <= CORE_BUDGET,
        "the core has {total} code lines, and {CORE_BUDGET} are what one evening holds: make something simpler, or move \
         what does not belong to the core out of it\n{list}"
    );
}

#[test]
fn every_file_begins_with_a_head() {
    let mut wrong = Vec::new();
    for package in ["runtime", "net", "server", "tests", "docs"] {
        let least = if ["runtime", "net"].contains(&package) { 5 } else { 3 };
        for file in rust_files(package) {
            let head: Vec<_> =
                file.text.lines().map_while(|line| line.strip_prefix("//!")).collect();
            if head.len() < least {
                wrong.push(format!("{}: {} lines of head, not {least}", file.name, head.len()));
            } else if file.name.starts_with("runtime/src/") && !file.name.ends_with("/lib.rs") {
                let last = head.rsplit(|line| line.is_empty()).next().unwrap_or_default();
                let last = last.concat();
                if !(last.contains("Comes from: ") && last.contains("Goes to: ")) {
                    wrong.push(format!("{}: the head does not end with its neighbours", file.name));
                }
            }
        }
    }
    complain(
        wrong,
        "begin the file with `//!` lines: the question it answers, the rule it keeps, what it does not do; in runtime/src \
         the last of them is `Comes from: .. Goes to: ..`",
    );
}

#[test]
fn everything_public_is_shown_at_work_and_says_how_it_fails() {
    let files = ["runtime/src", "net/src"].into_iter().flat_map(rust_files);
    let wrong = files.flat_map(|file| {
        missing_words(&file.text)
            .into_iter()
            .map(move |missing| format!("{}: {missing}", file.name))
    });
    complain(
        wrong,
        "write an example that compiles and shows the thing's point, best one on the type that uses its methods; `# Errors` \
         where there is a Result and `# Cancel safety` where there is a wait, or `As [`other`]` if it is said there",
    );
}

#[test]
fn no_file_names_a_path_of_one_machine_or_a_registry() {
    // In two pieces, so that this file does not contain them either.
    let words = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["crates", ".io"]]
        .map(|word| word.concat());
    let mut wrong = Vec::new();
    for path in files(&root()) {
        let name = name_of(&path);
        if ["Cargo.lock", "deny.toml"].contains(&name.as_str()) {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else {
            continue; // not text
        };
        for (number, line) in (1..).zip(text.lines()) {
            for word in words.iter().filter(|word| line.contains(word.as_str())) {
                wrong.push(format!("{name}:{number} says {word}"));
            }
        }
    }
    complain(wrong, "say it without: the project must read the same on every machine");
}

#[test]
fn nothing_is_put_off() {
    let words =
        [["#[ign", "ore"], ["tod", "o!("], ["unimple", "mented!("]].map(|word| word.concat());
    let mut wrong = Vec::new();
    for package in ["runtime", "net", "server", "tests", "docs"] {
        for file in rust_files(package) {
            for word in words.iter().filter(|word| file.text.contains(word.as_str())) {
                wrong.push(format!("{}: {word}", file.name));
            }
        }
    }
    complain(
        wrong,
        "do it now, or take it out; a test that takes long is switched on by GROUND_DEEP=1 instead",
    );
}

// ------------------------------------------------------------------------------------------ the import graph

/// The graph of the core, top layer first, a line for each file or folder: what it is called, and what it imports.
fn import_graph() -> String {
    layers().iter().rev().fold(String::new(), |mut graph, name| {
        let imports = imports_of(name);
        let sep = if imports.is_empty() { "" } else { " " };
        let imports: Vec<_> = imports.into_iter().collect();
        let _ = writeln!(graph, "{name}:{sep}{}", imports.join(" "));
        graph
    })
}

/// The core's files and folders in the order of their `mod` lines in lib.rs: from the bottom up.
fn layers() -> Vec<String> {
    let lib = Source::read(&root().join("runtime/src/lib.rs"));
    let modules = lib.code.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let layers: Vec<_> = modules.filter(|name| *name != "outer").map(str::to_owned).collect();
    assert!(layers.contains(&"executor".to_owned()), "lib.rs declares its modules by `mod name;`");
    layers
}

/// The other files and folders of the core that one imports. A folder is one thing; what its files import from one
/// another is its own affair.
fn imports_of(name: &str) -> BTreeSet<String> {
    let (file, folder) = (format!("runtime/src/{name}.rs"), format!("runtime/src/{name}"));
    let sources = match root().join(&file).is_file() {
        true => vec![Source::read(&root().join(&file))],
        false => rust_files(&folder),
    };
    let mut imports = BTreeSet::new();
    for source in sources {
        let is_entrance = source.name == file || source.name.ends_with("/mod.rs");
        let leaves = |line: &&str| {
            line.contains("super::super::") || (is_entrance && line.starts_with("use super::"))
        };
        if let Some(line) = source.code.lines().find(leaves) {
            panic!("{}: `{line}`: say `crate::`, so that the import graph can see it", source.name);
        }
        for path in crate_paths(&source.code) {
            let first = path.split("::").next().unwrap_or_default();
            imports.insert(first.to_owned());
        }
    }
    imports.remove(name);
    imports
}

/// What lib.rs shows to the world: the last names of its `pub use` lines.
fn public_names() -> BTreeSet<String> {
    let lib = Source::read(&root().join("runtime/src/lib.rs"));
    lib.code
        .split(';')
        .filter_map(|item| item.trim().strip_prefix("pub use "))
        .flat_map(expand)
        .filter_map(|path| path.rsplit("::").next().map(str::to_owned))
        .collect()
}

/// All paths in `code` that begin with `crate::`, without that beginning.
fn crate_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let is_macro = code[..at].ends_with('$');
        let rest = &code[at + found.len()..];
        if rest.starts_with('{') {
            let end = rest.find(';').unwrap_or(rest.len());
            paths.extend(expand(&rest[..end]));
        } else if !is_macro {
            let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let end = rest.find(|c| !is_path(c)).unwrap_or(rest.len());
            paths.push(rest[..end].trim_end_matches(':').to_owned());
        }
    }
    paths
}

/// The paths of a use tree: `a::{b, c::{d, e}}` is `a::b`, `a::c::d`, `a::c::e`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, list)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or(tree);
        return vec![name.trim().to_owned()];
    };
    let list = list.rsplit_once('}').map_or(list, |(list, _)| list);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts
        .into_iter()
        .filter(|part| !part.trim().is_empty())
        .flat_map(expand)
        .map(|path| format!("{prefix}{path}"))
        .collect()
}

#[test]
fn use_trees_are_read_right() {
    let code = "use crate::{Gone, a::{b, c as d}};\nuse crate::x::Y;\nlet z = crate::f(1);";
    assert_eq!(crate_paths(code), ["Gone", "a::b", "a::c", "x::Y", "f"]);
}

fn lines_not_in(some: &str, others: &str) -> String {
    let others: BTreeSet<_> = others.lines().collect();
    some.lines().filter(|line| !others.contains(line)).map(|line| format!("  {line}\n")).collect()
}

/// What stands between lines of three backticks.
fn fenced_blocks(text: &str) -> impl Iterator<Item = String> {
    text.split("\n```").skip(1).step_by(2).map(|block| {
        let (_info, block) = block.split_once('\n').unwrap_or_default();
        format!("{block}\n")
    })
}

// ----------------------------------------------------------------------------------------- the documentation

/// What the documentation of a file's public items lacks, a line each. What is `#[doc(hidden)]` is nobody's to use.
///
/// | what                                               | has to have                                             |
/// |----------------------------------------------------|---------------------------------------------------------|
/// | a type, a trait, a function, a macro, a constant   | an example of its own                                   |
/// | a method, a trait's method, a variant with content | its name in an example of its file                      |
/// | a function that gives a `Result`                   | a heading with "Errors", or "As [`another`]"            |
/// | a function that waits                              | a word on cancel safety, or "As [`another`]"            |
fn missing_words(text: &str) -> Vec<String> {
    let shown = example_lines(
        text.lines()
            .map(str::trim_start)
            .filter_map(|line| line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))),
    );
    let mut missing = Vec::new();
    for item in public_items(text) {
        let name = &item.name;
        let example = example_lines(item.doc.iter().copied());
        if item.stands_alone && example.is_empty() {
            missing.push(format!("`{name}` has no example"));
        } else if item.is_used && !has_word(&shown, name) {
            missing.push(format!("no example in this file uses `{name}`"));
        }
        let refers = item.doc.iter().any(|line| line.contains("As [`") || line.contains("as [`"));
        let says = |word: &str| refers || item.doc.iter().any(|line| line.contains(word));
        let has_heading = |word: &str| {
            refers || item.doc.iter().any(|line| line.starts_with(" # ") && line.contains(word))
        };
        if given(&item.signature).contains("Result<") && !has_heading("Errors") {
            missing.push(format!("`{name}` gives a Result and has no `# Errors`"));
        }
        let waits =
            item.signature.contains("async fn ") || given(&item.signature).contains("impl Future<");
        if waits && !says("ancel saf") {
            missing.push(format!("`{name}` waits and has no `# Cancel safety`"));
        }
    }
    missing
}

/// What a function gives: what follows the last arrow, unless that is one of an argument's.
fn given(signature: &str) -> &str {
    let signature = signature.split(" where").next().unwrap_or_default();
    let given = signature.rsplit_once("-> ").map_or("", |(_, given)| given);
    if given.matches(')').count() > given.matches('(').count() { "" } else { given }
}

/// What stands in examples, without the lines that a reader does not see.
fn example_lines<'a>(doc: impl Iterator<Item = &'a str>) -> String {
    let (mut lines, mut fence) = (String::new(), None);
    for line in doc.map(str::trim_start) {
        match (line.strip_prefix("```"), fence) {
            (Some(info), None) => fence = Some(info != "text"),
            (Some(_), Some(_)) => fence = None,
            (None, Some(true)) if !line.starts_with("# ") => {
                lines.push_str(line);
                lines.push('\n');
            }
            _ => {}
        }
    }
    lines
}

/// Something public, as its documentation is judged.
#[derive(Default)]
struct Item<'a> {
    name: String,
    doc: Vec<&'a str>,
    /// Of a function, from its name to its body.
    signature: String,
    stands_alone: bool,
    is_used: bool,
}

fn public_items(text: &str) -> Vec<Item<'_>> {
    let (mut items, mut doc, mut block) = (Vec::new(), Vec::new(), "");
    let (mut is_exported, mut is_hidden) = (false, false);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim_start();
        if let Some(said) = line.strip_prefix("///") {
            doc.push(said);
            continue;
        }
        if line.starts_with("#[") {
            is_exported |= line.starts_with("#[macro_export]");
            is_hidden |= line.starts_with("#[doc(hidden)]");
            continue;
        }
        if indent == 0 && !line.is_empty() {
            // What a brace in the first column opens: variants and methods below are public with it.
            block = ["pub enum ", "pub trait "]
                .into_iter()
                .find(|it| line.starts_with(it))
                .unwrap_or("");
        }
        let mut item = Item { doc: std::mem::take(&mut doc), ..Item::default() };
        let is_exported = std::mem::take(&mut is_exported);
        let is_hidden = std::mem::take(&mut is_hidden);
        let public = match line.strip_prefix("macro_rules! ") {
            Some(name) if is_exported => Some(("macro", name)),
            _ => line.strip_prefix("pub ").and_then(keyword_and_name),
        };
        match (indent, public) {
            (0, Some((_, name))) => {
                item.stands_alone = true;
                item.name = first_word(name);
            }
            (4, Some(("fn", name))) => {
                item.is_used = true;
                item.name = first_word(name);
            }
            (4, None) if block == "pub trait " => match keyword_and_name(line) {
                Some(("fn", name)) => {
                    item.is_used = true;
                    item.name = first_word(name);
                }
                _ => continue,
            },
            (4, None) if block == "pub enum " && line.starts_with(char::is_uppercase) => {
                item.is_used = line.contains(['(', '{']);
                item.name = first_word(line);
            }
            _ => continue,
        }
        if line.contains("fn ") {
            item.signature = line.to_owned();
            while !item.signature.ends_with(['{', ';', '}'])
                && let Some(more) = lines.next()
            {
                item.signature.push_str(more);
            }
        }
        if !is_hidden {
            items.push(item);
        }
    }
    items
}

/// Of an item without its `pub`: what it is, and the text that begins with its name.
fn keyword_and_name(line: &str) -> Option<(&'static str, &str)> {
    let line = line.strip_prefix("async ").unwrap_or(line);
    let line = line.strip_prefix("const ").filter(|rest| rest.starts_with("fn ")).unwrap_or(line);
    ["fn", "struct", "enum", "trait", "type", "const", "static"]
        .into_iter()
        .find_map(|keyword| Some((keyword, line.strip_prefix(keyword)?.strip_prefix(' ')?)))
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn documentation_is_read_right() {
    let text = "\
/// One.
///
/// ```
/// let one = One::Whole(1).half()?;
/// ```
pub enum One {
    /// Whole.
    Whole(u8),
    /// Torn.
    Torn { parts: u8 },
    /// Empty.
    Nothing,
}

impl One {
    /// As [`Two`].
    pub async fn half(&self) -> io::Result<u8> {
        Ok(0)
    }
    /// Waits.
    ///
    /// # Errors
    /// Never.
    pub fn wait(
        &self,
    ) -> impl Future<Output = io::Result<()>> {
        todo()
    }
    /// Takes it to `half` and `wait`.
    pub fn half_of(&self, f: impl Fn(&str) -> io::Result<()>) {
    }
    fn private(&self) -> io::Result<()> {}
}

/// ```text
/// two
/// ```
#[derive(Debug)]
pub struct Two;

pub(crate) struct Three;

pub trait Face {
    #[doc(hidden)]
    fn hidden(&self) -> io::Result<()>;
    fn shown(&self);
}

#[macro_export]
macro_rules! four {
";
    let expected = [
        "no example in this file uses `Torn`",
        "no example in this file uses `wait`",
        "`wait` waits and has no `# Cancel safety`",
        "no example in this file uses `half_of`",
        "`Two` has no example",
        "`Face` has no example",
        "no example in this file uses `shown`",
        "`four` has no example",
    ];
    assert_eq!(missing_words(text), expected);
}

// --------------------------------------------------------------------------------------------------- sources

/// A Rust file as its rules see it.
struct Source {
    /// Its path from the project's root.
    name: String,
    text: String,
    /// The lines that are code: not blank, no comment, not in a module that only tests have.
    code: String,
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
        Source { name: name_of(path), code: code_of(&text), text }
    }
}

fn code_of(text: &str) -> String {
    let (mut code, mut attribute) = (String::new(), None);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let is_test = line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test");
        if is_test {
            attribute = Some(line);
            continue;
        }
        // The attribute belongs to the item below it: left out with a module, kept with anything else.
        if let Some(attribute) = attribute.take() {
            if line.starts_with("mod ") && line.ends_with('{') {
                lines.by_ref().find(|line| *line == "}");
                continue;
            }
            code.push_str(attribute);
            code.push('\n');
        }
        let line = line.split(" // ").next().unwrap_or(line);
        if !line.trim().is_empty() && !line.trim_start().starts_with("//") {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
    })
}

fn rust_files(folder: &str) -> Vec<Source> {
    let files = files(&root().join(folder));
    let files = files.iter().filter(|path| path.extension().is_some_and(|kind| kind == "rs"));
    let sources: Vec<_> = files.map(|path| Source::read(path)).collect();
    assert!(!sources.is_empty(), "{folder} has no Rust files: correct the name in tidy.rs");
    sources
}

/// All files below a folder, in order; build folders and git's own left out.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", folder.display()));
    let mut entries: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    let mut files = Vec::new();
    for path in entries {
        let name = path.file_name().unwrap_or_default();
        if name == ".git" {
            continue; // a folder, or in a second working tree a file that names one
        }
        if !path.is_dir() {
            files.push(path);
        } else if !name.as_encoded_bytes().starts_with(b"target") {
            files.extend(self::files(&path));
        }
    }
    files
}

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests lie in the project's folder").to_owned()
}

fn name_of(path: &Path) -> String {
    let name = path.strip_prefix(root()).unwrap_or(path);
    name.display().to_string()
}

fn complain(wrong: impl IntoIterator<Item = String>, advice: &str) {
    let wrong: Vec<_> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{}\n\nWhat to do: {advice}\n", wrong.join("\n"));
}
