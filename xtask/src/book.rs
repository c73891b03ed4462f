//! `cargo xtask book`: the pages of `docs/`, in the order of their contents, as plain HTML that needs nothing else.
//!
//! A link that leads nowhere, to a page or to a heading, is an error: a book is checked by being built.

use crate::options::Options;
use crate::step::{root, target_dir};
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options as Marks, Parser, Tag, TagEnd, html};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Its contents, which is the first page.
const CONTENTS: &str = "SUMMARY.md";
/// Where what is not a page of the book can be read.
const SOURCES: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main");

const STYLE: &str = "body{margin:0 auto;max-width:52rem;padding:1rem 1.5rem 4rem;font:16px/1.55 system-ui,sans-serif;color:#222;background:#fff}\
nav{border-bottom:1px solid #ccc;padding-bottom:.5rem;font-size:.9rem}nav a{margin-right:.9rem;white-space:nowrap}a{color:#0b5fad}\
pre{background:#f4f4f2;padding:.7rem 1rem;overflow-x:auto;font-size:.85rem}code{background:#f4f4f2;padding:0 .15rem}pre code{padding:0}\
table{border-collapse:collapse;display:block;overflow-x:auto;font-size:.92rem}td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:left;vertical-align:top}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}pre,code{background:#262626}a{color:#7ab8f5}td,th,nav{border-color:#444}}";

pub(crate) fn main(words: &[String]) -> Result<(), String> {
    let options = Options::parse(words, &[], &["to"])?;
    let to = options.text("to").map_or_else(|| target_dir().join("book"), PathBuf::from);
    let pages = build(&root().join("docs"), &to)?;
    println!("{pages} pages: {}", to.join("index.html").display());
    Ok(())
}

/// Builds all of it, and says how many pages there are.
pub(crate) fn build(docs: &Path, to: &Path) -> Result<usize, String> {
    let read = |name: &str| std::fs::read_to_string(docs.join(name)).map_err(|e| format!("docs/{name}: {e}"));
    let contents = read(CONTENTS)?;
    let mut pages = vec![Page::read(CONTENTS, contents.clone())];
    for name in listed(&contents) {
        pages.push(Page::read(&name, read(&name)?));
    }
    let headings: BTreeMap<&str, &BTreeSet<String>> =
        pages.iter().map(|page| (page.name.as_str(), &page.headings)).collect();
    let nav: String =
        pages.iter().map(|page| format!("<a href=\"{}\">{}</a>", target(&page.name), page.title)).collect();
    let mut broken = Vec::new();
    std::fs::create_dir_all(to).map_err(|e| format!("{}: {e}", to.display()))?;
    for page in &pages {
        let body = page.html(docs, &headings, &mut broken);
        let whole = format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>{}: kin</title>\n<style>{STYLE}</style>\n<nav>{nav}</nav>\n<main>\n{body}</main>\n</html>\n",
            page.title
        );
        let path = to.join(target(&page.name));
        std::fs::write(&path, whole).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if broken.is_empty() { Ok(pages.len()) } else { Err(broken.join("\n")) }
}

fn marks() -> Marks {
    Marks::ENABLE_TABLES
}

/// The pages that the contents name, in their order.
fn listed(contents: &str) -> Vec<String> {
    let link =
        |event| if let Event::Start(Tag::Link { dest_url, .. }) = event { Some(dest_url.to_string()) } else { None };
    let is_page = |to: &String| is_markdown(to) && !to.contains('/');
    Parser::new_ext(contents, marks()).filter_map(link).filter(is_page).collect()
}

fn is_markdown(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|ending| ending == "md")
}

fn target(name: &str) -> String {
    if name == CONTENTS { "index.html".into() } else { format!("{}.html", name.trim_end_matches(".md")) }
}

struct Page {
    name: String,
    title: String,
    text: String,
    headings: BTreeSet<String>,
}

impl Page {
    fn read(name: &str, text: String) -> Page {
        let (mut title, mut headings, mut open) = (String::new(), BTreeSet::new(), None);
        for event in Parser::new_ext(&text, marks()) {
            match (event, &mut open) {
                (Event::Start(Tag::Heading { level, .. }), _) => open = Some((level, String::new())),
                (Event::Text(words) | Event::Code(words), Some((_, heading))) => heading.push_str(&words),
                (Event::End(TagEnd::Heading(_)), Some((level, heading))) => {
                    if *level == HeadingLevel::H1 && title.is_empty() {
                        title.clone_from(heading);
                    }
                    headings.insert(slug(heading));
                    open = None;
                }
                _ => {}
            }
        }
        Page { name: name.into(), title: escaped(&title), text, headings }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all other marks are as they are")]
    fn html(&self, docs: &Path, headings: &BTreeMap<&str, &BTreeSet<String>>, broken: &mut Vec<String>) -> String {
        let mut events: Vec<Event<'_>> = Parser::new_ext(&self.text, marks()).collect();
        let mut heading = None;
        for at in 0..events.len() {
            match &events[at] {
                Event::Start(Tag::Heading { .. }) => heading = Some((at, String::new())),
                Event::Text(words) | Event::Code(words) => {
                    if let Some((_, text)) = &mut heading {
                        text.push_str(words);
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    if let Some((start, text)) = heading.take()
                        && let Event::Start(Tag::Heading { id, .. }) = &mut events[start]
                    {
                        *id = Some(slug(&text).into());
                    }
                }
                Event::Start(Tag::Link { dest_url, .. }) => {
                    let to = self.link(dest_url, docs, headings).unwrap_or_else(|| {
                        broken.push(format!("docs/{}: {dest_url} leads nowhere", self.name));
                        dest_url.to_string()
                    });
                    if let Event::Start(Tag::Link { dest_url, .. }) = &mut events[at] {
                        *dest_url = CowStr::from(to);
                    }
                }
                _ => {}
            }
        }
        let mut out = String::new();
        html::push_html(&mut out, events.into_iter());
        out
    }

    /// Where a link leads from the HTML; `None`: nowhere.
    fn link(&self, to: &str, docs: &Path, headings: &BTreeMap<&str, &BTreeSet<String>>) -> Option<String> {
        if to.contains("://") || to.starts_with("mailto:") {
            return Some(to.into());
        }
        let (path, fragment) = to.split_once('#').map_or((to, None), |(path, fragment)| (path, Some(fragment)));
        let page = if path.is_empty() { self.name.as_str() } else { path };
        let Some(known) = headings.get(page) else {
            // A file of the repository.
            let real = docs.join(path).canonicalize().ok()?;
            let below = real.strip_prefix(docs.parent()?.canonicalize().ok()?).ok()?.to_path_buf();
            return Some(format!("{SOURCES}/{}", below.display()));
        };
        let found = fragment.is_none_or(|fragment| known.contains(fragment));
        found.then(|| fragment.map_or_else(|| target(page), |fragment| format!("{}#{fragment}", target(page))))
    }
}

/// As the well-known hosts of such pages make it of a heading.
fn slug(heading: &str) -> String {
    let keep = |c: char| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c if c.is_alphanumeric() => Some(c),
        _ => None,
    };
    heading.to_lowercase().chars().filter_map(keep).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_builds_and_every_link_in_it_leads_somewhere() {
        let to = tempfile::tempdir().expect("a directory");
        let pages = build(&root().join("docs"), to.path()).unwrap_or_else(|broken| panic!("{broken}"));
        assert!(pages > 10, "{pages}");
        let services = std::fs::read_to_string(to.path().join("services.html")).expect("a page");
        assert!(
            services.contains("<h2 id=\"readiness\">")
                && services.contains("href=\"chains.html\"") == services.contains("chains")
        );
        assert!(services.contains("href=\"environment.html#readiness-and-health\""), "{services}");
    }

    #[test]
    fn a_link_that_leads_nowhere_is_said() {
        let docs = tempfile::tempdir().expect("a directory");
        let to = docs.path().join("out");
        let write = |name: &str, text: &str| std::fs::write(docs.path().join(name), text).expect("writes");
        write(CONTENTS, "# T\n\n- [A](a.md)\n");
        write("a.md", "# A & `b`\n\n[x](#a--b) [y](#no) [z](b.md) [w](https://example.org)\n");
        let said = build(docs.path(), &to).expect_err("two of them");
        assert_eq!(said, "docs/a.md: #no leads nowhere\ndocs/a.md: b.md leads nowhere");
    }
}
