//! Is what the walkthrough says still so?
//!
//! A text about programs rots in four ways: the code it shows is changed elsewhere, what the programs print changes, a link
//! leads nowhere, a number was true once. Each has a test here, and all of them read the Markdown as the reader does: there
//! are no markers in the text or in the programs.
//!
//! | in the text              | what is asked of it                                                              |
//! |--------------------------|----------------------------------------------------------------------------------|
//! | ` ```rust `, ` ```python `, ` ```cfg ` | the lines stand, in this order, in the file that the last link above it leads to; a line `...` leaves some out |
//! | ` ```console `            | the commands are run, what follows `> ` is typed, the rest is printed: terminals.rs |
//! | ` ```console measured `   | the same, but numbers stand for any number                                      |
//! | ` ```text `               | nothing: drawings                                                               |
//! | links                    | the file is there, and the heading                                              |
//! | tables below `<!-- figures: name -->` | they are those of docs/figures/name.md, which the program `figures` writes |
//!
//! A chapter's answers are a page under docs/answers, and are replayed, too. The programs of the chapters before the engine must also compile alone, with what their chapter has introduced.
//!
//! Comes from: docs/. Goes to: the programs, as processes.

mod book;
mod terminals;
mod text;
mod twins;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use text::{Block, Chapter};

use crate::support::within;

/// A test for each chapter, so that they run beside each other and a failure has the chapter's name.
macro_rules! chapters {
    ($($test:ident $folder:literal;)*) => {
        const CHAPTERS: &[&str] = &[$($folder),*];
        $(
            #[test]
            fn $test() {
                within(240, || {
                    terminals::replay(&Chapter::read($folder));
                    terminals::replay(&Chapter::read(concat!("answers/", $folder)));
                });
            }
        )*
    };
}

chapters! {
    what_chapter_01_shows_is_what_happens "01-one-client";
    what_chapter_02_shows_is_what_happens "02-threads";
    what_chapter_03_shows_is_what_happens "03-processes";
    what_chapter_04_shows_is_what_happens "04-tasks";
    what_chapter_05_shows_is_what_happens "05-waiting";
    what_chapter_06_shows_is_what_happens "06-one-fib";
    what_chapter_07_shows_is_what_happens "07-pool";
    what_chapter_08_shows_is_what_happens "08-await";
    what_chapter_09_shows_is_what_happens "09-wakers";
    what_chapter_10_shows_is_what_happens "10-reactor";
    what_chapter_11_shows_is_what_happens "11-time";
    what_chapter_12_shows_is_what_happens "12-fair-pool";
    what_chapter_13_shows_is_what_happens "13-structure";
    what_chapter_14_shows_is_what_happens "14-cost";
}

/// Chapters whose programs need nothing but the standard library.
const STANDARD_LIBRARY_ALONE: &[&str] =
    &["01-one-client", "02-threads", "03-processes", "04-tasks"];
/// Chapters whose programs need polling besides, and nothing else.
const POLLING_ALONE: &[&str] = &["05-waiting", "06-one-fib", "07-pool", "08-await"];

#[test]
fn what_the_map_shows_is_what_happens() {
    crate::support::program("walkthrough", "bins", "seeds"); // built before the clock runs
    within(60, || terminals::replay(&Chapter::read("")));
}

#[test]
fn every_chapter_is_replayed() {
    let listed: BTreeSet<_> = CHAPTERS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(text::folders(), listed, "add the chapter to `chapters!` in walkthrough/mod.rs");
}

#[test]
fn every_piece_of_code_stands_in_the_file_it_is_shown_from() {
    let mut wrong = Vec::new();
    for chapter in text::all_pages() {
        for block in &chapter.blocks {
            if matches!(block.kind(), "rust" | "python" | "cfg") {
                wrong.extend(block.not_in_its_file(&chapter));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_block_says_what_it_is() {
    let kinds = ["rust", "python", "cfg", "console", "text", "toml", "sh"];
    for chapter in text::all_pages() {
        for (number, line) in (1..).zip(chapter.text.lines()) {
            let fence =
                line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
            let is_plain = line.starts_with("```") && !line.starts_with("````");
            assert!(!fence || is_plain, "{}:{number}: a fence nobody reads", chapter.name());
        }
        for Block { info, line, .. } in &chapter.blocks {
            let kind = info.split(' ').next().unwrap_or_default();
            assert!(kinds.contains(&kind), "{}:{line}: a block of {info:?}", chapter.name());
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let wrong: Vec<_> = text::all_pages().iter().flat_map(Chapter::broken_links).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_figure_is_the_one_that_was_measured() {
    let wrong: Vec<_> = text::all_pages().iter().flat_map(Chapter::stale_figures).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a reader of one chapter looks for in the next one, too.
#[test]
fn every_chapter_has_its_parts() {
    for folder in text::folders() {
        let chapter = Chapter::read(&folder);
        for part in ["In the talk", "Before you run it", "What it still lacks", "Exercises"] {
            let heading = format!("\n## {part}");
            assert!(chapter.text.contains(&heading), "{folder} has no part `{part}`");
        }
        assert!(chapter.text.contains("../answers/"), "{folder} has no link to its answers");
    }
}

/// Somebody who looks for a question finds the same words in three places.
#[test]
fn the_map_names_each_chapter_as_it_names_itself() {
    let map = Chapter::read("").text;
    let summary = fs::read_to_string(text::docs().join("SUMMARY.md")).unwrap();
    for folder in text::folders() {
        let text = Chapter::read(&folder).text;
        let mut lines = text.lines().filter(|line| !line.is_empty());
        let title = lines.next().unwrap().trim_start_matches("# ");
        let question = lines.next().unwrap().trim_matches('*');
        let (number, name) = title.split_once(". ").expect("a title begins with its number");
        let row = format!("| {number} | [{name}]({folder}/README.md) | {question} |");
        assert!(map.contains(&row), "docs/README.md has no row that begins with\n{row}");
        let entry = format!("- [{title}]({folder}/README.md)");
        assert!(summary.contains(&entry), "docs/SUMMARY.md has no line\n{entry}");
    }
}

#[test]
fn the_book_has_every_page() {
    let summary = fs::read_to_string(text::docs().join("SUMMARY.md")).unwrap();
    for page in text::all_pages() {
        let path = page.path.strip_prefix(text::docs()).unwrap().display().to_string();
        let listed = summary.contains(&format!("({path})"));
        assert!(listed, "docs/SUMMARY.md does not list {path}");
    }
}

#[test]
fn early_programs_compile_standing_alone() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("standing-alone");
    fs::create_dir_all(&out).unwrap();
    for folder in STANDARD_LIBRARY_ALONE {
        for program in text::programs(folder) {
            let mut rustc = Command::new("rustc");
            rustc.args(["--edition", "2024", "--emit", "metadata", "--out-dir"]).arg(&out);
            let output = rustc.arg(&program).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}\n{said}", program.display());
        }
    }
}

/// In a package of their own, because polling has to be built for it.
#[test]
fn programs_of_the_loop_compile_with_polling_alone() {
    let here = Path::new(env!("CARGO_TARGET_TMPDIR")).join("with-polling-alone");
    fs::create_dir_all(&here).unwrap();
    // The version that is there already, so that nothing has to be fetched.
    fs::copy(root().join("Cargo.lock"), here.join("Cargo.lock")).unwrap();
    let mut manifest = "[package]\nname = \"alone\"\nedition = \"2024\"\n\n[dependencies]\npolling = \"3\"\n\n[workspace]\n".to_owned();
    for folder in POLLING_ALONE {
        for program in text::programs(folder) {
            let name = program.with_extension("");
            let name = format!("{folder}-{}", name.file_name().unwrap().display());
            manifest += &format!("\n[[bin]]\nname = {name:?}\npath = {program:?}\n");
        }
    }
    fs::write(here.join("Cargo.toml"), manifest).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["check", "--quiet", "--offline", "--target-dir", "target"]).current_dir(&here);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The project's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
