//! Where are the pages in what mdBook sends?
//!
//! In a tree: `{"items": [{"Chapter": {"content": .., "path": .., "sub_items": [..]}}, "Separator", ..]}`. Of a chapter
//! three things matter here: its Markdown, the file it comes from, and its sub-items, which are chapters again.
//!
//! Comes from: main.rs. Goes to: main.rs, page by page.

use std::error::Error;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// A page of the book.
pub(crate) struct Page<'a> {
    pub(crate) content: &'a mut String,
    /// Its file, from docs.
    path: PathBuf,
}

impl Page<'_> {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder in which its links begin, from docs.
    pub(crate) fn folder(&self) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).to_owned()
    }
}

/// Calls `visit` with each page that has a file.
pub(crate) fn each(
    items: &mut [Value],
    visit: &mut impl FnMut(&mut Page<'_>) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    for item in items {
        let Some(chapter) = item.get_mut("Chapter").and_then(Value::as_object_mut) else {
            continue; // a separator, or a part's title
        };
        if let Some(path) = chapter.get("source_path").and_then(Value::as_str).map(PathBuf::from)
            && let Some(Value::String(content)) = chapter.get_mut("content")
        {
            visit(&mut Page { content, path })?;
        }
        if let Some(below) = chapter.get_mut("sub_items").and_then(Value::as_array_mut) {
            each(below, visit)?;
        }
    }
    Ok(())
}

/// A page that has no file of its own.
pub(crate) fn made(name: &str, path: &Path, content: &str, below: Vec<Value>) -> Value {
    let mut chapter = Map::new();
    chapter.insert("name".into(), json!(name));
    chapter.insert("content".into(), json!(content));
    chapter.insert("number".into(), Value::Null);
    chapter.insert("sub_items".into(), Value::Array(below));
    chapter.insert("path".into(), json!(path));
    chapter.insert("source_path".into(), Value::Null);
    chapter.insert("parent_names".into(), json!([]));
    json!({ "Chapter": chapter })
}

/// Numbers a page and those below it.
pub(crate) fn number(page: &mut Value, own: &[u32]) {
    let Some(chapter) = page.get_mut("Chapter").and_then(Value::as_object_mut) else { return };
    chapter.insert("number".into(), json!(own));
    let below = chapter.get_mut("sub_items").and_then(Value::as_array_mut);
    for (place, page) in (1..).zip(below.into_iter().flatten()) {
        number(page, &[own, &[place]].concat());
    }
}
